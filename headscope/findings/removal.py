"""What the primary's one sentence leaves out, each in a sentence of its own (Method 4, levels; Method 5).

The interval with tasks taken at random, both levels of which the gain is the difference, the drop in the controls' own
spread, p under exchangeable heads, the gain of mass where it tells another story, and every way of removing that does
(Method 3.3). Last, what repeats are worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from headscope.findings.evidence import PRIMARY_LEVEL, Evidence
from headscope.findings.primary import ALIKE, LESS, MORE, UNDECIDED, UNITS, WAYS, Verdict, verdict
from headscope.findings.ranks import probability
from headscope.findings.section import Section
from headscope.findings.words import estimate, listed, number, shots, span, unlike_signs
from headscope.store.comparisons import CONDITIONS, FULL, CausalLevel, Kind

MEAN = PRIMARY_LEVEL.ablation
MASS = CausalLevel("mass", MEAN)
SHOWN = {MORE: "shown to be more", LESS: "shown to be less", ALIKE: "shown to be alike", UNDECIDED: "not decided"}


def section(evidence: Evidence) -> Section | None:
    """None where the primary was not asked."""
    drop = evidence.row(kind=Kind.PRIMARY_DROP, level=PRIMARY_LEVEL)
    if drop is None:
        return None
    parts = (random_tasks, levels, standing, by_mass, other_ways)
    return Section(
        "dots",
        "What is lost without them",
        (*(sentence for part in parts for sentence in part(evidence, drop)), *repeats(evidence)),
        figures=("dots",),
        note="Drop of the gain, k shots less none, without the tested heads (diamonds) and without each control set.",
    )


def random_tasks(evidence: Evidence, drop: Any) -> Iterator[str]:
    """How far the drop could have moved with other tasks too."""
    row = evidence.beside(Kind.PRIMARY_DROP_RANDOM, drop)
    if row is not None and isfinite(row.ci_low):
        yield (
            f"Were these {row.n} tasks a sample of many, the 95% interval of the drop of {number(row.value)} nats "
            f"would be {span(row.ci_low, row.ci_high)}."
        )


def levels(evidence: Evidence, drop: Any) -> Iterator[str]:
    """The choice with demonstrations and without, before and after: a gain falls where either moves."""
    parts: list[str] = []
    for condition, count in zip(CONDITIONS, (drop.shots, 0), strict=True):
        before, after = (
            evidence.value(kind=Kind.PRIMARY_LEVEL, a=name, b=condition, level=PRIMARY_LEVEL) for name in (FULL, drop.a)
        )
        if isfinite(before) and isfinite(after):
            moves = "falls" if after < before else "rises"
            what = "choice " if not parts else "it "
            parts.append(f"{shots(count)} {what}{moves} from {number(before)} to {number(after)}")
    if parts:
        yield f"At {'; at '.join(parts)}."


def standing(evidence: Evidence, drop: Any) -> Iterator[str]:
    """The drop in sds of its controls, its place among them, and p."""
    effect, rank = (evidence.beside(kind, drop) for kind in (Kind.PRIMARY_EFFECT, Kind.PRIMARY_RANK))
    if effect is None or not isfinite(effect.value):
        return
    place = f", rank {rank.value:.0f} of {rank.n + 1}" if rank is not None else ""
    below = effect.value < 0
    sds = (-effect.value, -effect.ci_high, -effect.ci_low) if below else (effect.value, effect.ci_low, effect.ci_high)
    value, low, high = sds
    told = f"{number(value, 1)} of their sds {'below' if below else 'beyond'} their mean"
    shared = evidence.row(kind=Kind.PRIMARY_OVERLAP, a=drop.a)
    alike = f"; two of them share {100 * shared.value:.0f}% of their heads on average" if shared is not None else ""
    chance = f" If heads were exchangeable within layers, p = {probability(effect.p)}." if isfinite(effect.p) else ""
    yield f"Beside the controls: {told}{f' ({span(low, high, 1)})' if isfinite(low) else ''}{place}{alike}.{chance}"


def by_mass(evidence: Evidence, drop: Any) -> Iterator[str]:
    """Only where the gain of mass is shown to fall by less than without matched heads."""
    row = evidence.row(kind=Kind.PRIMARY_BEYOND, a=drop.a, b=drop.b, shots=drop.shots, level=MASS)
    if row is not None and row.ci_high < 0:
        yield (
            "By mass the gain falls by less than without matched heads: "
            f"{estimate(row.value, row.ci_low, row.ci_high, unit='nats')}."
        )


def other_ways(evidence: Evidence, drop: Any) -> Iterator[str]:
    """By every outcome, the ways of removing whose sign or verdict is not the mean's, beside the mean."""
    for outcome, (name, factor, _, digits) in UNITS.items():
        found = _by_way(evidence, drop, outcome)
        mean = found.get(MEAN)
        if mean is None:
            continue
        signs = {
            way for way, one in found.items() if unlike_signs(factor * mean.value, factor * one.value, digits=digits)
        }
        verdicts = {way for way, one in found.items() if one.kind != mean.kind}
        differ = listed([word for word, some in (("sign", signs), ("verdict", verdicts)) if some])
        told = [
            f"replaced {WAYS[way]} {one.signed}, {SHOWN[one.kind]}"
            for way, one in found.items()
            if way in {MEAN, *signs, *verdicts}
        ]
        if differ:
            yield f"By {name}, the drop beyond matched heads differs in {differ}: {'; '.join(told)}."


def _by_way(evidence: Evidence, drop: Any, outcome: str) -> dict[str, Verdict]:
    """The verdict under every way of removing that the run has, the mean first."""
    rows = {
        way: evidence.row(
            kind=Kind.PRIMARY_BEYOND, a=drop.a, b=drop.b, shots=drop.shots, level=CausalLevel(outcome, way)
        )
        for way in WAYS
    }
    return {way: verdict(evidence, row) for way, row in rows.items() if row is not None}


def repeats(evidence: Evidence) -> Iterator[str]:
    """The manipulation check: the heads were chosen on repeated tokens."""
    rows = list(evidence.rows(kind=Kind.PRIMARY_REPEATS).itertuples(index=False))
    whole = [row.value for row in rows if row.a == FULL]
    for row in rows:
        if row.a != FULL and whole:
            verb, sign = ("raise", 1) if whole[0] > 0 else ("lower", -1)
            yield (
                f"A check of the removal, no evidence: repeats of random tokens {verb} the loss by "
                f"{number(sign * whole[0])} nats in the whole model, by {number(sign * row.value)} without the {row.a} "
                "(replaced by zero; no controls)."
            )
