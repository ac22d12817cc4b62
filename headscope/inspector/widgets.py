"""What panels are made of: plots, buttons that save them, fields to type into, boxes to tick."""

from __future__ import annotations

from typing import Any

from dash import dcc, html

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


def tick(name: str, label: str) -> dcc.Checklist:
    """A box to tick."""
    return dcc.Checklist(id=name, options=[{"label": label, "value": "on"}], value=[])
