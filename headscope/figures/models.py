"""Several runs beside each other: an outcome against parameters or training steps, or by run where neither tells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from headscope.figures.style import level_line
from interp.theme import colour, plain_text, styled

# column: (title, its lower end, its upper end, whether 0 is drawn)
OUTCOMES = {
    "effect": ("Effect of the induction heads, in sd of controls", "effect_low", "effect_high", True),
    "depth": ("Relative depth: mean, first and last induction head", "depth_first", "depth_last", False),
    "removable": ("Heads removable at 95% of the choice gain, %", "", "", False),
}
AXES = {"parameters": "parameters", "steps": "training steps", "": ""}


def model_figures(table: pd.DataFrame, against: str) -> Iterator[go.Figure]:
    """One for each outcome that a run has."""
    for column in OUTCOMES:
        if table[column].notna().any():
            yield model_figure(table, column, against)


def model_figure(table: pd.DataFrame, column: str, against: str) -> go.Figure:
    """A point a run, with its interval; the table is that of comparison/models.py."""
    title, low, high, zero = OUTCOMES[column]
    rows = table[table[column].notna()]
    names = [plain_text(str(name)) for name in rows["run"]]
    points = go.Scatter(
        x=list(rows[against]) if against else names,
        y=list(rows[column]),
        mode="markers+lines" if against == "steps" else "markers",
        marker={"color": colour("vermilion"), "size": 9},
        line={"color": colour("vermilion"), "width": 1},
        error_y=ends(rows, column, low, high) if low else None,
        customdata=names,
        hovertemplate="%{customdata}<br>%{y:.3f}<extra></extra>",
        showlegend=False,
    )
    axis = {"type": "log" if against == "parameters" else "linear"} if against else {"type": "category"}
    ends_of_depth = {"range": [-0.03, 1.03]} if column == "depth" else {}
    shapes = [level_line()] if zero else []
    return styled([points], x=AXES[against], title=title, height=340, xaxis=axis, yaxis=ends_of_depth, shapes=shapes)


def ends(rows: pd.DataFrame, column: str, low: str, high: str) -> dict[str, object]:
    """Error bars between two columns; none where an end is missing."""
    above, below = (np.nan_to_num(np.abs(rows[end] - rows[column]), posinf=0.0) for end in (high, low))
    look = {"color": colour("vermilion"), "thickness": 1.5, "width": 3}
    return {"type": "data", "symmetric": False, "array": list(above), "arrayminus": list(below), **look}
