"""Are the induction heads the important heads? And do tasks, and numbers of shots, need the same heads? (Method 5)

What the rows of a comparison say, in plain sentences; how many induction heads there are is read from their classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from ablation.statistics.reliability import LOW_RELIABILITY
from headscope.findings.evidence import Evidence
from headscope.store.comparisons import INDUCTION_HEADS, AtShots, Difference, Kind, RankCut
from headscope.store.names import AGGREGATE
from headscope.store.snapshot import chosen

LEVEL = 0.05
PAIRS = "from pair to pair"
RELEASED = (
    "For comparison only: the paper's released script correlates the numbers of the heads that stand at equal places "
    "of two orders, not the ranks of one head in both"
)
SAID = {
    "prefix_matching": "prefix matching",
    "copying/argmax": "copying (argmax)",
    "copying/attended": "copying (attended)",
    "copying/successor": "copying of the successor",
    "copying/signed": "the signed direct effect",
    "copying/bansal_released": "copying as released",
    "ov_copying": "OV copying",
    INDUCTION_HEADS: INDUCTION_HEADS,
    "importance/token": "importance (token)",
    "importance/signed": "signed importance",
}
KINDS = ("copying", "anti-copying", "matching only")


def sentences(rows: pd.DataFrame) -> list[str]:
    """The findings, the primary test first; nothing is said about what was not compared."""
    parts = (primary, gains, exploratory, sets, overlap_told, tasks_told, shots_told, retention_told)
    return [sentence for part in parts for sentence in part(rows)]


def primary(rows: pd.DataFrame) -> Iterator[str]:
    """The test that was fixed beforehand."""
    for row in chosen(rows, kind=Kind.INDUCTION_IMPORTANCE_DESCRIPTIVE).itertuples(index=False):
        side = "higher" if row.value > 0 else "lower"
        verdict = f"in a layer, heads that match prefixes more have the {side} importance"
        sure = verdict if row.p <= LEVEL else "no relation is shown"
        yield (
            f"Descriptive: within layers, prefix matching and the aggregate importance (token, "
            f"{at(row.shots)}) correlate at rho = {with_interval(row)}, p = {p_told(row.p)} by permutation within "
            f"layers over {row.n} heads: {sure}."
        )
        corrected = chosen(
            rows, kind=Kind.INDUCTION_IMPORTANCE, a=row.a, b=row.b, shots=row.shots, level="within_layer_corrected"
        )
        for freed in corrected.itertuples(index=False):
            yield f"Corrected for the noise of both rankings it is rho* = {with_interval(freed)}{_noise(rows, row)}."
        everywhere = chosen(rows, kind=Kind.INDUCTION_IMPORTANCE, a=row.a, b=row.b, shots=row.shots, level="global")
        for over in everywhere.itertuples(index=False):
            yield f"Over all heads, where a trend over layers counts too, rho = {with_interval(over)}."
        released = chosen(
            rows, kind=Kind.INDUCTION_IMPORTANCE, a=row.a, b=row.b, shots=row.shots, level="bansal_released"
        )
        for other in released[released["value"].notna()].itertuples(index=False):
            yield f"{RELEASED}; it would have said {other.value:+.2f} here."


def _noise(rows: pd.DataFrame, row: Any) -> str:
    """The reliabilities that rho* divides by, and what one under .6 means; nothing where none was stored."""
    reliable = chosen(rows, kind=Kind.RELIABILITY, shots=row.shots, level="within_layer")
    parts = [chosen(reliable, a=row.a, b=""), chosen(reliable, a=AGGREGATE, b=row.b)]
    named = [
        (name, first(part))
        for name, part in zip((said(row.a), f"aggregate {said(row.b)}"), parts, strict=True)
        if len(part)
    ]
    if not named:
        return ""
    listed = ", ".join(f"{name} {_reliability(value)}" for name, value in named)
    low = [name for name, value in named if not value >= LOW_RELIABILITY]
    unstable = f"; under {LOW_RELIABILITY} for {' and '.join(low)}, so that rho* is unstable here" if low else ""
    return f" (reliability within layers: {listed}{unstable})"


def gains(rows: pd.DataFrame) -> Iterator[str]:
    """Whether the agreement has to do with the examples in the context."""
    for row in chosen(rows, kind=Kind.INDUCTION_IMPORTANCE_GAIN).itertuples(index=False):
        gain = Difference.parse(row.b)
        shuffled = "shuffled" in gain.second.name
        against = "with shuffled labels" if shuffled else "without examples"
        verdict = "larger" if row.value > 0 else "smaller"
        sure = f"{verdict} than {against}" if row.p_holm <= LEVEL else f"not shown to differ from that {against}"
        yield (
            f"The agreement of prefix matching with aggregate {said(gain.first.name)} at {at(row.shots)} minus "
            f"that {against} is {with_interval(row)} (p = {p_told(row.p)}, Holm {p_told(row.p_holm)}): {sure}."
        )


def exploratory(rows: pd.DataFrame) -> Iterator[str]:
    """How many exploratory tests there were, and which hold after Holm's correction."""
    for family in chosen(rows, kind=Kind.EXPLORATORY_FAMILY).itertuples(index=False):
        tests = chosen(
            rows,
            kind=[Kind.INDUCTION_IMPORTANCE, Kind.INDUCTION_IMPORTANCE_PARTIAL],
            shots=family.shots,
            level="within_layer",
        )
        tests = tests[tests["p_holm"].notna()]
        sure = tests[tests["p_holm"] <= LEVEL]
        listed = "; ".join(
            f"{said(row.a)} with {said(row.b)}{' (partialled)' if str(row.kind).endswith('partial') else ''} "
            f"{row.value:+.2f}"
            for row in sure.sort_values("value", key=abs, ascending=False).itertuples(index=False)
        )
        yield (
            f"Exploratory: {family.value:.0f} further tests, Holm-adjusted together ({family.n:,} permutations each). "
            f"Of {len(tests)} correlations within layers {len(sure)} {_are(len(sure))} shown to differ from 0"
            f"{f': {listed}' if listed else ''}."
        )
        reliable = chosen(rows, kind=Kind.RELIABILITY, a=AGGREGATE, shots=family.shots, level="within_layer")
        for low in reliable[~(reliable["value"] >= LOW_RELIABILITY)].itertuples(index=False):
            yield (
                f"The aggregate {said(low.b)} at {at(family.shots)} has a reliability of {_reliability(low.value)} "
                f"within layers, under {LOW_RELIABILITY}: tests with it can miss a relation that is there."
            )


def sets(rows: pd.DataFrame) -> Iterator[str]:
    """Induction heads among the most important heads."""
    for row in chosen(rows, kind=Kind.SET_OVERLAP).itertuples(index=False):
        key = {"a": row.a, "b": row.b, "shots": row.shots, "level": row.level}
        size = RankCut.parse(row.level).number
        expected = (Kind.SET_OVERLAP.expected_free, Kind.SET_OVERLAP.expected_layer)
        free, layer = (first(chosen(rows, kind=kind, **key)) for kind in expected)
        both = round(row.value * size)
        yield (
            f"Of the {size} induction heads {both} {_are(both)} among the {size} heads of highest "
            f"aggregate {said(row.b)} at {at(row.shots)}; chance gives {free * size:.1f}, with the same number of "
            f"heads in every layer {layer * size:.1f} (p = {p_told(row.p)}, Holm {p_told(row.p_holm)})."
        )


def overlap_told(rows: pd.DataFrame) -> Iterator[str]:
    """The top tenth of prefix matching against the top tenth of importance, at the most shots."""
    shares = chosen(rows, kind=Kind.OVERLAP, a="prefix_matching", level=RankCut("q", 10))
    for row in shares[shares["shots"] == shares["shots"].max()].itertuples(index=False):
        key = {"a": row.a, "b": row.b, "shots": row.shots, "level": row.level}
        layer = first(chosen(rows, kind=Kind.OVERLAP_EXPECTED_LAYER, **key))
        yield (
            f"The top 10% by prefix matching and by aggregate {said(row.b)} ({at(row.shots)}) have {row.value:.0%} in "
            f"common; with the same number of heads in every layer chance gives {layer:.0%} (p = {p_told(row.p)}, Holm "
            f"over all cuts {p_told(row.p_holm)})."
        )


def tasks_told(rows: pd.DataFrame) -> Iterator[str]:
    """Do tasks need the same heads?"""
    for kind, name in ((Kind.CROSS_TASK, "token"), (Kind.CROSS_TASK_SIGNED, "signed")):
        for shots, part in chosen(rows, kind=kind).groupby("shots"):
            within, everywhere = (chosen(part, level=level) for level in ("within_layer", "global"))
            line = (
                f"Tasks against tasks, {name} importance at {at(shots)}: {len(within)} "
                f"{'pair' if len(within) == 1 else 'pairs'} of tasks, rho over all heads {spread(everywhere, PAIRS)}, "
                f"within layers {spread(within, PAIRS)}; {significant(within)} of {len(within)} "
                f"{_are(significant(within))} above 0 within layers after Holm"
            )
            freed = chosen(part, level="within_layer_corrected")
            noise = f"; within layers and corrected for noise {spread(freed, PAIRS)}"
            yield f"{line}{noise if freed['value'].notna().any() else ''}."
            yield from _unreliable(rows, int(shots), name)
            if kind == Kind.CROSS_TASK:
                yield from _top_third(rows, int(shots))
                released = chosen(part, level="bansal_released")
                yield f"{RELEASED}; for these pairs it gives {spread(released, PAIRS)}."


def _top_third(rows: pd.DataFrame, shots: int) -> Iterator[str]:
    common = chosen(rows, kind=Kind.CROSS_TASK_OVERLAP, shots=shots, level=RankCut("q", 30))
    if len(common):
        yield f"The top 30% of two tasks have {common['value'].mean():.0%} in common on average; chance gives 30%."


def _unreliable(rows: pd.DataFrame, shots: int, name: str) -> Iterator[str]:
    """Method 5: a reliability under .6 is flagged, for whatever importance."""
    repeats = chosen(rows, kind=Kind.RELIABILITY, shots=shots, b=f"importance/{name}", level="within_layer")
    repeats = repeats[repeats["a"] != AGGREGATE]
    low = repeats[~(repeats["value"] >= LOW_RELIABILITY)].sort_values("a")
    if len(low):
        listed = ", ".join(f"{row.a} {_reliability(row.value)}" for row in low.itertuples(index=False))
        yield (
            f"The rankings of {len(low)} of {len(repeats)} tasks by {name} importance at {at(shots)} have a "
            f"reliability under {LOW_RELIABILITY} within layers ({listed}): coefficients of pairs with them are "
            "lowered by noise, and those corrected for noise are unstable."
        )


def shots_told(rows: pd.DataFrame) -> Iterator[str]:
    """Do more examples call for other heads?"""
    for kind, name in ((Kind.CROSS_SHOT, "token"), (Kind.CROSS_SHOT_SIGNED, "signed")):
        part = chosen(rows, kind=kind)
        sides = [(AtShots.parse(a), AtShots.parse(b)) for a, b in zip(part["a"], part["b"], strict=True)]
        for row in chosen(part, level="within_layer").itertuples(index=False):
            few, many = AtShots.parse(row.a), AtShots.parse(row.b)
            if few.name != AGGREGATE:
                continue
            over = chosen(part, a=row.a, b=row.b, level="global")
            alone = part[
                np.array([a.name != AGGREGATE and (a.shots, b.shots) == (few.shots, many.shots) for a, b in sides])
            ]
            yield (
                f"{at(few.shots)} against {many.shots}, aggregate {name} importance: rho over all heads "
                f"{first(over):.2f}, "
                f"within layers {with_interval(row)}; task by task within layers "
                f"{spread(chosen(alone, level='within_layer'), 'from task to task')}."
            )


def retention_told(rows: pd.DataFrame) -> Iterator[str]:
    """What is left of prefix matching and copying when most heads are pruned."""
    left = chosen(rows, kind=Kind.RETENTION_RAW, level=RankCut("p", 70), b="importance/token")
    for row in left[left["shots"] == left["shots"].max()].itertuples(index=False):
        key = {"a": row.a, "b": row.b, "shots": row.shots, "level": row.level}
        excess = chosen(rows, kind=Kind.RETENTION_EXCESS, **key)
        more = f" and {first(excess):.0%} of what exceeds its null" if len(excess) else ""
        yield (
            f"When the 70% of heads of lowest aggregate importance (token, {at(row.shots)}) are pruned, "
            f"{row.value:.0%} of all {said(row.a)} is left{more}; pruning at random leaves 30% on average."
        )


# ---- words ----------------------------------------------------------------------------------------------------------


def at(shots: Any) -> str:
    return f"{shots} shot" if shots == 1 else f"{shots} shots"


def said(name: str) -> str:
    return SAID.get(name, name.replace("_", " "))


def with_interval(row: Any) -> str:
    """A value with its interval where it has one."""
    if not isfinite(row.value):
        return "not defined"
    if not isfinite(row.ci_low):
        return f"{row.value:+.2f} (too few documents for an interval)"
    return f"{row.value:+.2f} [{row.ci_low:+.2f}, {row.ci_high:+.2f}]"


def p_told(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else f"{p:.0e}" if p == p else "not tested"


def spread(rows: pd.DataFrame, over: str) -> str:
    """Mean and range of a column of coefficients; `over` says what the range is over."""
    values = rows["value"].dropna()
    if values.empty:
        return "not defined"
    if len(values) == 1:
        return f"{values.iloc[0]:.2f}"
    return f"{values.mean():.2f} on average ({values.min():.2f} to {values.max():.2f} {over})"


def significant(rows: pd.DataFrame) -> int:
    """Rows that are positive and hold after correction."""
    return int(((rows["p_holm"] <= LEVEL) & (rows["value"] > 0)).sum())


def _reliability(value: float) -> str:
    return f"{value:.2f}" if isfinite(value) else "not defined"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def first(rows: pd.DataFrame) -> float:
    return float(rows["value"].iloc[0]) if len(rows) else float("nan")


def induction_heads(evidence: Evidence) -> Iterator[str]:
    """How many there are, then every test, the primary one first."""
    classes = evidence.run.classes
    if len(classes):
        counts = Counter(classes["class"])
        total = sum(counts[kind] for kind in KINDS)
        yield (
            f"- {total} of {len(classes)} heads are induction heads (prefix matching of at least .4 and above both "
            f"nulls): {', '.join(f'{counts[kind]} {kind}' for kind in KINDS)}."
        )
    rows = evidence.comparisons
    for part in (primary, gains, sets, overlap_told, exploratory):
        yield from (f"- {sentence}" for sentence in part(rows))


def retained(evidence: Evidence) -> Iterator[str]:
    """What pruning leaves of each induction score (the paper's Figure 11)."""
    yield from (f"- {sentence}" for sentence in retention_told(evidence.comparisons))
