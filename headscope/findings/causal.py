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
    for row in evidence.rows(kind=Kind.CAUSAL_GAIN, level=outcome).itertuples(index=False):
        sure = "" if row.ci_low > 0 else " It is not shown to be above 0, so that the drops below say little."
        tasks = "the one task" if row.n == 1 else f"all {row.n} tasks"
        yield (
            f"To the whole model {at(row.shots)} are worth {factor * row.value:+.2f}{unit} of {name} over 0 shots"
            f"{_bracket(row, factor)}, mean over {tasks}, {evidence.chance_told(int(row.shots))}.{sure}"
        )


def _line(evidence: Evidence, part: pd.DataFrame, tested: str, level: CausalLevel) -> str:
    name, factor, unit = UNITS[level.outcome]
    row = next(part.itertuples(index=False))
    against = "; ".join(_against(evidence, row, factor, unit) for row in part.itertuples(index=False))
    more = "less" if row.value >= 0 else "more"
    return (
        f"{tested}, {level.ablation} ablation: without them {at(int(row.shots))} are worth "  # type: ignore[call-overload]
        f"{abs(factor * row.value):.2f}{unit} of {name} {more} than with them (drop {factor * row.value:+.2f}"  # type: ignore[operator]
        f"{_bracket(row, factor)}). {against}."
    )


def _against(evidence: Evidence, row: Any, factor: float, unit: str) -> str:
    controls = evidence.rows(kind=Kind.CAUSAL_CONTROLS, a=row.a, b=row.b, level=row.level)
    ranks = [
        f"median drop {factor * control.value:+.2f}{unit} (5th to 95th percentile {factor * control.ci_low:+.2f} to "
        f"{factor * control.ci_high:+.2f}), "
        for control in controls.itertuples(index=False)
    ]
    share = evidence.value(kind=Kind.CAUSAL_CONTROLS_OVERLAP, a=row.a, b=row.b)
    alike = f" ({share:.0%} of heads in common, two sets on average)" if isfinite(share) else ""
    return (
        f"{row.n} {SAID.get(row.b, row.b)}{alike}: {''.join(ranks)}rank p = {row.p:.3f}, Holm {p_told(row.p_holm)}, "
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
        by_kind = part.set_index("kind")
        if Kind.CAUSAL_CONTROLS_OVERLAP not in by_kind.index:
            continue
        share, shared = (
            by_kind.loc[kind_, "value"] for kind_ in (Kind.CAUSAL_CONTROLS_OVERLAP, Kind.CAUSAL_CONTROLS_SHARED)
        )
        count = by_kind["n"].iloc[0]
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
            f"{fewer}{_gap(by_kind)}."
        )


def _gap(rows: pd.DataFrame) -> str:
    if Kind.CAUSAL_CONTROLS_NORM_GAP not in rows.index:
        return ""
    gap = rows.loc[Kind.CAUSAL_CONTROLS_NORM_GAP, "value"]
    return f"; head by head their outputs differ in length from the tested heads' by a factor of {exp(gap):.2f}"


def _bracket(row: Any, factor: float) -> str:
    return f" [{factor * row.ci_low:+.2f}, {factor * row.ci_high:+.2f}]" if isfinite(row.ci_low) else ""


def _repeats(evidence: Evidence) -> Iterator[str]:
    """Loss on repeated tokens says that the removal worked, and nothing about tasks."""
    rows = evidence.rows(kind=Kind.CAUSAL_REPEATS)
    full = chosen(rows, a="full model")["value"]
    removed = rows[rows["a"] != "full model"]
    if len(full) and len(removed):
        listed = "; ".join(f"{row.a} ({row.n} heads) {row.value:+.2f}" for row in removed.itertuples(index=False))
        yield (
            f"- Manipulation check, no evidence (the heads were chosen on it): a repeat changes the loss on random "
            f"tokens by {full.iloc[0]:+.2f} nats in the full model; without {listed}."
        )
