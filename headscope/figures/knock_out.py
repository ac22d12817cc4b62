"""What is lost without each FFN, by layer (Method 3.2): one line for all positions, one for positions from 1 on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from headscope.figures.outliers import limits, marks, within
from headscope.figures.style import CYCLE, level_line
from interp.figure import step
from interp.theme import colour, plain_text, styled

POSITIONS = {"": "all positions", "later": "position 0 spared"}
BEYOND = 0.1  # of the FFNs may lie beyond the axis


def ffn_knockout(rows: pd.DataFrame, *, title: str = "", y: str = "full model minus without") -> go.Figure:
    """Rows of `ffn_scores` of one score; variants become lines, several tasks their mean with the tasks as thin lines.

    The interval is drawn where a line is one task's. An FFN that costs far more than the others is marked at the edge.
    """
    traces: list[go.Scatter] = []
    drawn = rows.groupby(["variant", "layer"], sort=True)["mean"].mean().reset_index()
    axis = _axis(rows, drawn)
    for index, (variant, part) in enumerate(rows.groupby("variant", sort=True)):
        name, role = POSITIONS.get(str(variant), plain_text(str(variant))), CYCLE[index % len(CYCLE)]
        tasks = [task for _, task in part.groupby("task", sort=True)]
        if len(tasks) == 1:
            traces.append(_line(tasks[0].sort_values("layer"), name, role, interval=True))
            continue
        traces += [_thin(task.sort_values("layer"), role, str(variant)) for task in tasks]
        mean = part.groupby("layer", as_index=False)["mean"].mean()
        traces.append(_line(mean, f"{name}, mean of {len(tasks)} tasks", role, interval=False))
    layers = int(rows["layer"].max()) + 1
    ends = {"range": [-0.5, layers - 0.5], "dtick": step(layers)}
    far = [
        {"x": row.layer, "y": row.mean, "name": f"FFN {row.layer}, {POSITIONS.get(str(row.variant), row.variant)}"}
        for row in drawn.itertuples(index=False)
    ]
    far += _single(rows, drawn, axis)
    traces += marks(far, axis)
    return styled(traces, x="layer", y=y, title=title, xaxis=ends, yaxis=within(axis), shapes=[level_line()])


def _axis(rows: pd.DataFrame, drawn: pd.DataFrame) -> tuple[float, float] | None:
    """Without the few lines' points far out; the intervals of the others, where they are drawn, lie within."""
    axis = limits(drawn["mean"].to_numpy(dtype=float), share=BEYOND, zero=True)
    if axis is None or rows["task"].nunique() > 1:
        return axis
    inside = rows[rows["mean"].between(*axis)]
    return float(np.nanmin([axis[0], *inside["ci_low"]])), float(np.nanmax([axis[1], *inside["ci_high"]]))


def _single(rows: pd.DataFrame, drawn: pd.DataFrame, axis: tuple[float, float] | None) -> list[dict[str, Any]]:
    """Of single tasks beyond the axis, where their mean is not, the farthest of every FFN."""
    if axis is None or rows["task"].nunique() == 1:
        return []
    low, high = axis
    means = drawn.rename(columns={"mean": "over_tasks"})
    both = rows.merge(means, on=["variant", "layer"])
    found = both[~both["mean"].between(low, high) & both["over_tasks"].between(low, high)]
    far = found.assign(past=np.maximum(found["mean"] - high, low - found["mean"])).sort_values("past", ascending=False)
    return [
        {
            "x": one.layer,
            "y": one.mean,
            "name": f"FFN {one.layer}, {plain_text(str(one.task))}, {POSITIONS.get(str(one.variant), one.variant)}",
        }
        for one in far.drop_duplicates(["variant", "layer"]).itertuples(index=False)
    ]


def _line(rows: pd.DataFrame, name: str, role: str, *, interval: bool) -> go.Scatter:
    error = None
    if interval:
        above, below = rows["ci_high"] - rows["mean"], rows["mean"] - rows["ci_low"]
        error = {"type": "data", "array": above, "arrayminus": below, "width": 0, "thickness": 1}
    return go.Scatter(
        x=rows["layer"],
        y=rows["mean"],
        error_y=error,
        name=name,
        mode="lines+markers",
        legendgroup=name,
        line={"color": colour(role), "width": 2},
        marker={"size": 5},
        hovertemplate=f"FFN %{{x}}<br>{name}: %{{y:.4f}}<extra></extra>",
    )


def _thin(rows: pd.DataFrame, role: str, variant: str) -> go.Scatter:
    task = plain_text(str(rows["task"].iloc[0]))
    return go.Scatter(
        x=rows["layer"],
        y=rows["mean"],
        name=task,
        mode="lines",
        showlegend=False,
        opacity=0.35,
        legendgroup=variant,
        line={"color": colour(role), "width": 1},
        hovertemplate=f"FFN %{{x}}<br>{task}: %{{y:.4f}}<extra></extra>",
    )
