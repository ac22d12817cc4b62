"""One value far out must not flatten a panel: axes end where the rest ends, and what lies beyond is marked there.

1. A value is far out where it is one of few at either end without which the rest would fill less than `FILLED` of the
   axis; the fewest such values are taken, the one that frees most of the axis first.
2. On an axis each is drawn as a triangle at the edge with its value beside it, and still told by hovering; in a matrix
   the end of the colour bar says that there is more, and the cell's number how much.
Where no few values do that, the axis holds all of them, as ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from headscope.figures.style import MINUS
from interp.theme import colour, heat

FILLED = 0.4
CELLS = 0.1  # of a matrix may lie beyond its colours
MARGIN = 0.06  # of the axis, between the outermost value and its end
BEYOND = "beyond"  # the name of the marks, by which a page knows that its caption must explain them
CAPTION = "A triangle at the edge, with its value, stands for what lies beyond the axis."


def limits(values: Float[np.ndarray, " value"], *, share: float, zero: bool = False) -> tuple[float, float] | None:
    """Where the axis ends without the few far-out values; None where there are none.

    share: how many may be left out, of all; one always may. zero: 0 stays on the axis.
    """
    known = np.sort(values[np.isfinite(values)])
    most = max(1, int(share * len(known)))
    if len(known) < 4 or most >= len(known) - 2:
        return None
    whole = _width(known, zero)
    for _ in range(most):
        lower, upper = known[1:], known[:-1]
        known = lower if _width(lower, zero) < _width(upper, zero) else upper
        if _width(known, zero) <= FILLED * whole:
            low, high = _ends(known, zero)
            room = MARGIN * (high - low)
            return (low - room, high + room) if high > low else None
    return None


def _ends(ordered: Float[np.ndarray, " value"], zero: bool) -> tuple[float, float]:
    ends = float(ordered[0]), float(ordered[-1])
    return (min(0.0, ends[0]), max(0.0, ends[1])) if zero else ends


def _width(ordered: Float[np.ndarray, " value"], zero: bool) -> float:
    low, high = _ends(ordered, zero)
    return high - low


def within(axis: tuple[float, float] | None) -> dict[str, Any]:
    """Options of the axis."""
    return {} if axis is None else {"range": list(axis)}


def marks(points: Sequence[Mapping[str, Any]], axis: tuple[float, float] | None) -> Iterator[go.Scatter]:
    """A trace of triangles at the edge, for points with `x`, `y` and `name` whose y lies beyond the axis."""
    if axis is None:
        return
    low, high = axis
    outside = [point for point in points if not low <= point["y"] <= high]
    if not outside:
        return
    above = [point["y"] > high for point in outside]
    inset = 0.02 * (high - low)
    yield go.Scatter(
        x=[point["x"] for point in outside],
        y=[high - inset if over else low + inset for over in above],
        text=[f"{point['y']:.3g}".replace("-", MINUS) for point in outside],
        customdata=[f"{point['name']}: {point['y']:.4g}" for point in outside],
        mode="markers+text",
        name=BEYOND,
        showlegend=False,
        textposition="middle right",
        textfont={"size": 10, "color": colour("ink")},
        marker={
            "color": colour("accent"),
            "size": 9,
            "symbol": ["triangle-up" if over else "triangle-down" for over in above],
        },
        hovertemplate="%{customdata}<extra>beyond the axis</extra>",
    )


def capped_heat(values: Float[np.ndarray, "row column"], bar: Mapping[str, Any]) -> dict[str, Any]:
    """Colours centred on 0 and their bar; where few cells lie far out, they end before those and say so."""
    axis = limits(values.ravel(), share=CELLS, zero=True)
    look = heat(values, signed=True)
    if axis is None:
        return {**look, "colorbar": dict(bar)}
    inside = values[(values >= axis[0]) & (values <= axis[1])]
    end = float(np.abs(inside).max())
    ticks = [-end, -end / 2, 0.0, end / 2, end]
    texts = [f"{value:.2g}".replace("-", MINUS) for value in ticks]
    texts[0] = f"≤ {texts[0]}" if np.nanmin(values) < -end else texts[0]
    texts[-1] = f"≥ {texts[-1]}" if np.nanmax(values) > end else texts[-1]
    told = {"tickmode": "array", "tickvals": ticks, "ticktext": texts}
    return {**look, "zmin": -end, "zmax": end, "colorbar": {**bar, **told}}


def is_marked(figure: Mapping[str, Any]) -> bool:
    """Whether a figure, as JSON, has marks at an edge."""
    return any(trace.get("name") == BEYOND for trace in figure["data"])
