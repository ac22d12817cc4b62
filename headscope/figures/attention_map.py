"""Attention as a heat map for a picture: queries downwards, keys across, tokens at the axes.

Pages draw the same map themselves (report/static/shared/attention_map.js).
Colour runs from 0 to the highest attention paid to a position other than the first, which takes what a head does not
need. Cells beyond it are marked, and the colour bar's end says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from interp.theme import SANS, colour, colour_bar, colourscale, plain_text, styled
from interp.token_display import label

EVERY = 40
LEAST = 0.05  # of the colour scale: a head that looks at nothing but the first position stays pale
MARK = "+"


def attention_map(
    pattern: Float[np.ndarray, "query key"], tokens: Sequence[str], *, title: str = "", height: int = 560
) -> go.Figure:
    """One head's attention on a text."""
    names = [plain_text(label(position, token)) for position, token in enumerate(tokens)]
    end = saturation(pattern)
    trace = go.Heatmap(
        z=causal(pattern),
        x=names,
        y=names,
        colorscale=colourscale("sequential"),
        zmin=0.0,
        zmax=end,
        text=marks(pattern, end),
        texttemplate="%{text}",
        textfont={"color": colour("paper")},
        hoverongaps=False,
        colorbar=bar(end, capped=bool((pattern > end).any())),
        hovertemplate="from %{y}<br>to %{x}<br>attention %{z:.3f}<extra></extra>",
    )
    axis = {
        "type": "category",
        "showgrid": False,
        "showline": False,
        "ticks": "",
        "tickfont": {"size": 10},
        "dtick": 1 if len(names) <= EVERY else None,
    }
    down = {**axis, "autorange": "reversed"}
    return styled([trace], x="key", y="query", title=title, height=height, xaxis={**axis, "tickangle": -90}, yaxis=down)


def causal(pattern: Float[np.ndarray, "query key"]) -> Float[np.ndarray, "query key"]:
    """Four decimals, and nothing where the key comes after the query."""
    later = np.triu(np.ones(pattern.shape, dtype=bool), 1)
    return np.where(later, np.nan, np.round(pattern.astype(np.float64), 4))


def saturation(pattern: Float[np.ndarray, "query key"]) -> float:
    """The highest attention to a position other than the first."""
    return max(LEAST, float(np.nanmax(pattern[:, 1:], initial=0.0)))


def marks(pattern: Float[np.ndarray, "query key"], end: float) -> list[list[str]]:
    """A mark for every cell beyond the end of the colour scale."""
    return [[MARK if over else "" for over in row] for row in (pattern > end).tolist()]


def bar(end: float, *, capped: bool) -> dict[str, Any]:
    """The colour bar with its end; where cells lie beyond that, it says so."""
    digits = 2 if end >= 0.1 else 3
    values = [end * quarter / 4 for quarter in range(5)]
    texts = [f"{value:.{digits}f}" for value in values]
    texts[-1] = f"≥{texts[-1]}" if capped else texts[-1]
    return {**colour_bar("attention"), "tickmode": "array", "tickvals": values, "ticktext": texts}


def attention_maps(
    patterns: Float[np.ndarray, "head query key"], names: Sequence[str], *, title: str = "", width: int = 960
) -> go.Figure:
    """A small map for every head, all on one scale. Positions, not tokens, at the axes: there is no room for words."""
    across = min(len(names), math.ceil(math.sqrt(len(names))))
    down = math.ceil(len(names) / across)
    figure = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=[plain_text(name) for name in names],
        horizontal_spacing=0.03,
        vertical_spacing=0.05,
    )
    end = max(saturation(pattern) for pattern in patterns)
    for place, pattern in enumerate(patterns):
        trace = go.Heatmap(
            z=causal(pattern),
            coloraxis="coloraxis",
            hoverongaps=False,
            text=marks(pattern, end),
            texttemplate="%{text}",
            textfont={"color": colour("paper")},
        )
        figure.add_trace(trace, row=place // across + 1, col=place % across + 1)
    figure.update_xaxes(showgrid=False, zeroline=False, ticks="", tickfont={"size": 9}, nticks=5)
    figure.update_yaxes(showgrid=False, zeroline=False, ticks="", tickfont={"size": 9}, nticks=5, autorange="reversed")
    figure.update_annotations(font={"size": 11})
    scale = bar(end, capped=bool((patterns > end).any()))
    figure.update_layout(
        template="none",
        width=width,
        height=90 + down * width // across,
        title={"text": plain_text(title), "font": {"size": 14}, "x": 0.0, "xref": "paper"},
        font={"family": SANS, "size": 11, "color": colour("ink")},
        paper_bgcolor=colour("panel"),
        plot_bgcolor=colour("panel"),
        margin={"l": 40, "r": 12, "t": 70, "b": 34},
        coloraxis={"colorscale": colourscale("sequential"), "cmin": 0.0, "cmax": end, "colorbar": scale},
    )
    return figure
