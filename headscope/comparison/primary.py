"""The primary's rows: what tasks lose without the induction heads, beside matched controls (Method 5).

a = the tested set, b = kind of control, level = outcome/way of removing, `n` counts tasks, unless said otherwise:

| kind | value |
|---|---|
| primary_drop, primary_drop_random | pooled drop of the gain; interval by document, tasks fixed, tasks random |
| primary_beyond | the drop beyond the mean of the controls; interval by document |
| primary_effect | the same in sds of the controls; p under exchangeable heads; Holm but for the main one (see below) |
| primary_rank | place of the tested set among its controls, 1 = the largest drop; `n` counts controls |
| primary_controls | median drop of the controls, 5th to 95th percentile; `n` counts controls |
| primary_control | b = `group_matched/17`: the drop of one control set |
| primary_equivalence | the least margin that the drop beyond the controls is shown to lie within; column p: the same |
| primary_documents | documents over all tasks that would decide it, or infinite; only where it is undecided |
| primary_task | a = task, b = the tested set: its drop; ends: 5th and 95th percentile of its controls; `n` documents |
| primary_level | a = `full model` or the tested set, b = `few` or `none`: the mean itself |
| primary_overlap | level = `heads`: mean share of heads that two controls have in common; `n` counts controls |
| primary_repeats | a as above, level = `repeats/zero`: what repeated tokens are worth (nats); `n` heads removed |

The main effect, choice by mean, stands uncorrected; Holm is over the others, and over them and T together once the
rankings are compared (class_rank.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int

from ablation.statistics import holm
from ablation.statistics.intervals import band
from ablation.statistics.looks import verdict_at_look
from ablation.statistics.primary import Primary, primary
from headscope.store.comparisons import (
    CONDITIONS,
    CONTROL_HEADS,
    FULL,
    OUTCOMES,
    PRIMARY_ASKED,
    RELATED,
    CausalLevel,
    ControlSet,
    Kind,
    Row,
    row,
)

if TYPE_CHECKING:
    from ablation.causal import CausalCheck, CausalTest
    from ablation.control_sets import HeadSet

PRIMARY_CONTROLS = "group_matched"
PRIMARY_OUTCOME, PRIMARY_WAY = PRIMARY_ASKED
Grid = Int[np.ndarray, "layer head"]


def primary_rows(
    checks: Sequence[CausalCheck], further: Sequence[CausalCheck], sets: Sequence[HeadSet], groups: Grid
) -> Iterator[Row]:
    """The primary from `checks`, and beside it every other outcome and the other ways of removing in `further`.

    All but the first are one family of tests, without the RELATED outcomes.
    """
    effects: list[Row] = []
    for draws in (checks, further):
        for way in dict.fromkeys(removal.ablation for removal in draws[0].removed) if draws else ():
            for outcome in (*OUTCOMES, *RELATED):
                if outcome in draws[0].full.outcomes:
                    *rows, effect = read_out_rows(draws, outcome, way, sets, groups)
                    yield from rows
                    if outcome in RELATED:
                        yield effect
                    else:
                        effects.append(effect)
    yield effects[0]
    adjusted = holm(np.array([effect["p"] for effect in effects[1:]], dtype=float))
    yield from ({**effect, "p_holm": float(p)} for effect, p in zip(effects[1:], adjusted, strict=True))
    yield overlap_row(sets, checks[0].shots)


def decided(checks: Sequence[CausalCheck], look: int, shares: Sequence[float]) -> dict[str, Any]:
    """What a look says about the drop beyond the controls, as a manifest holds it."""
    beyond = read_out(checks, PRIMARY_OUTCOME, PRIMARY_WAY).beyond
    verdict = verdict_at_look(beyond, look, shares)
    documents = sum(len(check.full.few.documents) for check in checks)
    values: dict[str, Any] = {"kind": verdict.kind, "value": verdict.value, "low": verdict.low, "high": verdict.high}
    if np.isfinite(verdict.equivalence_bound):
        values["bound"] = verdict.equivalence_bound
    if verdict.documents is not None and np.isfinite(verdict.documents):
        values["documents_needed"] = verdict.documents
    return {"decided": verdict.kind != "undecided", "documents": documents, "look": look + 1, **values}


def read_out(
    checks: Sequence[CausalCheck], outcome: str, way: str, sets: Sequence[HeadSet] = (), groups: Grid | None = None
) -> Primary:
    """One outcome and way of removing, pooled over tasks; p only where the sets are given."""
    tests = [test_of(check, outcome, way) for check in checks]
    drops = [check.task_drops(test) for check, test in zip(checks, tests, strict=True)]
    masks = [mask_of(one.heads, groups) for one in sets] if groups is not None else []
    given: dict[str, Any] = {"tested": masks[0], "controls": np.stack(masks[1:]), "groups": groups} if masks else {}
    return primary(drops, **given)


def test_of(check: CausalCheck, outcome: str, way: str) -> CausalTest:
    """The one tested set against the primary's controls."""
    (tested,) = (test for test in check.tests(outcome) if (test.ablation, test.control) == (way, PRIMARY_CONTROLS))
    return tested


def read_out_rows(
    checks: Sequence[CausalCheck], outcome: str, way: str, sets: Sequence[HeadSet], groups: Grid
) -> Iterator[Row]:
    """The rows of one outcome and way, the standardised effect last."""
    result, shots = read_out(checks, outcome, way, sets, groups), checks[0].shots
    name, level, n = sets[0].tested, CausalLevel(outcome, way), len(checks)
    key: tuple[str, str, int, CausalLevel] = (name, PRIMARY_CONTROLS, shots, level)
    yield row(Kind.PRIMARY_DROP, *key, result.drop.value, interval=result.drop.interval(), n=n)
    if n > 1:
        yield row(
            Kind.PRIMARY_DROP_RANDOM, *key, result.random_tasks.value, interval=result.random_tasks.interval(), n=n
        )
    yield row(Kind.PRIMARY_BEYOND, *key, result.beyond.value, interval=result.beyond.interval(), n=n)
    yield row(Kind.PRIMARY_RANK, *key, float(result.rank), n=result.n_controls)
    controls = result.effect.controls
    yield row(Kind.PRIMARY_CONTROLS, *key, float(np.median(controls)), interval=band(controls), n=result.n_controls)
    for draw, value in enumerate(controls.tolist()):
        yield row(Kind.PRIMARY_CONTROL, name, ControlSet(PRIMARY_CONTROLS, draw), shots, level, value, n=n)
    verdict = result.beyond_verdict
    yield row(Kind.PRIMARY_EQUIVALENCE, *key, verdict.equivalence_bound, p=verdict.margin, n=n)
    if verdict.documents is not None:
        yield row(Kind.PRIMARY_DOCUMENTS, *key, float(verdict.documents), n=n)
    for check in checks:
        yield from task_rows(check, name, level)
    yield from level_rows(checks, name, level)
    effect = result.effect
    p = float("nan") if result.p is None else result.p
    yield row(Kind.PRIMARY_EFFECT, *key, effect.value, interval=(effect.low, effect.high), p=p, n=result.n_controls)


def task_rows(check: CausalCheck, name: str, level: CausalLevel) -> Iterator[Row]:
    """One task's drop beside its controls."""
    drops = check.task_drops(test_of(check, level.outcome, level.ablation))
    interval = band(drops.controls.mean(axis=1))
    yield row(
        Kind.PRIMARY_TASK,
        check.task,
        name,
        check.shots,
        level,
        float(drops.tested.mean()),
        interval=interval,
        n=len(drops.tested),
    )


def level_rows(checks: Sequence[CausalCheck], name: str, level: CausalLevel) -> Iterator[Row]:
    """The mean outcome of the whole model and of the model without the set, with demonstrations and without."""
    tests = [test_of(check, level.outcome, level.ablation) for check in checks]
    for condition in CONDITIONS:
        for which, levels in ((FULL, [test.levels for test in tests]), (name, [test.removed_levels for test in tests])):
            value = float(np.mean([level_of[condition] for level_of in levels]))
            yield row(Kind.PRIMARY_LEVEL, which, condition, checks[0].shots, level, value, n=len(checks))


def overlap_row(sets: Sequence[HeadSet], shots: int) -> Row:
    """How alike the controls are: sets that share heads are fewer than so many independent ones."""
    name, *controls = sets[0].tested, *sets[1:]
    shares = [len({*a.heads} & {*b.heads}) / len(a.heads) for a, b in combinations(controls, 2)]
    value = float(np.mean(shares)) if shares else float("nan")
    return row(Kind.PRIMARY_OVERLAP, name, PRIMARY_CONTROLS, shots, CONTROL_HEADS, value, n=len(controls))


def mask_of(heads: Sequence[tuple[int, int]], like: Int[np.ndarray, "layer head"]) -> Bool[np.ndarray, "layer head"]:
    """True for these heads, in the shape of another table of heads."""
    mask = np.zeros(like.shape, dtype=bool)
    for head in heads:
        mask[head] = True
    return mask
