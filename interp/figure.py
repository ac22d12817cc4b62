"""Two plain figures every score can draw itself: the mosaic of heads and a bar a layer.

The colours are those of the report: from paper to ink for magnitudes, red below and blue above 0 for signed scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import plotly.graph_objects as go

SEQUENTIAL = ("#f3f1ea", "#dcebd9", "#b3dbc8", "#7cc4bf", "#46a6b9", "#2b83ad", "#255f9b", "#213d7d", "#141f4f")
DIVERGING = ("#8c1d2f", "#c4514b", "#e89a80", "#f6d5c5", "#f3f1ea", "#c9dde9", "#88b5d5", "#3f7fb5", "#1b4578")
BLUE = "#0072b2"


def mosaic(values: Float[np.ndarray, "layer head"], *, title: str = "", **options: Any) -> go.Figure:
    """Layers downwards, heads across, on a scale from 0; scores with both signs get one that is centred on 0.

    options: of plotly's Heatmap, as `colorscale` or `zmax`.
    """
    import plotly.graph_objects as go

    finite = values[np.isfinite(values)]
    highest = float(np.abs(finite).max(initial=0.0)) or 1.0
    signed = bool(finite.size) and float(finite.min()) < -1e-3 * highest
    scale = {"zmid": 0.0} if signed else {"zmin": 0.0, "zmax": highest}
    look = {"colorscale": DIVERGING if signed else SEQUENTIAL, "xgap": 1, "ygap": 1, **scale, **options}
    cells = go.Heatmap(z=values, **{"hovertemplate": "head %{y}.%{x}<br>%{z:.4f}<extra></extra>", **look})
    figure = _styled(go.Figure(cells), title, height=max(300, 110 + 16 * len(values)))
    bare = {"showgrid": False, "zeroline": False, "ticks": ""}
    figure.update_xaxes(title="head", dtick=1 if values.shape[1] <= 16 else None, **bare)
    figure.update_yaxes(title="layer", autorange="reversed", dtick=1 if len(values) <= 16 else 5, **bare)
    return figure


def by_layer(values: Float[np.ndarray, " layer"], *, title: str = "", **options: Any) -> go.Figure:
    """One bar a layer; options are those of plotly's Bar."""
    import plotly.graph_objects as go

    bars = {"marker_color": BLUE, "hovertemplate": "layer %{x}<br>%{y:.4f}<extra></extra>", **options}
    figure = _styled(go.Figure(go.Bar(x=np.arange(len(values)), y=values, **bars)), title, height=340)
    figure.update_xaxes(title="layer")
    return figure


def _styled(figure: go.Figure, title: str, *, height: int) -> go.Figure:
    margin = {"l": 60, "r": 20, "t": 50 if title else 20, "b": 50}
    return figure.update_layout(title=title, template="plotly_white", margin=margin, height=height)
