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
from headscope.store.comparisons import INDUCTION_HEADS, AtShots, Cut, Difference, Kind
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
    for one in chosen(rows, kind=Kind.INDUCTION_IMPORTANCE_PRIMARY).itertuples(index=False):
        side = "higher" if one.value > 0 else "lower"
        verdict = f"in a layer, heads that match prefixes more have the {side} importance"
        sure = verdict if one.p <= LEVEL else "no relation is shown"
        yield (
            f"Primary test, fixed beforehand: within layers, prefix matching and the aggregate importance (token, "
            f"{at(one.shots)}) correlate at rho = {told(one)}, p = {p_told(one.p)} by permutation within layers over "
            f"{one.n} heads: {sure}."
        )
        corrected = chosen(
            rows, kind=Kind.INDUCTION_IMPORTANCE, a=one.a, b=one.b, shots=one.shots, level="within_layer_corrected"
        )
        for freed in corrected.itertuples(index=False):
            yield f"Corrected for the noise of both rankings it is rho* = {told(freed)}{_noise(rows, one)}."
        everywhere = chosen(rows, kind=Kind.INDUCTION_IMPORTANCE, a=one.a, b=one.b, shots=one.shots, level="global")
        for over in everywhere.itertuples(index=False):
            yield f"Over all heads, where a trend over layers counts too, rho = {told(over)}."
        released = chosen(
            rows, kind=Kind.INDUCTION_IMPORTANCE, a=one.a, b=one.b, shots=one.shots, level="bansal_released"
        )
        for other in released[released["value"].notna()].itertuples(index=False):
            yield f"{RELEASED}; it would have said {other.value:+.2f} here."


def _noise(rows: pd.DataFrame, one: Any) -> str:
    """The reliabilities that rho* divides by, and what one under .6 means; nothing where none was stored."""
    reliable = chosen(rows, kind=Kind.RELIABILITY, shots=one.shots, level="within_layer")
    parts = [chosen(reliable, a=one.a, b=""), chosen(reliable, a=AGGREGATE, b=one.b)]
    named = [
        (name, first(part))
        for name, part in zip((said(one.a), f"aggregate {said(one.b)}"), parts, strict=True)
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
    for one in chosen(rows, kind=Kind.INDUCTION_IMPORTANCE_GAIN).itertuples(index=False):
        gain = Difference.parse(one.b)
        shuffled = "shuffled" in gain.second.name
        against = "with shuffled labels" if shuffled else "without examples"
        verdict = "larger" if one.value > 0 else "smaller"
        sure = f"{verdict} than {against}" if one.p_holm <= LEVEL else f"not shown to differ from that {against}"
        yield (
            f"The agreement of prefix matching with aggregate {said(gain.first.name)} at {at(one.shots)} minus "
            f"that {against} is {told(one)} (p = {p_told(one.p)}, Holm {p_told(one.p_holm)}): {sure}."
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
        held = tests[tests["p_holm"] <= LEVEL]
        listed = "; ".join(
            f"{said(one.a)} with {said(one.b)}{' (partialled)' if str(one.kind).endswith('partial') else ''} "
            f"{one.value:+.2f}"
            for one in held.sort_values("value", key=abs, ascending=False).itertuples(index=False)
        )
        yield (
            f"Exploratory: {family.value:.0f} further tests, Holm-adjusted together ({family.n:,} permutations each). "
            f"Of {len(tests)} correlations within layers {len(held)} {_are(len(held))} shown to differ from 0"
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
    for one in chosen(rows, kind=Kind.SET_OVERLAP).itertuples(index=False):
        place = {"a": one.a, "b": one.b, "shots": one.shots, "level": one.level}
        size = Cut.parse(one.level).number
        expected = (Kind.SET_OVERLAP.expected_free, Kind.SET_OVERLAP.expected_layer)
        free, layer = (first(chosen(rows, kind=kind, **place)) for kind in expected)
        both = round(one.value * size)
        yield (
            f"Of the {size} induction heads {both} {_are(both)} among the {size} heads of highest "
            f"aggregate {said(one.b)} at {at(one.shots)}; chance gives {free * size:.1f}, with the same number of "
            f"heads in every layer {layer * size:.1f} (p = {p_told(one.p)}, Holm {p_told(one.p_holm)})."
        )


def overlap_told(rows: pd.DataFrame) -> Iterator[str]:
    """The top tenth of prefix matching against the top tenth of importance, at the most shots."""
    found = chosen(rows, kind=Kind.OVERLAP, a="prefix_matching", level=Cut("q", 10))
    for one in found[found["shots"] == found["shots"].max()].itertuples(index=False):
        place = {"a": one.a, "b": one.b, "shots": one.shots, "level": one.level}
        layer = first(chosen(rows, kind=Kind.OVERLAP_EXPECTED_LAYER, **place))
        yield (
            f"The top 10% by prefix matching and by aggregate {said(one.b)} ({at(one.shots)}) have {one.value:.0%} in "
            f"common; with the same number of heads in every layer chance gives {layer:.0%} (p = {p_told(one.p)}, Holm "
            f"over all cuts {p_told(one.p_holm)})."
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
    common = chosen(rows, kind=Kind.CROSS_TASK_OVERLAP, shots=shots, level=Cut("q", 30))
    if len(common):
        yield f"The top 30% of two tasks have {common['value'].mean():.0%} in common on average; chance gives 30%."


def _unreliable(rows: pd.DataFrame, shots: int, name: str) -> Iterator[str]:
    """Method 5: a reliability under .6 is flagged, for whatever importance."""
    found = chosen(rows, kind=Kind.RELIABILITY, shots=shots, b=f"importance/{name}", level="within_layer")
    found = found[found["a"] != AGGREGATE]
    low = found[~(found["value"] >= LOW_RELIABILITY)].sort_values("a")
    if len(low):
        listed = ", ".join(f"{one.a} {_reliability(one.value)}" for one in low.itertuples(index=False))
        yield (
            f"The rankings of {len(low)} of {len(found)} tasks by {name} importance at {at(shots)} have a reliability "
            f"under {LOW_RELIABILITY} within layers ({listed}): coefficients of pairs with them are lowered by noise, "
            "and those corrected for noise are unstable."
        )


def shots_told(rows: pd.DataFrame) -> Iterator[str]:
    """Do more examples call for other heads?"""
    for kind, name in ((Kind.CROSS_SHOT, "token"), (Kind.CROSS_SHOT_SIGNED, "signed")):
        part = chosen(rows, kind=kind)
        sides = [(AtShots.parse(a), AtShots.parse(b)) for a, b in zip(part["a"], part["b"], strict=True)]
        for one in chosen(part, level="within_layer").itertuples(index=False):
            few, many = AtShots.parse(one.a), AtShots.parse(one.b)
            if few.name != AGGREGATE:
                continue
            over = chosen(part, a=one.a, b=one.b, level="global")
            alone = part[
                np.array([a.name != AGGREGATE and (a.shots, b.shots) == (few.shots, many.shots) for a, b in sides])
            ]
            yield (
                f"{at(few.shots)} against {many.shots}, aggregate {name} importance: rho over all heads "
                f"{first(over):.2f}, "
                f"within layers {told(one)}; task by task within layers "
                f"{spread(chosen(alone, level='within_layer'), 'from task to task')}."
            )


def retention_told(rows: pd.DataFrame) -> Iterator[str]:
    """What is left of prefix matching and copying when most heads are pruned."""
    found = chosen(rows, kind=Kind.RETENTION_RAW, level=Cut("p", 70), b="importance/token")
    for one in found[found["shots"] == found["shots"].max()].itertuples(index=False):
        place = {"a": one.a, "b": one.b, "shots": one.shots, "level": one.level}
        excess = chosen(rows, kind=Kind.RETENTION_EXCESS, **place)
        more = f" and {first(excess):.0%} of what exceeds its null" if len(excess) else ""
        yield (
            f"When the 70% of heads of lowest aggregate importance (token, {at(one.shots)}) are pruned, "
            f"{one.value:.0%} of all {said(one.a)} is left{more}; pruning at random leaves 30% on average."
        )


# ---- words ----------------------------------------------------------------------------------------------------------


def at(shots: Any) -> str:
    return f"{shots} shot" if shots == 1 else f"{shots} shots"


def said(name: str) -> str:
    return SAID.get(name, name.replace("_", " "))


def told(one: Any) -> str:
    """A value with its interval where it has one."""
    if not isfinite(one.value):
        return "not defined"
    if not isfinite(one.ci_low):
        return f"{one.value:+.2f} (too few documents for an interval)"
    return f"{one.value:+.2f} [{one.ci_low:+.2f}, {one.ci_high:+.2f}]"


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
