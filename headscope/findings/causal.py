"""Does in-context learning suffer when the induction heads are removed? (Method 5, the causal check)"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, isfinite
from typing import Any

import pandas as pd

from headscope.findings.evidence import Evidence, at
from headscope.findings.induction_heads import p_told
from headscope.store.comparisons import CONTROL_HEADS, CausalLevel, Kind
from headscope.store.snapshot import chosen

SAID = {"random": "random sets", "layer_matched": "layer-matched sets", "norm_matched": "layer- and norm-matched sets"}
UNITS = {"metric": ("accuracy", 100.0, " points"), "log_likelihood": ("log-likelihood", 1.0, " nats")}
LEVEL = 0.05


def removal(evidence: Evidence) -> Iterator[str]:
    """What the examples are worth; every tested set: its drop, its controls, its rank; the manipulation check."""
    rows = evidence.rows(kind=Kind.CAUSAL_DROP)
    for outcome in UNITS:
        yield from (f"- {line}" for line in _worth(evidence, outcome))
        for (tested, text), part in rows.groupby(["a", "level"], sort=True):
            level = CausalLevel.parse(str(text))
            if level.outcome == outcome:
                yield f"- {_line(evidence, part, str(tested), level)}"
    yield from (f"- {line}" for line in _alike(evidence))
    yield from _repeats(evidence)


def _worth(evidence: Evidence, outcome: str) -> Iterator[str]:
    """The gain of the whole model: where it is not above 0 there is nothing that removal could take away."""
    name, factor, unit = UNITS[outcome]
    for one in evidence.rows(kind=Kind.CAUSAL_GAIN, level=outcome).itertuples(index=False):
        sure = "" if one.ci_low > 0 else " It is not shown to be above 0, so that the drops below say little."
        tasks = "the one task" if one.n == 1 else f"all {one.n} tasks"
        yield (
            f"To the whole model {at(one.shots)} are worth {factor * one.value:+.2f}{unit} of {name} over 0 shots"
            f"{_bracket(one, factor)}, mean over {tasks}, {evidence.chance_told(int(one.shots))}.{sure}"
        )


def _line(evidence: Evidence, part: pd.DataFrame, tested: str, level: CausalLevel) -> str:
    name, factor, unit = UNITS[level.outcome]
    one = next(part.itertuples(index=False))
    against = "; ".join(_against(evidence, row, factor, unit) for row in part.itertuples(index=False))
    more = "less" if one.value >= 0 else "more"
    return (
        f"{tested}, {level.ablation} ablation: without them {at(int(one.shots))} are worth "  # type: ignore[call-overload]
        f"{abs(factor * one.value):.2f}{unit} of {name} {more} than with them (drop {factor * one.value:+.2f}"  # type: ignore[operator]
        f"{_bracket(one, factor)}). {against}."
    )


def _against(evidence: Evidence, row: Any, factor: float, unit: str) -> str:
    controls = evidence.rows(kind=Kind.CAUSAL_CONTROLS, a=row.a, b=row.b, level=row.level)
    told = [
        f"median drop {factor * one.value:+.2f}{unit} (5th to 95th percentile {factor * one.ci_low:+.2f} to "
        f"{factor * one.ci_high:+.2f}), "
        for one in controls.itertuples(index=False)
    ]
    share = evidence.value(kind=Kind.CAUSAL_CONTROLS_OVERLAP, a=row.a, b=row.b)
    alike = f" ({share:.0%} of heads in common, two sets on average)" if isfinite(share) else ""
    return (
        f"{row.n} {SAID.get(row.b, row.b)}{alike}: {''.join(told)}rank p = {row.p:.3f}, Holm {p_told(row.p_holm)}, "
        f"{verdict(evidence, row)}"
    )


def verdict(evidence: Evidence, row: Any) -> str:
    """Whether the tested set's drop is larger than the controls'; a p that could not be small decides nothing."""
    if row.p_holm <= LEVEL:
        return "a larger drop than the controls'"
    family = evidence.rows(kind=Kind.CAUSAL_DROP, level=_levels(evidence, CausalLevel.parse(row.level).outcome))
    family = family[family["p"].notna()]
    least = len(family) / (family["n"].max() + 1) if len(family) else 0.0
    late = f"{row.n} controls are too few to decide after correction for {len(family)} tests"
    if row.p <= LEVEL:
        after = f"but {late}" if least > LEVEL else "not after correction for all sets and controls here"
        return f"a larger drop than the controls' taken by itself, {after}"
    if 1 / (row.n + 1) > LEVEL:
        return f"which {row.n} controls are too few to decide"
    return f"not shown to be a larger drop than the controls'{f'; {late}' if least > LEVEL else ''}"


def _levels(evidence: Evidence, outcome: str) -> list[str]:
    """All rows of one outcome are one family of Holm's."""
    levels = evidence.rows(kind=Kind.CAUSAL_DROP)["level"]
    return sorted({str(level) for level in levels if CausalLevel.parse(level).outcome == outcome})


def _alike(evidence: Evidence) -> Iterator[str]:
    """How far the controls are independent sets, and whether matching by norm brings them nearer."""
    for (tested, kind), part in evidence.rows(level=CONTROL_HEADS).groupby(["a", "b"], sort=True):
        found = part.set_index("kind")
        if Kind.CAUSAL_CONTROLS_OVERLAP not in found.index:
            continue
        share, shared = (
            found.loc[kind_, "value"] for kind_ in (Kind.CAUSAL_CONTROLS_OVERLAP, Kind.CAUSAL_CONTROLS_SHARED)
        )
        count = found["n"].iloc[0]
        fewer = (
            ""
            if kind == "random"
            else (
                f": their drops scatter less than those of {count} independent sets would, so that the tested "
                "set stands out from them more easily"
            )
        )
        yield (
            f"The {count} {SAID.get(str(kind), str(kind))} against {tested}: two of them have {share:.0%} of their "
            f"heads in common on average, and {shared:.0f} {'head is' if shared == 1 else 'heads are'} in all of them"
            f"{fewer}{_gap(found)}."
        )


def _gap(found: pd.DataFrame) -> str:
    if Kind.CAUSAL_CONTROLS_NORM_GAP not in found.index:
        return ""
    gap = found.loc[Kind.CAUSAL_CONTROLS_NORM_GAP, "value"]
    return f"; head by head their outputs differ in length from the tested heads' by a factor of {exp(gap):.2f}"


def _bracket(one: Any, factor: float) -> str:
    return f" [{factor * one.ci_low:+.2f}, {factor * one.ci_high:+.2f}]" if isfinite(one.ci_low) else ""


def _repeats(evidence: Evidence) -> Iterator[str]:
    """Loss on repeated tokens says that the removal worked, and nothing about tasks."""
    rows = evidence.rows(kind=Kind.CAUSAL_REPEATS)
    full = chosen(rows, a="full model")["value"]
    removed = rows[rows["a"] != "full model"]
    if len(full) and len(removed):
        told = "; ".join(f"{one.a} ({one.n} heads) {one.value:+.2f}" for one in removed.itertuples(index=False))
        yield (
            f"- Manipulation check, no evidence (the heads were chosen on it): a repeat changes the loss on random "
            f"tokens by {full.iloc[0]:+.2f} nats in the full model; without {told}."
        )
