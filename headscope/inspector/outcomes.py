"""What changes when heads and FFNs are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from dash import Input, Output, State, no_update

from headscope.figures.attention_map import labels
from headscope.figures.style import colour, styled
from headscope.inspector import outcome, removal
from headscope.inspector.asked import asked_prompt, asked_removal, whole
from headscope.inspector.bench import Bench
from headscope.inspector.passes import Pass
from headscope.inspector.reading import asked_query
from interp.errors import HeadscopeError
from interp.masks import parse_heads
from interp.view import shown

if TYPE_CHECKING:
    from dash import Dash

QUOTES = "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"


def register(app: Dash, bench: Bench) -> None:
    if bench.model is None:
        return
    told = [
        Output("made-next", "data"),
        Output("next-title", "children"),
        Output("fig-loss", "data"),
        Output("made-changes", "data"),
        Output("removal-problem", "children", allow_duplicate=True),
    ]
    asked = [Input("removal", "data"), Input("reading", "data"), Input("query", "data"), State("tab", "data")]

    @app.callback(*told, *asked, prevent_initial_call=True)
    def show_outcome(removed: Any, reading: Any, query: Any, tab: Any) -> list[Any]:
        return [no_update] * len(told) if not reading else outcome_parts(bench, removed, reading, query, tab)

    @app.callback(Output("made-learning", "data"), Input("removal", "data"), State("tab", "data"))
    def show_learning(removed: Any, tab: Any) -> Any:
        return no_update if removed is None else learning_parts(bench, removed, tab)

    @app.callback(Output("list-answer", "data"), Input("list-asked", "data"), prevent_initial_call=True)
    def read_list(asked: Any) -> dict[str, Any]:
        return list_parts(bench, asked)


def outcome_parts(bench: Bench, asked: Any, reading: Any, query: Any, tab: Any) -> list[Any]:
    """Next tokens, losses, means of the prompt's parts, problem."""
    try:
        prompt = asked_prompt(reading.get("prompt"))
        removed = asked_removal(asked, bench.live.n_layers, bench.live.n_heads)
        with bench.work.of(tab):
            before = bench.read(prompt)
            after = bench.read(prompt, removed) if removed else before
    except HeadscopeError as error:
        return [[], "Next tokens", {"figure": bare_figure()}, [], str(error)]  # another removal's would mislead
    place = asked_query(query, len(before.tokens.ids))
    model = bench.live
    first = removal.next_tokens(model, before.predicted, after.predicted, place)
    second = removal.next_tokens(model, after.predicted, before.predicted, place) if removed else None
    title = f"Next token after {QUOTES[0]}{shown(before.tokens.texts[place])}{QUOTES[1]} ({place})"
    changes = outcome.changes_table(removal.loss_changes(before, after), bool(removed))
    figure = loss_figure(before, after if removed else None)
    return [outcome.next_table(first, second), title, {"figure": figure.to_plotly_json()}, changes, ""]


def bare_figure() -> dict[str, Any]:
    """No axes and no lines."""
    hidden = {"visible": False}
    return {"data": [], "layout": {"xaxis": hidden, "yaxis": hidden}}


def loss_figure(before: Pass, after: Pass | None) -> go.Figure:
    """Loss of each token, in nats; one line a pass."""
    tokens = before.tokens
    length = len(tokens.ids)
    names = labels(tokens.texts, 1, length - 1)
    passes = [(before, "before removal" if after else "whole model", "blue")]
    passes += [(after, "after removal", "vermilion")] if after else []
    traces = [
        go.Scatter(
            x=list(range(1, length)),
            y=found.predicted.losses.round(4),
            name=name,
            mode="lines+markers",
            text=names,
            line={"color": colour(role), "width": 1.5},
            marker={"size": 4 if length < 200 else 2, "color": colour(role)},
            hovertemplate="%{text}<br>loss %{y:.2f}<extra>" + name + "</extra>",
        )
        for found, name, role in passes
    ]
    figure = styled(traces, x="position", y="loss (nats)", height=310, showlegend=True, hovermode="closest")
    marks = [*tokens.blocks[1:], *([tokens.target] if tokens.target is not None else [])]
    for at in marks:
        figure.add_vline(x=at - 0.5, line={"color": colour("rule"), "width": 1})
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(margin={"l": 44, "r": 8, "t": 12, "b": 40}, dragmode=False)
    return figure


def learning_parts(bench: Bench, asked: Any, tab: Any) -> Any:
    """The in-context-learning score, before and after."""
    from dash import html

    try:
        removed = asked_removal(asked, bench.live.n_layers, bench.live.n_heads)
        with bench.work.of(tab):
            before = bench.repeat_score(asked_removal(None, 1, 1))
            after = bench.repeat_score(removed) if removed else None
    except HeadscopeError as error:
        return html.P(str(error), className="problem")
    return outcome.learning_numbers(before, after)


def list_parts(bench: Bench, asked: Any) -> dict[str, Any]:
    """Heads and FFNs from what a person typed, or what is wrong with it."""
    told = asked if isinstance(asked, dict) else {}
    layers, heads = bench.live.n_layers, bench.live.n_heads
    try:
        listed = [list(head) for head in parse_heads(str(told.get("heads", ""))[:20_000])]
        ffns = [
            whole(part, "FFN", 0, layers - 1) for part in str(told.get("ffns", ""))[:2000].replace(",", " ").split()
        ]
        found = asked_removal({"heads": listed, "ffns": ffns}, layers, heads)
    except HeadscopeError as error:
        return {"problem": str(error)}
    return {"heads": [list(head) for head in found.heads], "ffns": list(found.ffns), "problem": ""}
