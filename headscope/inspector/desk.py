"""The panels about the selected head: two mosaics, its card, its attention, its circuits."""

from __future__ import annotations

from dash import html

from headscope.inspector import controls
from headscope.inspector.bench import NO_EXAMPLE, Bench
from headscope.inspector.score_table import WIDE
from headscope.inspector.widgets import plot, save, tick

ATTENTION_HEIGHT = 580


def desk(bench: Bench) -> html.Section:
    """Mosaics and pairs on the left, the card and its token copies, attention and the prompt on the right."""
    wide = " wide-mosaic" if bench.scores.heads > WIDE else ""
    mosaics = html.Div([mosaic("a", "Score"), mosaic("b", "Beside it"), below()], className="mosaics")
    left, middle = html.Div([mosaics, pairs(bench)]), html.Div([*brief(bench), card(), copies(bench)])
    columns = [left, middle, html.Div([attention(bench), strip(bench)])]
    return html.Section(
        [html.H2("Heads", className="unseen"), html.Div(columns, className=f"desk{wide}")],
        id="heads",
        hidden=not bench.scores.layers,
    )


def mosaic(letter: str, name: str) -> html.Figure:
    select = html.Select(id=f"score-{letter}", **{"aria-label": name})
    return html.Figure(
        [
            html.H3(select),
            html.Div(
                plot(f"mosaic-{letter}", 520),
                className="focusable",
                tabIndex=0,
                role="application",
                **{"aria-label": f"{name}: mosaic of heads; arrow keys move the selection"},
            ),
            html.Figcaption([html.P(id=f"meaning-{letter}"), save(f"mosaic-{letter}", "scores")]),
        ],
        id=f"mosaic-panel-{letter}",
    )


def below() -> html.Div:
    """What holds for both mosaics."""
    hint = "Click a cell to select its head; the arrow keys then move on. Hovering tells both scores."
    return html.Div([html.P(id="legend", className="legend"), html.P(hint, className="note")], id="mosaics-note")


def brief(bench: Bench) -> list[html.Figure]:
    """What a removal does, beside the mosaic; the panels below tell more."""
    if bench.model is None:
        return []
    more = html.P(html.A("Loss of each token, and what the model writes on", href="#removal-panel"), className="note")
    heading = html.H3(html.Span(id="brief-title"))
    return [
        html.Figure(
            [heading, html.Div(id="brief-next"), html.Div(id="brief-learning", className="note"), more],
            id="brief-panel",
            hidden=True,
        )
    ]


def card() -> html.Figure:
    return html.Figure(
        [
            html.H3(
                [
                    html.Span(id="card-title"),
                    html.Span(id="card-class"),
                    html.Span(className="grow"),
                    html.Button("Remove", id="remove-head", type="button", className="plain"),
                ]
            ),
            html.P(id="card-group", className="note"),
            html.Div(id="card-scores"),
            html.Figcaption(
                [
                    html.P(
                        [
                            html.Span(className="key dot"),
                            "score with 95% interval",
                            html.Span(className="key null"),
                            "null",
                            html.Span(className="key tick"),
                            "other heads",
                        ],
                        className="legend",
                        id="card-legend",
                    ),
                    save("", "head"),
                ]
            ),
        ],
        id="card",
        **{"aria-live": "polite"},
    )


def attention(bench: Bench) -> html.Figure:
    """The heat map; where there is no attention to look at, why."""
    off = [] if bench.lookable else [html.P(f"Attention on a prompt needs the model. {NO_EXAMPLE}", className="note")]
    return html.Figure(
        [
            html.H3(
                [
                    html.Span("Attention", id="attention-title"),
                    html.Span(className="grow"),
                    html.Span(tick("after-box", "after removal"), id="after-label"),
                ]
            ),
            *off,
            html.Div(
                [
                    html.Div(id="attention-problem", className="problem", role="alert"),
                    html.Div(controls.window_choice(), id="window-row", hidden=True),
                    plot("attention", ATTENTION_HEIGHT),
                    html.Figcaption([html.P(id="attention-note"), save("attention", "attention")]),
                ],
                hidden=not bench.lookable,
            ),
        ],
        id="attention-panel",
    )


def strip(bench: Bench) -> html.Figure:
    """The prompt's tokens, shaded by the attention of one of them."""
    caption = (
        "The prompt, shaded by the attention that the framed token pays (by its square root). Choose a token to see "
        "what the head looks at from there, and what the model expects after it."
    )
    return html.Figure(
        [
            html.H3(
                [
                    html.Span(id="strip-title"),
                    html.Span(className="grow"),
                    html.Span(tick("toward-box", "who attends to the framed token")),
                ]
            ),
            html.Div(id="strip", dir="ltr", **{"aria-labelledby": "strip-title"}),
            html.Figcaption(html.P(caption)),
        ],
        id="strip-panel",
        hidden=not bench.lookable,
    )


def pairs(bench: Bench) -> html.Figure:
    """The strongest query-key pairs of the prompt."""
    return html.Figure(
        [
            html.H3(html.Span("Strongest query-key pairs", id="pairs-title")),
            html.Div(id="pairs", className="scroll"),
            html.Figcaption(save("", "pairs")),
        ],
        id="pairs-panel",
        hidden=not bench.lookable,
    )


def copies(bench: Bench) -> html.Figure:
    """The strongest token copies of the OV circuit; without the model, why there are none."""
    saves = [save("", "copies")] if bench.model is not None else []
    return html.Figure(
        [
            html.H3(html.Span("Strongest token copies", id="copies-title")),
            html.Div(id="copies", className="scroll"),
            html.Figcaption([html.P(id="copies-note"), *saves]),
        ],
        id="copies-panel",
    )
