"""Retention: how much of a score is left when the least important heads are pruned (Method 5; paper, Figure 11)."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from headscope.figures.style import CYCLE
from headscope.store.comparisons import Kind, RankCut
from headscope.store.glossary import label_of
from interp.theme import colour, plain_text, styled

KINDS = {Kind.RETENTION_RAW: ("", "solid"), Kind.RETENTION_EXCESS: (": excess over null", "dash")}


def retention_curves(rows: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Rows of `comparisons` of the kinds retention_raw and retention_excess, beside the diagonal of random pruning."""
    traces = [_diagonal()]
    for index, (score, part) in enumerate(rows.groupby("a", sort=True)):
        for kind, (label, dash) in KINDS.items():
            shares = part[part["kind"] == kind]
            if len(shares):
                curve = (
                    shares.assign(percent=percent_of(shares["level"])).groupby("percent")["value"].mean().sort_index()
                )
                name = plain_text(label_of(str(score))) + label
                traces.append(_line(curve, name, CYCLE[index % len(CYCLE)], dash))
    return styled(
        traces,
        x="heads removed, least important first, %",
        y="share left (dashed: excess over null)",
        title=title,
        height=420,
        hovermode="x unified",
        yaxis={"range": [0, 1.03]},
    )


def percent_of(level: pd.Series) -> pd.Series:
    """The number in levels such as `p=30` and `q=5`."""
    return level.map(lambda text: float(RankCut.parse(text).number))


def _line(curve: pd.Series, name: str, role: str, dash: str) -> go.Scatter:
    return go.Scatter(
        x=list(curve.index),
        y=curve.to_numpy(),
        name=name,
        mode="lines+markers",
        hovertemplate="%{y:.3f}",
        line={"color": colour(role), "width": 2, "dash": dash},
        marker={"size": 5},
        showlegend=dash == "solid",
    )


def _diagonal() -> go.Scatter:
    return go.Scatter(
        x=[0, 100],
        y=[1, 0],
        mode="lines",
        name="random pruning",
        hoverinfo="skip",
        line={"color": colour("grey"), "width": 1, "dash": "dot"},
    )
