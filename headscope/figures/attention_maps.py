"""The attention of every head of a layer, one small heat map each, on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from headscope.figures.attention_map import causal, saturation
from headscope.figures.style import SANS, colour, colour_bar, colourscale, plain_text


def attention_maps(
    patterns: Float[np.ndarray, "head query key"], names: Sequence[str], *, title: str = "", width: int = 960
) -> go.Figure:
    """Positions, not tokens, at the axes: there is no room for words."""
    across = min(len(names), math.ceil(math.sqrt(len(names))))
    down = math.ceil(len(names) / across)
    figure = make_subplots(
        rows=down,
        cols=across,
        subplot_titles=[plain_text(name) for name in names],
        horizontal_spacing=0.03,
        vertical_spacing=0.05,
    )
    for place, pattern in enumerate(patterns):
        trace = go.Heatmap(z=causal(pattern), coloraxis="coloraxis", hoverongaps=False)
        figure.add_trace(trace, row=place // across + 1, col=place % across + 1)
    figure.update_xaxes(showgrid=False, zeroline=False, ticks="", tickfont={"size": 9}, nticks=5)
    figure.update_yaxes(showgrid=False, zeroline=False, ticks="", tickfont={"size": 9}, nticks=5, autorange="reversed")
    figure.update_annotations(font={"size": 11})
    highest = max(saturation(pattern) for pattern in patterns)
    figure.update_layout(
        template="none",
        width=width,
        height=90 + down * width // across,
        title={"text": plain_text(title), "font": {"size": 14}, "x": 0.0, "xref": "paper"},
        font={"family": SANS, "size": 11, "color": colour("ink")},
        paper_bgcolor=colour("panel"),
        plot_bgcolor=colour("panel"),
        margin={"l": 40, "r": 12, "t": 70, "b": 34},
        coloraxis={"colorscale": colourscale("sequential"), "cmin": 0.0, "cmax": highest, "colorbar": colour_bar()},
    )
    return figure
