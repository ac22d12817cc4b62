"""A score by layer: the mean and the highest of the layer's heads, and the lowest where the score has two sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from interp.figure import step
from interp.theme import colour, is_signed, styled

# name: (role, dash)
LOOK = {"mean": ("blue", "solid"), "highest": ("vermilion", "solid"), "lowest": ("purple", "dash")}


def layer_profile(values: Float[np.ndarray, "layer head"], *, name: str = "score", title: str = "") -> go.Figure:
    """Layers across. Heads that do not exist (NaN) count for nothing; a layer without any is a gap."""
    lines: dict[str, Callable[..., Any]] = {"mean": np.nanmean, "highest": np.nanmax, "lowest": np.nanmin}
    if not is_signed(values):
        del lines["lowest"]
    known = np.isfinite(values).any(axis=1)
    layers = np.flatnonzero(known)
    traces = []
    for line, over in lines.items():
        y = np.full(len(values), np.nan)
        y[layers] = over(values[layers], axis=1)
        role, dash = LOOK[line]
        traces.append(
            go.Scatter(
                x=np.arange(len(values)),
                y=y,
                name=line,
                mode="lines+markers",
                line={"color": colour(role), "width": 2, "dash": dash},
                marker={"size": 5},
                hovertemplate=f"layer %{{x}}, {line} %{{y:.4g}}<extra></extra>",
            )
        )
    ends = {"range": [-0.5, len(values) - 0.5], "dtick": step(len(values))}
    return styled(traces, x="layer", y=name, title=title, height=260, xaxis=ends)
