"""The page's skeleton: everything that callbacks fill and scripts listen to."""

from __future__ import annotations

import shlex
from typing import Any

from dash import dcc, html

from headscope.inspector import beside, controls, many_prompts, thumbnails, writers_panel
from headscope.inspector.bench import Bench
from headscope.inspector.browser import FILLED
from headscope.inspector.desk import desk
from headscope.inspector.named_sets import named_sets
from headscope.inspector.widgets import field, plot, save
from interp import theme
from interp.token_display import counted

STORES = (
    "pair",
    "prompt",
    "query",
    "removal",
    "window",
    "vis",
    "after",
    "theme",
    "tab",
    "csv",
    "list-asked",
    "list-answer",
    "reading",
    "refused",
    "look",
    "drawing",
    "selected",
    "resting",
    "scored",
    "width",
    "fig-loss",
    "fig-stored",
    "row-asked",
    "strip-row",
    "booted",
    "stored-choice",
    "made-copies",
    "write-asked",
    "made-written",
    "writers-asked",
    "made-writers",
    "patch-asked",
    "made-patch",
    "grid-asked",
    "made-grid",
    "average-asked",
    "made-average",
    "beside-made",
    *(f"made-{name}" for name in FILLED),
)


def page(bench: Bench) -> html.Div:
    """The whole page."""
    return html.Div(
        [
            *(dcc.Store(id=name) for name in STORES),
            dcc.Store(id="defaults", data=defaults(bench)),
            dcc.Store(id="version", data=bench.version),
            dcc.Interval(id="poll", interval=400, disabled=True),
            dcc.Interval(id="scoring-poll", interval=1000, disabled=bench.scoring is None),
            dcc.Download(id="download"),
            html.A("To the heads", href="#heads", className="skip"),
            html.P(id="download-problem", className="problem", role="alert"),
            masthead(bench),
            *removal_line(bench),
            html.Main(
                [
                    *scoring_note(bench),
                    *unscored_note(bench),
                    html.P(id="link-note", className="notice", hidden=True),
                    controls.prompt_bar(bench),
                    desk(bench),
                    *beside.section(bench),
                    controls.removal_panel(bench),
                    *writers_panel.section(bench),
                    *many_prompts.panel(bench),
                    thumbnails.panel(bench),
                    frame(bench),
                    stored_figures(),
                ]
            ),
            html.Footer(
                "This page and its numbers come from this machine; nothing is sent or loaded elsewhere.",
                className="note",
            ),
        ]
    )


def defaults(bench: Bench) -> dict[str, Any]:
    """What is shown where the address does not say otherwise, and what scripts must know of the model."""
    scores = bench.scores
    kind = "repeated" if bench.model is not None else "stored"
    prompt = {"kind": kind, "length": 12, "repeats": 4, "seed": 0} if bench.lookable else None
    return {
        "name": bench.name,
        "layers": scores.layers,
        "heads": scores.heads,
        "head": list(scores.strongest()),
        "pair": list(scores.pair()),
        "scores": list(scores.by_id),
        "sets": named_sets(bench),
        "prompt": prompt,
        "live": bench.model is not None,
        "scoring": bench.scoring is not None and not bench.version,
        "theme": theme.for_scripts(),
    }


def masthead(bench: Bench) -> html.Header:
    return html.Header(
        [
            html.Div(
                [
                    html.P("headscope", className="kicker"),
                    html.Div(
                        [
                            html.Span(id="busy", className="note", role="status"),
                            html.Button("Copy link", id="share", className="plain", type="button"),
                            html.Button("Dark", id="theme-button", className="plain", type="button"),
                        ],
                        className="tools",
                    ),
                ],
                className="bar",
            ),
            html.P(id="defect", className="problem", role="alert"),
            html.H1(["Attention heads of ", html.Bdi(bench.name)]),
            html.P([html.Span(html.Bdi(fact)) for fact in facts(bench)], className="facts"),
        ],
        className="masthead",
    )


def removal_line(bench: Bench) -> list[Any]:
    """What is removed and what that does: in sight wherever the page is scrolled to."""
    if bench.model is None:
        return []
    parts = [html.Strong(id="line-removed"), html.Span(id="line-next"), html.Span(id="line-learning")]
    return [html.Div(parts, id="removal-line", hidden=True, role="status")]


def facts(bench: Bench) -> list[str]:
    """The line under the title."""
    scores = bench.scores
    parts = [f"{counted(scores.layers, 'layer')} of {counted(scores.heads, 'head')}"] if scores.layers else []
    if scores.kv and scores.kv != scores.heads:
        parts.append(f"{counted(scores.kv, 'key-value head')} a layer")
    identity = bench.identity
    parts += [str(identity[name]) for name in ("architecture", "quantization") if identity.get(name)]
    if bench.model is None:
        parts.append(f"stored values only: {bench.why}")
    return parts


def scoring_note(bench: Bench) -> list[Any]:
    """How far the scoring is, where the heads are being scored."""
    if bench.scoring is None:
        return []
    return [html.P(bench.scoring.progress, id="scoring", className="notice", role="status")]


def unscored_note(bench: Bench) -> list[Any]:
    """What to do about a run that holds no score of a head, and so does not say how many heads there are."""
    if bench.scores.layers and (bench.scores.entries or bench.scoring is not None):
        return []
    if bench.scores.layers:
        where = f" -o {shlex.quote(str(bench.run.folder))}" if bench.run is not None else ""
        advice = (
            f"No head has been scored yet, so the mosaics are blank: `headscope induction {shlex.quote(bench.name)}"
            f"{where}` scores them. Attention, removals and what writes the next token need no score."
        )
        return [html.P(advice, id="unscored", className="notice")]
    advice = (
        "This run holds no score of a head, so there are no heads to look at here: `headscope induction` and "
        "`headscope importance` store some. What it holds is drawn below."
    )
    return [html.P(advice, id="unscored", className="notice")]


def frame(bench: Bench) -> html.Section:
    """CircuitsVis, when it is asked for; nothing where there is no attention to draw."""
    return html.Section(
        [
            html.H2("Interactive attention (CircuitsVis)"),
            controls.vis_choice(),
            html.P(id="vis-note", className="note"),
            html.Iframe(id="frame", sandbox="allow-scripts", hidden=True, title="Attention drawn by CircuitsVis"),
            html.Div(save("", "window"), id="frame-saves", hidden=True),
        ],
        id="vis-panel",
        hidden=not bench.lookable,
    )


def stored_figures() -> html.Section:
    """The figures of the run."""
    return html.Section(
        [
            html.H2("Stored figures"),
            html.P(
                [field("Figure", html.Select(id="stored-name")), field("Panel", html.Select(id="stored-panel"))],
                className="filters",
            ),
            plot("stored", 460),
            html.P(id="stored-caption", className="note"),
            save("stored", "stored"),
        ],
        id="stored-panel-section",
        hidden=True,
    )
