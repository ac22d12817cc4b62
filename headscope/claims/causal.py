"""Does in-context learning suffer when the induction heads are removed? (METHODS 5, the causal check)"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

import pandas as pd

from headscope.claims.evidence import Evidence, at
from headscope.comparison.sentences import p_told
from headscope.figures.stored import chosen

SAID = {"random": "random sets", "layer_matched": "layer-matched sets", "norm_matched": "layer- and norm-matched sets"}
UNITS = {"metric": ("accuracy", 100.0, " points"), "log_likelihood": ("log-likelihood", 1.0, " nats")}
LEVEL = 0.05


def removal(evidence: Evidence) -> Iterator[str]:
    """What the examples are worth at all; every tested set: its drop, its controls, its rank; the manipulation check.
    """
    rows = evidence.rows(kind="causal_drop")
    for outcome in UNITS:
        yield from (f"- {line}" for line in _worth(evidence, outcome))
        for (tested, level), part in rows.groupby(["a", "level"], sort=True):
            if str(level).partition("/")[0] == outcome:
                yield f"- {_line(evidence, part, str(tested), outcome, str(level).partition('/')[2])}"
    yield from _repeats(evidence)


def _worth(evidence: Evidence, outcome: str) -> Iterator[str]:
    """The gain of the whole model: where it is not above 0 there is nothing that removal could take away."""
    name, factor, unit = UNITS[outcome]
    for one in evidence.rows(kind="causal_gain", level=outcome).itertuples(index=False):
        sure = "" if one.ci_low > 0 else " It is not shown to be above 0, so that the drops below say little."
        yield (
            f"To the whole model {at(one.shots)} are worth {factor * one.value:+.2f}{unit} of {name} over 0 shots, "
            f"mean over {one.n} tasks{_bracket(one, factor)}.{sure}"
        )


def _line(evidence: Evidence, part: pd.DataFrame, tested: str, outcome: str, ablation: str) -> str:
    name, factor, unit = UNITS[outcome]
    one = next(part.itertuples(index=False))
    against = "; ".join(_against(evidence, row, factor, unit) for row in part.itertuples(index=False))
    more = "less" if one.value >= 0 else "more"
    return (
        f"{tested}, {ablation} ablation: without them {at(int(one.shots))} are worth "  # type: ignore[call-overload]
        f"{abs(factor * one.value):.2f}{unit} of {name} {more} than with them (drop {factor * one.value:+.2f}"  # type: ignore[operator]
        f"{_bracket(one, factor)}). {against}."
    )


def _against(evidence: Evidence, row: Any, factor: float, unit: str) -> str:
    controls = evidence.rows(kind="causal_controls", a=row.a, b=row.b, level=row.level)
    told = [
        f"median drop {factor * one.value:+.2f}{unit} ({factor * one.ci_low:+.2f} to {factor * one.ci_high:+.2f}), "
        for one in controls.itertuples(index=False)
    ]
    return (
        f"{row.n} {SAID.get(row.b, row.b)}: {''.join(told)}rank p = {row.p:.3f}, Holm {p_told(row.p_holm)}, "
        f"{_verdict(row)}"
    )


def _verdict(row: Any) -> str:
    """Whether the tested set's drop is larger than the controls'."""
    if row.p_holm <= LEVEL:
        return "a larger drop than the controls'"
    if row.p <= LEVEL:
        return "a larger drop than the controls' taken by itself, not after correction for all sets and controls here"
    if 1 / (row.n + 1) > LEVEL:
        return f"which {row.n} controls are too few to decide"
    return "not shown to be a larger drop than the controls'"


def _bracket(one: Any, factor: float) -> str:
    return f" [{factor * one.ci_low:+.2f}, {factor * one.ci_high:+.2f}]" if isfinite(one.ci_low) else ""


def _repeats(evidence: Evidence) -> Iterator[str]:
    """Loss on repeated tokens says that the removal worked, and nothing about tasks."""
    rows = evidence.rows(kind="causal_repeats")
    full = chosen(rows, a="full model")["value"]
    removed = rows[rows["a"] != "full model"]
    if len(full) and len(removed):
        told = "; ".join(f"{one.a} ({one.n} heads) {one.value:+.2f}" for one in removed.itertuples(index=False))
        yield (
            f"- Manipulation check, no evidence (the heads were chosen on it): a repeat changes the loss on random "
            f"tokens by {full.iloc[0]:+.2f} nats in the full model; without {told}."
        )
