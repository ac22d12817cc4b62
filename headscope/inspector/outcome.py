"""What changes when heads and FFNs are removed: next tokens, losses, in-context learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from dash import Input, Output, State, html, no_update

from headscope.inspector import removal
from headscope.inspector.asked import asked_prompt, asked_removal
from headscope.inspector.bench import Bench
from headscope.inspector.passes import PromptPass
from headscope.inspector.reading import asked_query
from headscope.inspector.removal import LossChange, NextToken
from headscope.inspector.widgets import outputs, plot, save
from interp.errors import HeadscopeError
from interp.masks import heads_in, layers_in
from interp.theme import colour, plain_text, styled
from interp.token_display import label, shown

if TYPE_CHECKING:
    from dash import Dash

LEARNING = (
    "In nats. The score is the loss of tokens that have an earlier copy, minus the loss of the first copy, on four "
    "random repeated sequences: below zero, the model learns from its context."
)
TOLD = 5  # tokens beside the mosaic
LEAST = 0.001  # probability that is still told as a number
MINUS = "\N{MINUS SIGN}"
QUOTES = "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"


def outcome_panels() -> html.Div:
    return html.Div(
        [
            html.Figure(
                [
                    html.H3(html.Span(id="next-title")),
                    html.Div(id="next", className="scroll"),
                    html.Figcaption(save("", "next")),
                ]
            ),
            html.Figure([html.H3("Loss of each token"), plot("loss", 310), html.Figcaption(save("loss", "loss"))]),
            html.Figure(
                [
                    html.H3("In-context learning"),
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
    return f"≤{percent(token.other)}" if token.bounded and token.other >= LEAST else percent(token.other)


def percent(p: float) -> str:
    return f"{100 * p:.1f}%" if p >= LEAST else "<0.1%"


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
    headings = [html.Th(name, className="number" if index else "") for index, name in enumerate(heads)]
    return html.Table([html.Thead(html.Tr(headings)), html.Tbody(rows)], className="plain-table")


def learning_numbers(before: float, after: float | None) -> html.Dl:
    """The score in large type."""
    scores = [("the whole model", before)] if after is None else [("before removal", before), ("after removal", after)]
    return html.Dl([html.Div([html.Dt(name), html.Dd(signed(value))]) for name, value in scores], className="numbers")


def register(app: Dash, bench: Bench) -> None:
    if bench.model is None:
        return
    filled = [
        *outputs("made-next.data", "next-title.children", "fig-loss.data", "made-changes.data"),
        *outputs("made-line-next.data", "made-brief-next.data"),
        Output("outcome-problem", "children"),
    ]
    asked = [Input("removal", "data"), Input("reading", "data"), Input("query", "data"), State("tab", "data")]

    @app.callback(*filled, *asked, prevent_initial_call=True)
    def show_outcome(removed: Any, reading: Any, query: Any, tab: Any) -> list[Any]:
        return [no_update] * len(filled) if not reading else outcome_parts(bench, removed, reading, query, tab)

    learnt = outputs("made-learning.data", "made-line-learning.data", "made-brief-learning.data")

    @app.callback(*learnt, Input("removal", "data"), State("tab", "data"))
    def show_learning(removed: Any, tab: Any) -> Any:
        return [no_update] * len(learnt) if removed is None else learning_parts(bench, removed, tab)

    @app.callback(Output("list-answer", "data"), Input("list-asked", "data"), prevent_initial_call=True)
    def read_list(asked: Any) -> dict[str, Any]:
        return list_parts(bench, asked)


def outcome_parts(bench: Bench, asked: Any, reading: Any, query: Any, tab: Any) -> list[Any]:
    """Next tokens, losses, means of the prompt's parts, the line above the page and what is told beside it, problem."""
    try:
        prompt = asked_prompt(reading.get("prompt"))
        removed = asked_removal(asked, bench.live.n_layers, bench.live.n_heads)
        with bench.work.of(tab):
            before = bench.read(prompt)
            after = bench.read(prompt, removed) if removed else before
    except HeadscopeError as error:
        return [[], "Next tokens", {"figure": bare_figure()}, [], [], [], str(error)]  # another removal's would mislead
    position = asked_query(query, len(before.tokens.ids))
    model = bench.live
    first = removal.next_tokens(model, before.predicted, after.predicted, position)
    second = removal.next_tokens(model, after.predicted, before.predicted, position) if removed else None
    title = f"Next token after {QUOTES[0]}{shown(before.tokens.texts[position])}{QUOTES[1]} ({position})"
    means = removal.loss_changes(before, after)
    figure = loss_figure(before, after if removed else None).to_plotly_json()
    brief = brief_next(title, first, means) if removed else []
    line = line_next(first[0]) if removed else []
    return [next_table(first, second), title, {"figure": figure}, changes_table(means, bool(removed)), line, brief, ""]


def line_next(token: NextToken) -> list[Any]:
    """The whole model's most likely token, before and after."""
    name = html.Bdi(shown(token.token) or " ", className="token")
    return [name, f" {percent(token.p)} → {was_p(token)}"]


def brief_next(title: str, tokens: list[NextToken], means: list[LossChange]) -> list[Any]:
    """The most likely tokens of the whole model and the mean losses, before and after, beside the mosaic."""
    rows = [(html.Bdi(shown(t.token) or " ", className="token"), percent(t.p), was_p(t)) for t in tokens[:TOLD]]
    rows += [(f"loss, {mean.part}", plain(mean.before), plain(mean.after)) for mean in means]
    heads = [html.Th(title), html.Th("whole", className="number"), html.Th("without", className="number")]
    body = [
        html.Tr([html.Td(name), html.Td(before, className="number note"), html.Td(after, className="number")])
        for name, before, after in rows
    ]
    return [html.Table([html.Thead(html.Tr(heads)), html.Tbody(body)], className="plain-table")]


def bare_figure() -> dict[str, Any]:
    """No axes and no lines."""
    hidden = {"visible": False}
    return {"data": [], "layout": {"xaxis": hidden, "yaxis": hidden}}


def loss_figure(before: PromptPass, after: PromptPass | None) -> go.Figure:
    """Loss of each token, in nats; one line a pass."""
    tokens = before.tokens
    length = len(tokens.ids)
    names = [plain_text(label(position, tokens.texts[position])) for position in range(1, length)]
    passes = [(before, "before removal" if after else "whole model", "blue")]
    passes += [(after, "after removal", "vermilion")] if after else []
    traces = [
        go.Scatter(
            x=list(range(1, length)),
            y=read.predicted.losses.round(4),
            name=name,
            mode="lines+markers",
            text=names,
            line={"color": colour(role), "width": 1.5},
            marker={"size": 4 if length < 200 else 2, "color": colour(role)},
            hovertemplate="%{text}<br>loss %{y:.2f}<extra>" + name + "</extra>",
        )
        for read, name, role in passes
    ]
    figure = styled(traces, x="position", y="loss (nats)", height=310, showlegend=True, hovermode="closest")
    marks = [*tokens.blocks[1:], *([tokens.target] if tokens.target is not None else [])]
    for at in marks:
        figure.add_vline(x=at - 0.5, line={"color": colour("rule"), "width": 1})
    figure.update_xaxes(showgrid=False, range=[0.5, length - 0.5])
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(margin={"l": 44, "r": 8, "t": 12, "b": 40}, dragmode=False)
    return figure


def learning_parts(bench: Bench, asked: Any, tab: Any) -> Any:
    """The in-context-learning score, before and after: in large type, in the line above the page, beside the mosaic."""
    try:
        removed = asked_removal(asked, bench.live.n_layers, bench.live.n_heads)
        with bench.work.of(tab):
            before = bench.repeat_score(asked_removal(None, 1, 1))
            after = bench.repeat_score(removed) if removed else None
    except HeadscopeError as error:
        return [html.P(str(error), className="problem"), [], []]
    if after is None:
        return [learning_numbers(before, None), [], []]
    change = f"repeat score {plain(before)} → {plain(after)}"
    return [learning_numbers(before, after), [f" · {change}"], [html.P(f"{change} nats on random repeated sequences")]]


def list_parts(bench: Bench, asked: Any) -> dict[str, Any]:
    """Heads and FFNs from what a person typed, or what is wrong with it."""
    fields = asked if isinstance(asked, dict) else {}
    layers, heads = bench.live.n_layers, bench.live.n_heads
    try:
        listed = [list(head) for head in heads_in(str(fields.get("heads", "")), layers, heads)]
        ffns = layers_in(str(fields.get("ffns", "")), layers)
        removal_of_both = asked_removal({"heads": listed, "ffns": ffns}, layers, heads)
    except HeadscopeError as error:
        return {"problem": str(error)}
    return {"heads": [list(head) for head in removal_of_both.heads], "ffns": list(removal_of_both.ffns), "problem": ""}
