"""Attention as a heat map: queries downwards, keys across, tokens at the axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float
from plotly.subplots import make_subplots

from headscope.figures.style import SANS, colour, colour_bar, colourscale, plain_text, styled
from interp.view import shown

LABEL = 14
EVERY = 40
CAPPED = "+"  # on a cell beyond the end of the colours
STEPS = 4  # of the colour bar
ROUNDED = 5e-5


def attention_map(
    pattern: Float[np.ndarray, "query key"],
    tokens: Sequence[str],
    *,
    start: tuple[int, int] = (0, 0),
    blocks: Sequence[int] = (),
    title: str = "",
    height: int = 560,
) -> go.Figure:
    """A window of one head's attention, its first query and key at `start` among the tokens.

    Colour saturates at the highest attention paid to a position other than the first, which takes what a head does not
    need; the bar says so at its end, and a cell beyond it has a plus sign. blocks: positions where lines mark a new
    copy of a repeated block.
    """
    rows, columns = (labels(tokens, first, size) for first, size in zip(start, pattern.shape, strict=True))
    values, highest = causal(pattern, start), saturation(pattern, start)
    trace = go.Heatmap(
        z=values,
        x=columns,
        y=rows,
        colorscale=colourscale("sequential"),
        zmin=0.0,
        zmax=highest,
        hoverongaps=False,
        colorbar=bar(highest, capped=bool(beyond(values, highest).any())),
        **capped_cells(values, highest),
        hovertemplate="from %{y}<br>to %{x}<br>attention %{z:.3f}<extra></extra>",
    )
    figure = styled([trace], x="key", y="query", title=title, height=height)
    axis = {
        "type": "category",
        "showgrid": False,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "tickfont": {"size": 10},
    }
    figure.update_xaxes(**axis, tickangle=-90, dtick=1 if len(columns) <= EVERY else None)
    figure.update_yaxes(**axis, autorange="reversed", dtick=1 if len(rows) <= EVERY else None)
    for block in blocks:
        _mark(figure, block, start, pattern.shape)
    return figure


def causal(pattern: Float[np.ndarray, "query key"], start: tuple[int, int] = (0, 0)) -> Float[np.ndarray, "query key"]:
    """Four decimals, and nothing where the key comes after the query."""
    later = np.arange(pattern.shape[1])[None] + start[1] > np.arange(pattern.shape[0])[:, None] + start[0]
    return np.where(later, np.nan, np.round(pattern.astype(np.float64), 4))


def saturation(pattern: Float[np.ndarray, "query key"], start: tuple[int, int] = (0, 0)) -> float:
    """The highest attention to a position other than the first."""
    beyond = pattern[:, 1:] if start[1] == 0 else pattern
    return max(0.05, float(np.nanmax(beyond, initial=0.0)))


def beyond(values: Float[np.ndarray, "query key"], highest: float) -> Bool[np.ndarray, "query key"]:
    """Which of the rounded values the colours do not tell apart from their end."""
    return np.nan_to_num(values) > highest + ROUNDED


def capped_cells(values: Float[np.ndarray, "query key"], highest: float) -> dict[str, Any]:
    """Options of a heat map that put a plus sign on what is beyond its colours."""
    text = np.where(beyond(values, highest), CAPPED, "").tolist()
    return {"text": text, "texttemplate": "%{text}", "textfont": {"size": 9, "color": colour("panel")}}


def bar(highest: float, *, capped: bool) -> dict[str, Any]:
    """A colour bar from 0, its end marked where there is more."""
    ticks = [highest * step / STEPS for step in range(STEPS + 1)]
    texts = [f"{tick:.2f}" for tick in ticks]
    end = f"≥ {texts[-1]}" if capped else texts[-1]
    title = f"attention ({CAPPED} = more)" if capped else "attention"
    return {**colour_bar(title), "tickmode": "array", "tickvals": ticks, "ticktext": [*texts[:-1], end]}


def labels(tokens: Sequence[str], first: int, size: int) -> list[str]:
    """`12 ridge`: position and token, cut where it is long; positions make them differ."""
    return [f"{place} {label(tokens[place])}" for place in range(first, first + size)]


def label(token: str) -> str:
    """A token as text of a figure."""
    text = shown(token)
    return plain_text(text if len(text) <= LABEL else f"{text[: LABEL - 1]}…")


def _mark(figure: go.Figure, block: int, start: tuple[int, int], shape: tuple[int, ...]) -> None:
    """Two lines where a block begins: down from the diagonal and across to it."""
    query, key = block - start[0] - 0.5, block - start[1] - 0.5
    line = {"color": colour("rule"), "width": 1}
    if 0 < query < shape[0] - 0.5:
        figure.add_shape(type="line", x0=-0.5, x1=min(max(key, -0.5), shape[1] - 0.5), y0=query, y1=query, line=line)
    if 0 < key < shape[1] - 0.5:
        figure.add_shape(
            type="line", x0=key, x1=key, y0=min(max(query, -0.5), shape[0] - 0.5), y1=shape[0] - 0.5, line=line
        )


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
    highest = max(saturation(pattern) for pattern in patterns)
    drawn = [causal(pattern) for pattern in patterns]
    capped = any(bool(beyond(values, highest).any()) for values in drawn)
    for place, values in enumerate(drawn):
        trace = go.Heatmap(z=values, coloraxis="coloraxis", hoverongaps=False, **capped_cells(values, highest))
        figure.add_trace(trace, row=place // across + 1, col=place % across + 1)
    figure.update_xaxes(showgrid=False, zeroline=False, ticks="", tickfont={"size": 9}, nticks=5)
    figure.update_yaxes(showgrid=False, zeroline=False, ticks="", tickfont={"size": 9}, nticks=5, autorange="reversed")
    figure.update_annotations(font={"size": 11})
    colours = {"colorscale": colourscale("sequential"), "cmin": 0.0, "cmax": highest}
    figure.update_layout(
        template="none",
        width=width,
        height=90 + down * width // across,
        title={"text": plain_text(title), "font": {"size": 14}, "x": 0.0, "xref": "paper"},
        font={"family": SANS, "size": 11, "color": colour("ink")},
        paper_bgcolor=colour("panel"),
        plot_bgcolor=colour("panel"),
        margin={"l": 40, "r": 12, "t": 70, "b": 34},
        coloraxis={**colours, "colorbar": bar(highest, capped=capped)},
    )
    return figure
