"""Two plain figures every score can draw itself: the mosaic of heads and a bar a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from interp.theme import bare, colour, colour_bar, heat, is_signed, styled

if TYPE_CHECKING:
    import plotly.graph_objects as go


def mosaic(
    values: Float[np.ndarray, "layer head"], *, title: str = "", name: str = "score", **options: Any
) -> go.Figure:
    """Layers downwards, heads across, one score as colour; heads that do not exist (NaN) stay blank.

    options: of plotly's Heatmap, as `colorscale` or `zmax`; a signed scale stays centred on 0.
    """
    import plotly.graph_objects as go

    layers, heads = values.shape
    look = {
        "xgap": 1,
        "ygap": 1,
        "colorbar": colour_bar(),
        "hoverongaps": False,
        "hovertemplate": f"head %{{y}}.%{{x}}<br>{name} %{{z:.4f}}<extra></extra>",
        **heat(values),
        **options,
    }
    if "zmax" in options and "zmin" not in options and is_signed(values):
        look["zmin"] = -options["zmax"]
    return styled(
        [go.Heatmap(z=values, **look)],
        x="head",
        y="layer",
        title=title,
        height=max(260, min(900, 90 + 18 * layers)),
        xaxis=bare(dtick=step(heads)),
        yaxis=bare(dtick=step(layers), autorange="reversed"),
    )


def step(count: int) -> int:
    """Between tick labels, so that about sixteen are shown."""
    return next(size for size in (1, 2, 4, 5, 8, 10, 20, 50, 100, count) if count / size <= 16 or size == count)


def by_layer(values: Float[np.ndarray, " layer"], *, title: str = "", **options: Any) -> go.Figure:
    """One bar a layer; options are those of plotly's Bar."""
    import plotly.graph_objects as go

    bars = {"marker_color": colour("blue"), "hovertemplate": "layer %{x}<br>%{y:.4f}<extra></extra>", **options}
    ends = {"range": [-0.5, len(values) - 0.5], "dtick": step(len(values))}
    return styled([go.Bar(x=np.arange(len(values)), y=values, **bars)], x="layer", title=title, height=340, xaxis=ends)
