"""The causal check: in-context learning after removing induction heads and after removing controls (METHODS 5).

Outcome of a set: the mean over tasks of (metric with k shots - metric with none), minus the same of the full model.
Every control set is a point; the tested set's rank p = (1 + #{controls that cost at least as much}) / (controls + 1).
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from headscope.figures.style import colour, level_line, styled

COMPONENT = "induction_heads"
TESTED = "induction"
CONTROLS = {
    # order: (label, colour, shift beside the tested set)
    "random": ("random sets", "grey", -0.22),
    "layer_matched": ("layer-matched sets", "ochre", 0.0),
    "norm_matched": ("layer- and norm-matched sets", "sky", 0.22),
}


def removal(rows: pd.DataFrame, *, shots: int, title: str = "") -> go.Figure:
    """Rows of `metrics` with component `induction_heads`, of one metric and ablation, at 0 and at `shots` shots."""
    outcome = outcomes(rows, shots=shots)
    sizes = sorted(set(outcome["removed_heads"]))
    place = {size: index for index, size in enumerate(sizes)}
    traces = [
        _control(outcome[outcome["order"] == order], place, look)
        for order, look in CONTROLS.items()
        if (outcome["order"] == order).any()
    ]
    traces.append(_tested(outcome, place))
    ticks = {"tickmode": "array", "tickvals": list(range(len(sizes))), "ticktext": [str(size) for size in sizes]}
    return styled(
        traces, x="heads removed", y=f"change of ({shots}-shot minus 0-shot)", title=title, height=420,
        xaxis={**ticks, "showgrid": False, "range": [-0.6, len(sizes) - 0.4]}, shapes=[level_line()],
    )  # fmt: skip


def outcomes(rows: pd.DataFrame, *, shots: int) -> pd.DataFrame:
    """One row a set: order, order_seed, removed_heads and its outcome."""
    key = ["order", "order_seed", "removed_heads"]
    by_task = rows[rows["shots"].isin([0, shots])].groupby([*key, "task", "shots"])["value"].mean().unstack("shots")
    gain = (by_task[shots] - by_task[0]).dropna().groupby(key).mean().reset_index(name="outcome")
    full = gain[gain["removed_heads"] == 0]["outcome"]
    changed = gain[gain["removed_heads"] > 0]
    return changed.assign(outcome=changed["outcome"] - (full.mean() if len(full) else 0.0))


def rank_p(outcome: pd.DataFrame, order: str, size: int) -> tuple[float, int]:
    """The tested set's rank p against one kind of control, and how many controls there are."""
    part = outcome[outcome["removed_heads"] == size]
    tested = part[part["order"] == TESTED]["outcome"].min()
    control = part[part["order"] == order]["outcome"]
    return (1 + int((control <= tested).sum())) / (len(control) + 1), len(control)


def _control(part: pd.DataFrame, place: dict[int, int], look: tuple[str, str, float]) -> go.Scatter:
    label, role, shift = look
    count = part.groupby("removed_heads")["order_seed"].nunique().max()
    return go.Scatter(
        x=[place[size] + shift for size in part["removed_heads"]], y=part["outcome"], mode="markers",
        name=f"{label} ({count})", marker={"color": colour(role), "size": 5, "opacity": 0.6},
        hovertemplate="%{y:+.4f}",
    )  # fmt: skip


def _tested(outcome: pd.DataFrame, place: dict[int, int]) -> go.Scatter:
    tested = outcome[outcome["order"] == TESTED].sort_values("removed_heads")
    told = []
    for size in tested["removed_heads"]:
        ranks = [(look[0], *rank_p(outcome, order, size)) for order, look in CONTROLS.items()]
        told.append("".join(f"<br>p = {p:.3f} against {count} {label}" for label, p, count in ranks if count))
    return go.Scatter(
        x=[place[size] for size in tested["removed_heads"]], y=tested["outcome"], mode="markers",
        name="induction heads",
        marker={"color": colour("vermilion"), "size": 12, "symbol": "diamond"}, customdata=told,
        hovertemplate="%{y:+.4f}%{customdata}<extra>induction heads</extra>",
    )  # fmt: skip
