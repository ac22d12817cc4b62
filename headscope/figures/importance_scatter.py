"""Induction heads against important heads: one point a head (Method 5, the primary test's two scores)."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Shaped

from headscope.figures.outliers import limits, marks, within
from interp.theme import colour, plain_text, styled

BEYOND = 0.02  # of the heads may lie beyond the axis
LOOK = {
    # class: (colour, symbol, size)
    "": ("grey", "circle", 5),
    "copying": ("blue", "circle", 9),
    "anti-copying": ("vermilion", "triangle-down", 10),
    "matching only": ("ochre", "circle-open", 9),
}


def importance_scatter(
    induction: Float[np.ndarray, "layer head"],
    importance: Float[np.ndarray, "layer head"],
    *,
    classes: Shaped[np.ndarray, "layer head"] | None = None,
    x: str = "prefix matching",
    y: str = "importance",
    title: str = "",
) -> go.Figure:
    """Heads without either score are left out; classes, if given, are marked by colour and shape.

    A head that is far more important than all others is marked at the edge.
    """
    kinds = np.full(induction.shape, "") if classes is None else classes
    both = np.isfinite(induction) & np.isfinite(importance)
    names = np.array([f"{layer}.{head}" for layer, head in np.ndindex(*induction.shape)]).reshape(induction.shape)
    traces = []
    for kind in [*LOOK, *sorted(set(kinds.flatten()) - set(LOOK))]:
        chosen = both & (kinds == kind)
        if chosen.any():
            look = LOOK.get(str(kind), ("purple", "diamond", 8))
            traces.append(_points(induction[chosen], importance[chosen], names[chosen], str(kind), look))
    axis = limits(importance[both], share=BEYOND)
    traces += marks(
        [
            {"x": induction[place], "y": importance[place], "name": f"head {names[place]}"}
            for place in zip(*np.nonzero(both), strict=True)
        ],
        axis,
    )
    return styled(traces, x=x, y=y, title=title, height=420, yaxis=within(axis), showlegend=classes is not None)


def _points(
    x: Float[np.ndarray, "point"],
    y: Float[np.ndarray, "point"],
    names: Shaped[np.ndarray, "point"],
    kind: str,
    look: tuple[str, str, int],
) -> go.Scatter:
    role, symbol, size = look
    return go.Scatter(
        x=x,
        y=y,
        text=names.tolist(),
        mode="markers",
        name=plain_text(kind) or "no induction head",
        marker={"color": colour(role), "symbol": symbol, "size": size, "opacity": 0.85},
        hovertemplate="head %{text}<br>%{x:.3f}, %{y:.4g}<extra></extra>",
    )
