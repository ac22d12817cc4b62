"""What several figures of a run have in common, beyond the look of every figure (interp/theme.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from interp.theme import bare, colour, colour_bar, plain_text

LONGEST_NAME = 20
MINUS = "\N{MINUS SIGN}"
CYCLE = ("blue", "vermilion", "green", "purple", "ochre", "sky", "grey")


def names_axis(names: Sequence[str], **more: Any) -> dict[str, Any]:
    """Axis options of a matrix: names at whole numbers, long ones cut (two that begin alike stay two)."""
    cut = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names]
    ticks = {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": [plain_text(name) for name in cut]}
    return bare(**ticks, **more)


def level_line(value: float = 0.0) -> dict[str, Any]:
    """A thin line across the plot."""
    line = {"color": colour("muted"), "width": 1}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line, "layer": "below"}


def cell_texts(values: Float[np.ndarray, "row column"], digits: int, *, sign: bool = True) -> list[list[str]]:
    """Numbers for the cells of a heat map, with true minus signs; empty where there is none."""
    shape = f"{{:{'+' if sign else ''}.{digits}f}}"
    plain = f"{{:.{digits}f}}"
    rounded = np.round(values, digits) + 0.0
    return [
        [(shape if value else plain).format(value).replace("-", MINUS) if np.isfinite(value) else "" for value in row]
        for row in rounded.tolist()
    ]


MANY = 9  # names along a side of a matrix, from which its cells are too narrow for whole numbers


def crowded(matrix_columns: int) -> dict[str, Any]:
    """Text options of a heat map's cells: small letters where there are many."""
    return {"texttemplate": "%{text}", **({"textfont": {"size": 9}} if matrix_columns >= MANY else {})}


def short(text: str) -> str:
    """A cell's number in as few letters as tell it: without the 0 in front, with one decimal from 1 on."""
    sign, number = (text[0], text[1:]) if text[:1] in ("+", MINUS) else ("", text)
    sign = sign if sign == MINUS else ""
    if number.startswith("0."):
        return sign + number[1:]
    return sign + (f"{float(number):.1f}" if number else "")


def above_bar() -> dict[str, Any]:
    """A colour bar above a matrix, so that its cells have the whole width; `above` gives it room and a title."""
    place = {"orientation": "h", "x": 0.5, "len": 1.0, "y": 1, "yanchor": "bottom", "ypad": 6, "nticks": 6}
    return {**colour_bar(), **place}


def above(title: str) -> dict[str, Any]:
    """Layout around such a bar. Its title is an annotation: plotly would move the figure's title out of sight by it."""
    place = {"x": 0.5, "y": 1, "xref": "paper", "yref": "paper", "yanchor": "bottom", "yshift": 34}
    text = {"text": plain_text(title), "showarrow": False, "font": {"size": 11}, **place}
    return {"margin": {"l": 56, "r": 12, "t": 92, "b": 48}, "annotations": [text]}


def band(
    x: Sequence[float], low: Sequence[float], high: Sequence[float], *, name: str, fill: str, group: str
) -> go.Scatter:
    """The area between two curves, as one trace without hover."""
    return go.Scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        fill="toself",
        fillcolor=colour(fill),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        name=name,
        legendgroup=group,
        showlegend=False,
    )
