"""A score of two runs: both mosaics in one scale, their difference, a scatter; relative depth for unlike shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from interp.figure import mosaic
from interp.theme import colour, colour_bar, colourscale, is_signed, plain_text, styled

HEIGHT = 420
Scores = Float[np.ndarray, "layer head"]
Others = Float[np.ndarray, "other_layer other_head"]


def pair_figures(first: Scores, second: Others, *, label: str, names: Sequence[str]) -> Iterator[go.Figure]:
    """Mosaics of both, then what can be said of the two together."""
    signed = is_signed(first) or is_signed(second)
    end = float(np.nanmax(np.abs([*first.ravel(), *second.ravel()]), initial=0.0)) or 1.0
    scale = colourscale("diverging" if signed else "sequential")
    ends = {"zmin": -end if signed else 0.0, "zmax": end, "colorscale": scale}
    for values, name in ((first, names[0]), (second, names[1])):
        yield _small(mosaic(values, title=name, name=plain_text(label), colorbar=_bar(label), **ends))
    if first.shape == second.shape:
        change = second - first
        reach = float(np.nanmax(np.abs(change), initial=0.0)) or 1.0
        title = f"{names[1]} minus {names[0]}"
        look = {"zmin": -reach, "zmax": reach, "colorscale": colourscale("diverging"), "colorbar": _bar("difference")}
        yield _small(mosaic(change, title=title, name="difference", **look))
        yield scatter(first, second, label=label, names=names)
    else:
        yield by_depth(first, second, label=label, names=names)


def scatter(first: Scores, second: Scores, *, label: str, names: Sequence[str]) -> go.Figure:
    """A point a head, and the line on which both are equal."""
    both = np.isfinite(first) & np.isfinite(second)
    heads = [f"{layer}.{head}" for layer, head in np.argwhere(both)]
    every = np.concatenate([first[both], second[both]])
    low, high = float(every.min(initial=0.0)), float(every.max(initial=0.0))
    equal = go.Scatter(
        x=[low, high],
        y=[low, high],
        mode="lines",
        line={"color": colour("rule"), "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    points = go.Scatter(
        x=first[both],
        y=second[both],
        text=heads,
        mode="markers",
        marker={"color": colour("blue"), "size": 6, "opacity": 0.75},
        hovertemplate="head %{text}<br>%{x:.3f}, %{y:.3f}<extra></extra>",
        showlegend=False,
    )
    return styled([equal, points], x=names[0], y=names[1], title=f"{label}, head by head", height=HEIGHT)


def by_depth(first: Scores, second: Others, *, label: str, names: Sequence[str]) -> go.Figure:
    """Mean and highest head of each layer, against layer over the last layer's number; a single layer stands at 0."""
    traces = []
    for values, name, role in ((first, names[0], "blue"), (second, names[1], "vermilion")):
        depth = np.arange(len(values)) / max(1, len(values) - 1)
        known = np.isfinite(values).any(axis=1)
        for words, over, dash in (("mean", np.nanmean, "dot"), ("highest", np.nanmax, "solid")):
            traces.append(
                go.Scatter(
                    x=depth[known],
                    y=over(values[known], axis=1),
                    name=f"{plain_text(name)}, {words}",
                    mode="lines+markers",
                    line={"color": colour(role), "width": 2, "dash": dash},
                    marker={"size": 4},
                    hovertemplate="%{x:.2f}: %{y:.3f}<extra></extra>",
                )
            )
    axis = {"range": [-0.03, 1.03]}
    title = f"{label} by relative depth"
    return styled(traces, x="relative depth", y=label, title=title, height=HEIGHT, xaxis=axis)


def _small(figure: go.Figure) -> go.Figure:
    return figure.update_layout(height=HEIGHT)


def _bar(title: str) -> dict[str, object]:
    return colour_bar(plain_text(title))
