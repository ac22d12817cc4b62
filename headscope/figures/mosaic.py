"""The mosaic of heads: layers downwards, heads across, one score as colour."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from headscope.figures.style import bare, colour_bar, heat, styled


def mosaic(values: Float[np.ndarray, "layer head"], *, title: str = "", name: str = "score") -> go.Figure:
    """Heads that do not exist (NaN) stay blank."""
    layers, heads = values.shape
    trace = go.Heatmap(
        z=values,
        xgap=1,
        ygap=1,
        colorbar=colour_bar(),
        hoverongaps=False,
        hovertemplate=f"head %{{y}}.%{{x}}<br>{name} %{{z:.4f}}<extra></extra>",
        **heat(values),
    )
    return styled(
        [trace],
        x="head",
        y="layer",
        title=title,
        height=max(260, min(900, 90 + 18 * layers)),
        xaxis=bare(zeroline=False, dtick=step(heads)),
        yaxis=bare(zeroline=False, dtick=step(layers), autorange="reversed"),
    )


def step(count: int) -> int:
    """Between tick labels, so that about sixteen are shown."""
    return next(size for size in (1, 2, 4, 5, 8, 10, 20, 50, 100, count) if count / size <= 16 or size == count)
