"""Transfer: a task evaluated on a model that was pruned by another task's ranking (METHODS 4; the paper's section 5.2)."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from headscope.figures.style import bare, colour_bar, heat, plain_text, styled, told

FIRST = ("own", "aggregate")


def transfer_matrix(rows: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Rows of `metrics` of heads at one percentage, metric and number of shots, and the same at 0%: evaluated x ranking.

    A cell is the metric minus the full model's on the same task; the order `own` stands first.
    """
    full = rows[rows["percent_heads"] == 0].groupby("task")["value"].mean()
    pruned = rows[rows["percent_heads"] > 0].groupby(["task", "order"])["value"].mean().unstack("order")
    change = pruned.sub(full, axis=0).dropna(how="all")
    columns = [name for name in FIRST if name in change] + [name for name in sorted(change) if name not in FIRST]
    values = change[columns].to_numpy(dtype=float)
    trace = go.Heatmap(
        z=values, x=[plain_text(name) for name in columns], y=[plain_text(name) for name in change.index], xgap=1,
        ygap=1,
        text=told(values, 2), texttemplate="%{text}", colorbar=colour_bar("change"), hoverongaps=False,
        hovertemplate="%{y} pruned by the ranking of %{x}<br>change %{z:+.4f}<extra></extra>",
        **heat(values, signed=True),
    )  # fmt: skip
    return styled(
        [trace], x="ranking of", y="evaluated on", title=title, height=min(760, 190 + 26 * len(change)),
        xaxis=bare(type="category", tickangle=-45), yaxis=bare(type="category", autorange="reversed"),
    )  # fmt: skip
