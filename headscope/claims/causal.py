"""Does in-context learning suffer when the induction heads are removed? (METHODS 5, the causal check)"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from headscope.claims.evidence import Evidence, at
from headscope.figures.stored import chosen

SAID = {"random": "random sets", "layer_matched": "layer-matched sets", "norm_matched": "layer- and norm-matched sets"}
UNITS = {"metric": ("accuracy", 100.0, " points"), "log_likelihood": ("log-likelihood", 1.0, " nats")}
LEVEL = 0.05


def removal(evidence: Evidence) -> Iterator[str]:
    """Every tested set: its drop, its controls, its rank; then the manipulation check."""
    rows = evidence.rows(kind="causal_drop")
    for (tested, level), part in rows.groupby(["a", "level"], sort=True):
        outcome, _, ablation = str(level).partition("/")
        yield f"- {_line(evidence, part, str(tested), outcome, ablation)}"
    yield from _repeats(evidence)


def _line(evidence: Evidence, part: pd.DataFrame, tested: str, outcome: str, ablation: str) -> str:
    name, factor, unit = UNITS[outcome]
    one = part.iloc[0]
    against = "; ".join(_against(evidence, row, factor, unit) for row in part.itertuples(index=False))
    return (
        f"{tested}, {ablation} ablation: {at(int(one['shots']))} are worth {factor * one['value']:+.2f}{unit} of "
        f"{name} less without them than with them [{factor * one['ci_low']:+.2f}, {factor * one['ci_high']:+.2f}]. "
        f"{against}."
    )


def _against(evidence: Evidence, row: object, factor: float, unit: str) -> str:
    tested, kind, level = row.a, row.b, row.level  # type: ignore[attr-defined]
    controls = evidence.rows(kind="causal_controls", a=tested, b=kind, level=level)
    median = factor * float(controls["value"].iloc[0])
    low, high = (factor * float(controls[name].iloc[0]) for name in ("ci_low", "ci_high"))
    sure = "more than the controls" if row.p <= LEVEL else "not more than the controls"  # type: ignore[attr-defined]
    return (
        f"{row.n} {SAID.get(kind, kind)}: median {median:+.2f}{unit} ({low:+.2f} to {high:+.2f}), "  # type: ignore[attr-defined]
        f"rank p = {row.p:.3f}, {sure}"  # type: ignore[attr-defined]
    )


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
