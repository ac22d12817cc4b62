"""Transfer: a task evaluated on a model that was pruned by another task's ranking (Method 4; paper 5.2)."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from headscope.figures.style import colour_bar, heat, names_axis, plain_text, styled, told

FIRST = ("own", "aggregate")


def transfer_matrix(rows: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Rows of `metrics` of heads at one percentage, metric and number of shots, and at 0%: evaluated x ranking.

    A cell is the metric minus the full model's on the same task; the order `own` stands first.
    """
    full = rows[rows["percent_heads"] == 0].groupby("task")["value"].mean()
    pruned = rows[rows["percent_heads"] > 0].groupby(["task", "order"])["value"].mean().unstack("order")
    change = pruned.sub(full, axis=0).dropna(how="all")
    columns = [name for name in FIRST if name in change] + [name for name in sorted(change) if name not in FIRST]
    values = change[columns].to_numpy(dtype=float)
    trace = go.Heatmap(
        z=values,
        xgap=1,
        ygap=1,
        text=told(values, 2),
        texttemplate="%{text}",
        colorbar=colour_bar("change"),
        customdata=[[f"{plain_text(task)}, ranking: {plain_text(name)}" for name in columns] for task in change.index],
        hovertemplate="%{customdata}<br>change %{z:+.4f}<extra></extra>",
        hoverongaps=False,
        **heat(values, signed=True),
    )
    return styled(
        [trace],
        x="ranking of",
        y="evaluated on",
        title=title,
        height=min(760, 190 + 26 * len(change)),
        xaxis=names_axis(columns, tickangle=-45),
        yaxis=names_axis(list(change.index), autorange="reversed"),
    )
