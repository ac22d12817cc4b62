"""Two plain figures every score can draw itself: the mosaic of heads and a bar a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import plotly.graph_objects as go


def mosaic(values: Float[np.ndarray, "layer head"], *, title: str = "", **options: Any) -> go.Figure:
    """Layers downwards, heads across; scores with both signs get a palette centred on 0."""
    import plotly.graph_objects as go

    finite = values[np.isfinite(values)]
    signed = bool(finite.size) and float(finite.min()) < -1e-3 * max(1e-12, float(np.abs(finite).max()))
    colours = {"colorscale": "RdBu_r", "zmid": 0.0} if signed else {"colorscale": "Viridis"}
    hover = "head %{y}.%{x}<br>%{z:.4f}<extra></extra>"
    figure = go.Figure(go.Heatmap(z=values, hovertemplate=hover, xgap=1, ygap=1, **{**colours, **options}))
    figure.update_layout(title=title, template="plotly_white", margin={"l": 60, "r": 20, "t": 50, "b": 50})
    figure.update_xaxes(title="head", dtick=1 if values.shape[1] <= 16 else None, constrain="domain")
    figure.update_yaxes(title="layer", autorange="reversed", dtick=1 if len(values) <= 16 else 5)
    return figure


def by_layer(values: Float[np.ndarray, " layer"], *, title: str = "", **options: Any) -> go.Figure:
    """One bar a layer."""
    import plotly.graph_objects as go

    figure = go.Figure(go.Bar(x=np.arange(len(values)), y=values, **options))
    figure.update_layout(title=title, template="plotly_white", margin={"l": 60, "r": 20, "t": 50, "b": 50})
    figure.update_xaxes(title="layer")
    return figure
