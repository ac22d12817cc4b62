"""Another run beside this one: the left mosaic's score in the other, and the difference where heads have partners.

Heads are paired by layer and number, as in comparison/pair.py: that means something for two states of one model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import html
from flask import Response
from jaxtyping import Float

from ablation.statistics.correlation import spearman, spearman_within_layers
from headscope.inspector.score_table import ScoreTable
from headscope.inspector.widgets import plot, save
from headscope.store.snapshot import Stored

if TYPE_CHECKING:
    from dash import Dash

    from headscope.inspector.bench import Bench
    from headscope.store.run import Run

MOSAIC = 520
PAIRED = (
    "Heads are paired by layer and number, which means something for two states of one model, such as checkpoints; "
    "models that were trained apart share no order of heads within a layer."
)


@dataclass(frozen=True)
class Beside:
    """The other run. name, own: what the two are called here. notes: what makes them hard to compare.

    in_words: a sentence on rank correlations over heads and within layers, and both shapes.
    """

    run: Run
    name: str
    own: str
    in_words: Callable[[float, float, tuple[tuple[int, ...], tuple[int, ...]]], str]
    notes: tuple[str, ...] = ()


def section(bench: Bench) -> list[html.Section]:
    """Nothing where no run was named."""
    if bench.beside is None:
        return []
    notes = [html.P(note, className="notice") for note in bench.beside.notes]
    return [
        html.Section(
            [
                html.H2(["Beside it: ", html.Bdi(bench.beside.name)]),
                *notes,
                html.P(id="beside-told", className="note"),
                html.Div([panel("beside", "Other run"), panel("change", "Difference")], className="outcome"),
            ],
            id="beside-panel",
        )
    ]


def panel(name: str, label: str) -> html.Figure:
    return html.Figure(
        [
            html.H3(html.Span(id=f"{name}-title")),
            html.Div(
                plot(f"mosaic-{name}", MOSAIC),
                className="focusable",
                tabIndex=0,
                role="application",
                **{"aria-label": f"{label}: mosaic of heads; arrow keys move the selection"},
            ),
            html.Figcaption([html.P(id=f"{name}-note"), save(f"mosaic-{name}")]),
        ],
        id=f"{name}-figure",
    )


def register(app: Dash, bench: Bench) -> None:
    """The other run's scores, for the scripts of the page."""
    if bench.beside is None:
        return
    server: Any = app.server

    def beside(version: int) -> Response:
        body = json.dumps(parts(bench), allow_nan=False)
        return Response(body, headers={"Cache-Control": "no-store"}, mimetype="application/json")

    server.add_url_rule("/beside/<int:version>.json", "beside", beside)


def parts(bench: Bench) -> dict[str, Any]:
    """Names, all scores of the other run, and a sentence on each score that both hold."""
    if bench.beside is None:
        return {}
    held = bench.beside
    other = bench.kept("beside", lambda: ScoreTable.read(Stored(held.run)))
    told = bench.kept(("beside", bench.version), lambda: agreement(bench.scores, other, held))
    alike = (bench.scores.layers, bench.scores.heads) == (other.layers, other.heads)
    note = PAIRED if alike else ""
    return {"name": held.name, "own": held.own, "alike": alike, "note": note, "told": told, "scores": other.data()}


def agreement(mine: ScoreTable, other: ScoreTable, held: Beside) -> dict[str, str]:
    """How far both rank the heads alike, by each score that both hold."""
    return {name: told(table(mine, name), table(other, name), held) for name in mine.by_id if name in other.by_id}


def told(
    mine: Float[np.ndarray, "layer head"], other: Float[np.ndarray, "other_layer other_head"], held: Beside
) -> str:
    if mine.shape != other.shape:
        return held.in_words(nan, nan, (mine.shape, other.shape))
    rho, within = spearman(mine, other).value, spearman_within_layers(mine, other).value
    return held.in_words(rho, within, (mine.shape, other.shape))


def table(scores: ScoreTable, name: str) -> Float[np.ndarray, "layer head"]:
    """A score as it stands on the page, NaN where a head has none."""
    entry: Mapping[str, Any] = scores.by_id[name]
    values = [np.nan if value is None else value for value in entry["mean"]]
    return np.array(values, dtype=np.float64).reshape(scores.layers, scores.heads)
