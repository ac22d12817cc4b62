"""Attention as a heat map for a picture: queries downwards, keys across, tokens at the axes.

Pages draw the same map themselves (report/static/shared/attention_map.js).
Colour runs from 0 to the highest attention paid to a position other than the first, which takes what a head does not
need; the bar says so at its end, and a cell beyond it has a plus sign. Where that comes close to 1, it runs to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float
from plotly.subplots import make_subplots

from interp.theme import SANS, colour, colour_bar, colourscale, plain_text, styled
from interp.token_display import label

EVERY = 40
LEAST = 0.05  # of the colour scale: a head that looks at nothing but the first position stays pale
WHOLE = 0.95  # from here on the colours run to 1: nothing is left that a plus sign could tell
CAPPED = "+"  # on a cell beyond the end of the colours
STEPS = 4  # of the colour bar
ROUNDED = 5e-5


def attention_map(
    pattern: Float[np.ndarray, "query key"], tokens: Sequence[str], *, title: str = "", height: int = 560
) -> go.Figure:
    """One head's attention on a text."""
    names = [plain_text(label(position, token)) for position, token in enumerate(tokens)]
    values, end = causal(pattern), saturation(pattern)
    trace = go.Heatmap(
        z=values,
        x=names,
        y=names,
        colorscale=colourscale("sequential"),
        zmin=0.0,
        zmax=end,
        hoverongaps=False,
        colorbar=bar(end, capped=bool(beyond(values, end).any())),
        hovertemplate="from %{y}<br>to %{x}<br>attention %{z:.3f}<extra></extra>",
        **capped_cells(values, end),
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
    """The highest attention to a position other than the first; 1 where it is close."""
    highest = float(np.nanmax(pattern[:, 1:], initial=0.0))
    return 1.0 if highest >= WHOLE else max(LEAST, highest)


def beyond(values: Float[np.ndarray, "query key"], end: float) -> Bool[np.ndarray, "query key"]:
    """Which of the rounded values the colours do not tell apart from their end."""
    return np.nan_to_num(values) > end + ROUNDED


def capped_cells(values: Float[np.ndarray, "query key"], end: float) -> dict[str, Any]:
    """Options of a heat map that put a plus sign on what is beyond its colours."""
    text = np.where(beyond(values, end), CAPPED, "").tolist()
    return {"text": text, "texttemplate": "%{text}", "textfont": {"size": 9, "color": colour("panel")}}


def bar(end: float, *, capped: bool) -> dict[str, Any]:
    """A colour bar from 0, its end marked where there is more."""
    values = [end * step / STEPS for step in range(STEPS + 1)]
    texts = [f"{value:.{2 if end >= 0.1 else 3}f}" for value in values]
    texts[-1] = f"≥ {texts[-1]}" if capped else texts[-1]
    title = f"attention ({CAPPED} = more)" if capped else "attention"
    return {**colour_bar(title), "tickmode": "array", "tickvals": values, "ticktext": texts}


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
    drawn = [causal(pattern) for pattern in patterns]
    for at, values in enumerate(drawn):
        trace = go.Heatmap(z=values, coloraxis="coloraxis", hoverongaps=False, **capped_cells(values, end))
        figure.add_trace(trace, row=at // across + 1, col=at % across + 1)
    figure.update_xaxes(showgrid=False, zeroline=False, ticks="", tickfont={"size": 9}, nticks=5)
    figure.update_yaxes(showgrid=False, zeroline=False, ticks="", tickfont={"size": 9}, nticks=5, autorange="reversed")
    figure.update_annotations(font={"size": 11})
    colours = {"colorscale": colourscale("sequential"), "cmin": 0.0, "cmax": end}
    capped = any(bool(beyond(values, end).any()) for values in drawn)
    figure.update_layout(
        template="none",
        width=width,
        height=90 + down * width // across,
        title={"text": plain_text(title), "font": {"size": 14}, "x": 0.0, "xref": "paper"},
        font={"family": SANS, "size": 11, "color": colour("ink")},
        paper_bgcolor=colour("panel"),
        plot_bgcolor=colour("panel"),
        margin={"l": 40, "r": 12, "t": 70, "b": 34},
        coloraxis={**colours, "colorbar": bar(end, capped=capped)},
    )
    return figure
