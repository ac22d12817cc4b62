"""Which heads are function-vector heads, and do their vectors do what they are called for? (Method 3.5)

1. The FV heads by name, by what they add to the choice.
2. The same heads by the papers' own measure, the probability of the answer's first token, beside its null; and which
   heads stand as high by it without being above that null.
3. What the vectors do when they are added to prompts without demonstrations.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, isfinite
from typing import Any

import pandas as pd

from ablation.function_vectors import TOP_SHARE
from headscope.findings.evidence import Evidence
from headscope.findings.section import Section
from headscope.findings.words import estimate, listed, none_is, number, span
from headscope.store.comparisons import Kind, RankCut

LEVEL = 0.05
POINTS = 100.0  # of probability


def section(evidence: Evidence) -> Section | None:
    """None where no head was scored."""
    lines = (*heads(evidence), *sentences(evidence))
    return Section("vectors", "Which heads carry the function?", lines) if lines else None


def heads(evidence: Evidence) -> Iterator[str]:
    """The FV heads by name, by choice and by probability."""
    stage = evidence.stage("vectors")
    scores, named = _by_head(evidence, "fv"), None if stage is None else stage.record.get("fv_heads")
    called = [name for name in named or () if name in scores.index]
    if named is None or scores.empty:
        return
    if not called:
        yield (
            f"{none_is(len(scores))} a function-vector head: none of the highest is above the null and "
            "positive in two thirds of the tasks."
        )
        return
    sizes = [scores.loc[name, ["mean", "ci_low", "ci_high"]] for name in called]
    told = [f"{estimate(*size, unit='nats')} in {name}" for name, size in zip(called, sizes, strict=True)]
    random = ""
    if stage is not None and len(ends := stage.record.get("fv_over_tasks") or []) == len(named):
        wide = [f"{span(*pair)} in {name}" for name, pair in zip(named, ends, strict=True)]
        random = f" Were the tasks a sample of many, the 95% intervals would be {listed(wide)}."
    yield (
        f"{len(called)} of its {len(scores)} heads {'are' if len(called) > 1 else 'is a'} function-vector "
        f"head{'s' if len(called) > 1 else ''}: patched into prompts with wrong labels, their mean output from prompts "
        f"with right ones adds more to the choice than one from wrong-label prompts does, by {listed(told)}.{random}"
    )
    yield from _by_probability(_by_head(evidence, "fv_prob"), called)


def _by_probability(scores: pd.DataFrame, called: list[str]) -> Iterator[str]:
    """Raw effects, as the papers give them, beside their null; and heads as high that are not above it."""
    if scores.empty:
        return
    told = [f"{_beside_null(row)} in {row.Index}" for row in scores.reindex(called).dropna(how="all").itertuples()]
    line = f"By the papers' measure, points of probability of the answer's first token: {listed(told)}"
    high = scores.nlargest(ceil(TOP_SHARE * len(scores)), "mean")
    unshown = high[~((high["p_family"] <= LEVEL) & (high["mean"] > high["null_mean"])) & ~high.index.isin(called)]
    if len(unshown):
        others = [f"{_beside_null(row)} in {row.Index}" for row in unshown.itertuples()]
        whose = "their" if len(others) > 1 else "its"
        line += f"; among the {len(high)} highest, but not shown to be above {whose} null: {listed(others)}"
    yield f"{line}."


def _by_head(evidence: Evidence, score: str) -> pd.DataFrame:
    """A score's rows, by the names of their heads; heads without one are left out."""
    rows = evidence.head_scores
    rows = rows[(rows["score"] == score) & rows["mean"].notna()]
    return rows.set_index(rows["layer"].astype(str) + "." + rows["head"].astype(str))


def _beside_null(row: Any) -> str:
    """`11.6 (9.6 to 13.5; null 0.2)`."""
    value, low, high, null = (POINTS * float(end) for end in (row.mean, row.ci_low, row.ci_high, row.null_mean))
    interval = f"{span(low, high, 1)}; " if isfinite(low) else ""
    return f"{number(value, 1)} ({interval}null {number(null, 1)})"


def sentences(evidence: Evidence) -> Iterator[str]:
    """Every block that vectors were added at: the best of them alone would be a choice after the fact."""
    raises = sorted(
        evidence.rows(kind=Kind.VECTOR_RAISE).itertuples(index=False), key=lambda row: RankCut.parse(row.level).number
    )
    if not raises:
        return
    stage = evidence.stage("vectors")
    made_of = stage.record.get("vector_heads", []) if stage is not None else []
    count = stage.record.get("vector_controls") if stage is not None else None
    heads = f" of {listed(made_of)}" if made_of else ""
    parts = [_raised(row, evidence.beside(Kind.VECTOR_BEYOND, row)) for row in raises]
    sets = f"{count} sets of as many" if count else "sets of as many"
    least = f"; with {count} controls p cannot be below {number(1 / (1 + count)).removeprefix('0')}" if count else ""
    yield (
        f"Adding the function vector{heads} to prompts without demonstrations raises the choice by {'; '.join(parts)}; "
        f"the others are {sets} heads of the same layers, and all is on the queries by which the heads were "
        f"chosen{least}."
    )


def _raised(row: Any, beyond: Any) -> str:
    told = estimate(row.value, row.ci_low, row.ci_high, unit="nats")
    more = ""
    if beyond is not None and isfinite(beyond.value):
        more = f", {estimate(beyond.value, beyond.ci_low, beyond.ci_high)} more than other heads"
    return f"{told} at block {RankCut.parse(row.level).number}{more}"
