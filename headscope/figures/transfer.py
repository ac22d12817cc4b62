"""Transfer: a task evaluated on a model that was pruned by another task's ranking (Method 4; paper 5.2)."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from headscope.figures.outliers import capped_heat
from headscope.figures.style import MANY, above, above_bar, cell_texts, crowded, names_axis, short
from interp.theme import plain_text, styled

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
    texts = cell_texts(values, 2)
    if len(columns) >= MANY:
        texts = [[short(text) for text in row] for row in texts]
    trace = go.Heatmap(
        z=values,
        xgap=1,
        ygap=1,
        text=texts,
        **crowded(len(columns)),
        customdata=[[f"{plain_text(task)}, ranking: {plain_text(name)}" for name in columns] for task in change.index],
        hovertemplate="%{customdata}<br>change %{z:+.4f}<extra></extra>",
        hoverongaps=False,
        **capped_heat(values, above_bar()),
    )
    return styled(
        [trace],
        x="ranking of",
        y="evaluated on",
        title=title,
        height=min(760, 240 + 26 * len(change)),
        **above("change of the metric"),
        xaxis=names_axis(columns, tickangle=-45),
        yaxis=names_axis(list(change.index), autorange="reversed"),
    )
