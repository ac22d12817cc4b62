"""What panels are made of: plots, buttons that save them, fields to type into, boxes to tick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import Output, dcc, html

GRAPH = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "displayModeBar": False,
}


def plot(name: str, height: int) -> dcc.Graph:
    """An empty plot of this height; its width is the column's."""
    return dcc.Graph(
        id=name,
        config=GRAPH,
        responsive=True,
        className="plot",
        style={"height": f"{height}px"},
        figure={
            "data": [],
            "layout": {
                "xaxis": {"visible": False},
                "yaxis": {"visible": False},
                "paper_bgcolor": "rgba(0,0,0,0)",
                "plot_bgcolor": "rgba(0,0,0,0)",
            },
        },
    )


def save(plot: str, table: str = "") -> html.P:
    """Buttons that download a view."""
    buttons: list[Any] = []
    if plot:
        for kind in ("png", "svg"):
            data = {"data-plot": plot, "data-kind": kind}
            buttons.append(html.Button(kind.upper(), type="button", className="save", **data))
    if table:
        buttons.append(html.Button("CSV", type="button", className="save", **{"data-csv": table}))
    return html.P(buttons, className="saves")


def outputs(*places: str) -> list[Output]:
    """What a callback fills, each written as `component.property`."""
    return [Output(*place.split(".")) for place in places]


def segments(what: str, label: str, kinds: Sequence[tuple[str, str]]) -> html.Div:
    """Buttons of which one is pressed; scripts find them by `data-WHAT`."""
    return html.Div(
        [html.Button(name, type="button", **{f"data-{what}": kind}) for kind, name in kinds],
        className="segments",
        role="group",
        hidden=not kinds,
        **{"aria-label": label},
    )


def field(name: str, control: Any) -> html.Label:
    return html.Label([f"{name} ", control])


def whole(name: str, value: int, width: int = 4) -> dcc.Input:
    """A field for a whole number."""
    return dcc.Input(
        id=name,
        type="text",
        inputMode="numeric",
        value=str(value),
        debounce=True,
        className="field",
        style={"width": f"{width + 2}ch"},
        autoComplete="off",
    )


def text(name: str, example: str, kind: str) -> dcc.Input:
    """A field for a list."""
    return dcc.Input(id=name, type="text", placeholder=example, className=kind, debounce=True, autoComplete="off")


def tick(name: str, label: str, kind: str = "check") -> html.Label:
    """A box to tick: scripts put a native one before the words, which dash.html does not have."""
    return html.Label(f" {label}", className=kind, **{"data-tick": name})
