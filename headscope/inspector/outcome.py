"""The panels that say what changed: next tokens, losses, in-context learning."""

from __future__ import annotations

from typing import Any

from dash import html

from headscope.inspector.removal import LossChange, NextToken
from headscope.inspector.score_table import MINUS
from interp.view import shown

LEARNING = (
    "In nats. The score is the loss of tokens that have an earlier copy, minus the loss of the first copy, on four "
    "random repeated sequences: below zero, the model learns from its context."
)


def outcome_panels() -> html.Div:
    from headscope.inspector.desk import plot, save

    return html.Div(
        [
            html.Figure(
                [
                    html.H3([html.Span("h", className="letter"), html.Span(id="next-title")]),
                    html.Div(id="next", className="scroll"),
                    html.Figcaption(save("", "next")),
                ]
            ),
            html.Figure(
                [
                    html.H3([html.Span("i", className="letter"), "Loss of each token"]),
                    plot("loss", 310),
                    html.Figcaption(save("loss", "loss")),
                ]
            ),
            html.Figure(
                [
                    html.H3([html.Span("k", className="letter"), "In-context learning"]),
                    html.Div(id="learning"),
                    html.Div(id="changes"),
                    html.Figcaption([html.P(LEARNING), save("", "learning")]),
                ]
            ),
        ],
        className="outcome",
    )


def signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", MINUS)


def plain(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS)


def next_table(before: list[NextToken], after: list[NextToken] | None) -> html.Div:
    """One list, or two side by side."""
    lists = [next_list("before" if after is not None else "the whole model", before, compared=False)]
    if after is not None:
        lists.append(next_list("after", after, compared=True))
    return html.Div(lists, className="lists")


def next_list(heading: str, tokens: list[NextToken], *, compared: bool) -> html.Table:
    rows = []
    for token in tokens:
        was = [html.Td(was_p(token), className="number note")] if compared else []
        rows.append(
            html.Tr(
                [
                    html.Td(html.Bdi(shown(token.token) or " ", className="token")),
                    bar_cell(token.p, percent(token.p)),
                    *was,
                ]
            )
        )
    columns = [html.Th(heading), html.Th("p"), *([html.Th("was", className="number")] if compared else [])]
    return html.Table([html.Thead(html.Tr(columns)), html.Tbody(rows)], className="plain-table next")


def bar_cell(share: float, text: str) -> html.Td:
    """A number over a bar of its length."""
    return html.Td([html.I(style={"width": f"{100 * min(1.0, share):.1f}%"}), html.Span(text)], className="bar-cell")


def was_p(token: NextToken) -> str:
    return "less" if token.other is None else percent(token.other)


def percent(p: float) -> str:
    return f"{100 * p:.1f}%" if p >= 0.001 else "<0.1%"


def changes_table(changes: list[LossChange], removed: bool) -> html.Table:
    """Mean losses of the prompt's parts."""
    heads = ["Mean loss on the prompt", "whole model", *(["after", "change"] if removed else [])]
    rows = []
    for change in changes:
        cells: list[Any] = [html.Th(change.part, scope="row"), html.Td(plain(change.before), className="number")]
        if removed:
            cells += [
                html.Td(plain(change.after), className="number"),
                html.Td(signed(change.after - change.before), className="number"),
            ]
        rows.append(html.Tr(cells))
    headings = [html.Th(name, className="number" if place else "") for place, name in enumerate(heads)]
    return html.Table([html.Thead(html.Tr(headings)), html.Tbody(rows)], className="plain-table")


def learning_numbers(before: float, after: float | None) -> html.Dl:
    """The score in large type."""
    told = [("the whole model", before)] if after is None else [("before removal", before), ("after removal", after)]
    return html.Dl([html.Div([html.Dt(name), html.Dd(signed(value))]) for name, value in told], className="numbers")
