"""Heads and FFNs removed together: what the metric loses in each cell of the grid (Method 4; paper 5.3)."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from headscope.figures.outliers import capped_heat
from headscope.figures.style import above, above_bar, cell_texts
from interp.theme import bare, styled


def joint_grid(rows: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Rows of `metrics` of one metric and number of shots, component `both`; mean over tasks, minus the full model."""
    by_cell = rows.groupby(["task", "percent_ffns", "percent_heads"])["value"].mean()
    cells = by_cell.unstack("task").dropna().mean(axis=1).unstack("percent_heads")
    change = (cells - cells.loc[0.0, 0.0]).sort_index().sort_index(axis=1)
    values = change.to_numpy(dtype=float)
    trace = go.Heatmap(
        z=values,
        x=[f"{p:g}" for p in change.columns],
        y=[f"{p:g}" for p in change.index],
        xgap=1,
        ygap=1,
        text=cell_texts(values, 3),
        texttemplate="%{text}",
        textfont={"size": 9},
        hoverongaps=False,
        hovertemplate="%{x}% of heads, %{y}% of FFNs removed<br>change %{z:+.4f}<extra></extra>",
        **capped_heat(values, above_bar()),
    )
    axis = bare(type="category")
    return styled(
        [trace],
        x="heads removed, %",
        y="FFNs removed, %",
        title=title,
        xaxis=axis,
        yaxis=axis,
        height=400,
        **above("change of the metric"),
    )
