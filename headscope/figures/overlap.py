"""Overlap of the top heads of two rankings against what chance gives, at every cut from 1% to 30% (Method 5)."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from headscope.figures.retention import percent_of
from headscope.figures.style import CYCLE, colour, plain_text, styled
from headscope.store.comparisons import Kind
from headscope.store.glossary import pair_label

CHANCE = {
    Kind.OVERLAP_EXPECTED_FREE: ("chance", "grey", "dot"),
    Kind.OVERLAP_EXPECTED_LAYER: ("chance within layers", "ochre", "dash"),
}


def overlap_curves(rows: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Rows of `comparisons` of the kinds overlap, overlap_expected_free and overlap_expected_layer; a line a pair."""
    found = rows[rows["kind"] == Kind.OVERLAP]
    pairs = list(found.groupby(["a", "b"], sort=True))
    traces = [
        _line(part, pair_label(str(a), str(b)), CYCLE[place % len(CYCLE)], "solid")
        for place, ((a, b), part) in enumerate(pairs)
    ]
    for kind, (label, role, dash) in CHANCE.items():
        part = rows[rows["kind"] == kind]
        if len(part):
            traces.append(_line(part, label, role, dash))
    return styled(
        traces,
        x="top heads of each ranking, %",
        y="share in common",
        title=title,
        height=420,
        hovermode="x unified",
        yaxis={"range": [0, 1.03]},
    )


def _line(rows: pd.DataFrame, name: str, role: str, dash: str) -> go.Scatter:
    curve = rows.assign(percent=percent_of(rows["level"])).groupby("percent")["value"].mean().sort_index()
    return go.Scatter(
        x=list(curve.index),
        y=curve.to_numpy(),
        name=plain_text(name),
        mode="lines",
        hovertemplate="%{y:.3f}",
        line={"color": colour(role), "width": 2 if dash == "solid" else 1.5, "dash": dash},
    )
