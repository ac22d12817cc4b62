"""Mosaics: what is stored about all heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from dash import Input, Output, State, html, no_update

from headscope.figures.mosaic import mosaic
from headscope.figures.style import plain_text
from headscope.inspector import controls
from headscope.inspector.bench import Bench
from headscope.inspector.score_table import WIDE, ScoreTable, null_mean, probability

if TYPE_CHECKING:
    from dash import Dash

BAR = 58  # above a plot, for its colour bar: as much as plotly would take by itself, later
MARKS = {"copying": "●", "anti-copying": "▼", "matching only": "○"}


def register(app: Dash, bench: Bench) -> None:
    letters = ("a", "b")
    mosaics = [
        Output(f"{what}-{letter}", prop)
        for letter in letters
        for what, prop in (("fig", "data"), ("meaning", "children"))
    ]

    @app.callback(*mosaics, Output("legend", "children"), Input("pair", "data"), Input("version", "data"))
    def show_mosaics(pair: Any, version: Any) -> list[Any]:
        names = [str(name) for name in pair] if isinstance(pair, list) and len(pair) == 2 else []
        if not names:
            return [no_update] * (1 + len(mosaics))
        both = zip(letters, names, strict=True)
        parts = [part for letter, name in both for part in mosaic_parts(bench.scores, letter, name, names)]
        return [*parts, legend(bench.scores)]

    if bench.scoring is not None:
        register_scoring(app, bench)


def register_scoring(app: Dash, bench: Bench) -> None:
    """How far the scoring is; when it has ended, the scores come in."""
    outputs = [
        Output("scoring", "children"),
        Output("scoring", "hidden"),
        Output("scoring-poll", "disabled"),
        Output("version", "data"),
        Output("defaults", "data"),
        Output("score-a", "children"),
        Output("score-b", "children"),
    ]

    @app.callback(*outputs, Input("scoring-poll", "n_intervals"), State("version", "data"), prevent_initial_call=True)
    def follow(ticks: Any, version: Any) -> list[Any]:
        from headscope.inspector.layout import defaults

        scoring = bench.scoring
        if scoring is None or scoring.version == version:
            ended = scoring is None or bool(scoring.failed)
            return [scoring.told if scoring else "", False, ended, *[no_update] * 4]
        options = controls.score_options(bench.scores)
        return ["", True, True, scoring.version, defaults(bench), options, options]


def mosaic_parts(scores: ScoreTable, letter: str, name: str, pair: list[str]) -> list[Any]:
    """Figure with the values that scripts read, meaning."""
    entry = scores.by_id.get(name)
    figure = mosaic_figure(scores, name, pair)
    values = [None if np.isnan(value) else float(value) for value in scores.grid(name).flatten()] if entry else []
    data = {"figure": figure.to_plotly_json(), "values": values, "letter": letter}
    return [data, entry["meaning"] if entry else ""]


def legend(scores: ScoreTable) -> list[Any]:
    """The marks of the classes, where cells are wide enough to hold them."""
    marked = bool(scores.classes) and scores.heads <= WIDE
    return [html.Span(f"{mark} {kind}") for kind, mark in MARKS.items()] if marked else []


def mosaic_figure(scores: ScoreTable, name: str, pair: list[str]) -> go.Figure:
    """The mosaic, with marks of the classes, and values with intervals when hovered over."""
    grid = scores.grid(name)
    figure = mosaic(grid)
    trace = figure.data[0]
    hover = [hover_text(scores, divmod(place, scores.heads), pair) for place in range(grid.size)]
    trace.customdata = np.array(hover, dtype=object).reshape(grid.shape)
    trace.hovertemplate = "%{customdata}<extra></extra>"
    if scores.classes and scores.heads <= WIDE:
        marks = [MARKS.get(scores.class_of(divmod(place, scores.heads)), "") for place in range(grid.size)]
        trace.text = np.array(marks, dtype=object).reshape(grid.shape)
        trace.texttemplate, trace.textfont = "%{text}", {"size": 9}
    trace.showscale = name in scores.by_id
    trace.colorbar = {
        "orientation": "h",
        "x": 0.5,
        "y": 1,
        "yanchor": "bottom",
        "len": 1.02,
        "thickness": 8,
        "outlinewidth": 0,
        "ticks": "outside",
        "ticklen": 3,
        "tickfont": {"size": 10},
        "tickangle": 0,
        "nticks": 6,
        "ypad": 4,
    }
    figure.update_layout(height=scores.mosaic_height, margin={"l": 40, "r": 8, "t": BAR, "b": 40}, dragmode=False)
    # Margins that give way to labels move the colour bar; without them, titles find no place of their own.
    figure.update_xaxes(range=[-0.5, scores.heads - 0.5], fixedrange=True, automargin=False, title_text="")
    figure.update_yaxes(range=[scores.layers - 0.5, -0.5], fixedrange=True, automargin=False, title_text="")
    axis_names(figure, x="head", y="layer", below=31.0, beside=32.0)
    return figure


def axis_names(figure: go.Figure, *, x: str, y: str, below: float, beside: float) -> None:
    """Names of both axes at a fixed distance, in pixels, from the plot."""
    shared: dict[str, Any] = {
        "xref": "paper",
        "yref": "paper",
        "showarrow": False,
        "font": {"size": 12},
        "xanchor": "center",
        "yanchor": "middle",
    }
    figure.add_annotation(text=x, x=0.5, y=0, yshift=-below, **shared)
    figure.add_annotation(text=y, x=0, y=0.5, xshift=-beside, textangle=-90, **shared)


def hover_text(scores: ScoreTable, head: tuple[int, int], pair: list[str]) -> str:
    """The head, its class, both scores that are shown, with interval, null and p."""
    place = scores.place(head)
    kind = scores.class_of(head)
    lines = [f"<b>head {head[0]}.{head[1]}</b>" + (f" {plain_text(kind)}" if kind else "")]
    for name in dict.fromkeys(pair):
        entry = scores.by_id.get(name)
        if entry is None:
            continue
        lines.append(f"{plain_text(entry['label'])} {scores.told(entry, place)}")
        if entry["null"] and entry["null"][place] is not None:
            p, family = (probability(entry[what][place]) for what in ("p", "family"))
            lines.append(f"   null {null_mean(entry['null'][place], entry)}, p {p}, family-wise {family}")
    return "<br>".join(lines if len(lines) > 1 else [*lines, "not scored yet"])
