"""The selected head: its card, its attention on the prompt, the strip and the pairs, in one answer; then its copies."""

from __future__ import annotations

from html import unescape
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import Input, Output, State, no_update
from jaxtyping import Float

from headscope.figures.attention_map import LABEL, attention_map
from headscope.inspector import card
from headscope.inspector import circuit_tables as tables
from headscope.inspector.asked import asked_head, whole
from headscope.inspector.bench import Bench
from headscope.inspector.desk import ATTENTION_HEIGHT
from headscope.inspector.heads import BAR, axis_names
from headscope.inspector.passes import Attention
from headscope.inspector.reading import asked_query, seen
from interp.errors import HeadscopeError, UsageError

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from dash import Dash

WINDOW = 96  # tokens of a heat map's side; longer prompts are shown in windows


def register(app: Dash, bench: Bench) -> None:
    asked = [Input(name, "data") for name in ("head", "version", "reading", "window", "after")]
    kept = [State("query", "data"), State("tab", "data")]

    @app.callback(Output("selected", "data"), *asked, *kept)
    def select(head: Any, version: int, reading: Any, window: Any, after: Any, query: Any, tab: Any) -> Any:
        """One answer for the whole head: each further callback would keep a person waiting."""
        if head is None:
            return no_update
        with bench.work.of(tab):
            looked = attention_parts(bench, head, reading, window, after, query) if reading else None
        return {"head": head, "card": card_parts(bench, head), "attention": looked}

    @app.callback(
        Output("strip-row", "data"), Input("query", "data"), State("head", "data"), State("reading", "data"),
        State("after", "data"), State("tab", "data"), prevent_initial_call=True,
    )  # fmt: skip
    def shade(query: Any, head: Any, reading: Any, after: Any, tab: Any) -> Any:
        if head is None or not reading:
            return no_update
        with bench.work.of(tab):
            return {"head": head, "row": strip_row(bench, head, reading, after, query)}

    @app.callback(
        Output("made-copies", "data"), Output("copies-note", "children"), Input("resting", "data"), State("tab", "data")
    )
    def copies(head: Any, tab: Any) -> list[Any]:
        return [no_update] * 2 if head is None else copies_parts(bench, head, tab)


def card_parts(bench: Bench, asked: Any) -> dict[str, Any]:
    """Title, class, key-value group, scores."""
    scores = bench.scores
    try:
        head = asked_head(asked, scores.layers, scores.heads)
    except HeadscopeError as error:
        return {"title": "No such head", "class": "", "group": str(error), "scores": []}
    return {
        "title": f"Head {head[0]}.{head[1]}", "class": scores.class_of(head), "group": scores.group_of(head),
        "scores": card.rows(scores, head, bench.version),
    }  # fmt: skip


def attention_parts(bench: Bench, asked: Any, reading: Any, window: Any, after: Any, query: Any) -> dict[str, Any]:
    """Heat map, strongest pairs, the strip's row, title, note; or the problem."""
    try:
        head = asked_head(asked, bench.scores.layers, bench.scores.heads)
        attention, removal = seen(bench, reading, after)
        pattern = attention.pattern(*head)
        figure = window_map(pattern, attention, window)
        row = rounded(pattern[asked_query(query, len(pattern))])
    except HeadscopeError as error:
        return {"problem": str(error)}
    title = f"Attention of head {head[0]}.{head[1]}{' after removal' if removal else ''}"
    figure.update_layout(meta=title)  # saved with the picture, which has no heading
    return {
        "figure": figure.to_plotly_json(), "title": title, "note": note(attention), "problem": "", "row": row,
        "pairs": [tables.pairs_table(tables.strongest_pairs(pattern), attention.tokens)],
        "strip": f"What head {head[0]}.{head[1]} looks at",
    }  # fmt: skip


def note(attention: Attention) -> str:
    lines = "Lines mark where each copy of the block begins. " if attention.tokens.blocks else ""
    return (
        f"{lines}Colour saturates at the highest attention paid to a position other than the first. Choose a cell to "
        "follow its query."
    )


def window_map(pattern: Float[np.ndarray, "query key"], attention: Attention, window: Any) -> go.Figure:
    """The part of the pattern that fits a heat map."""
    tokens = attention.tokens
    query, key = window_start(window, len(tokens.texts))
    part = pattern[query : query + WINDOW, key : key + WINDOW]
    figure = attention_map(part, tokens.texts, start=(query, key), blocks=tokens.blocks, height=ATTENTION_HEIGHT)
    figure.data[0].colorbar = {
        "orientation": "h", "x": 0.5, "y": 1, "yanchor": "bottom", "len": 1.02, "thickness": 8, "outlinewidth": 0,
        "ticks": "outside", "ticklen": 3, "tickfont": {"size": 10}, "nticks": 6, "ypad": 4,
    }  # fmt: skip
    longest = max(len(unescape(name)) for name in (*figure.data[0].x, *figure.data[0].y))
    room = 34 + 5.8 * min(longest, LABEL + 6)  # margins that give way to labels move the colour bar
    figure.update_layout(margin={"l": room, "r": 8, "t": BAR, "b": room}, dragmode=False)
    figure.update_xaxes(automargin=False, title_text="")
    figure.update_yaxes(automargin=False, title_text="")
    axis_names(figure, x="key", y="query", below=room - 8, beside=room - 8)
    return figure


def window_start(window: Any, length: int) -> tuple[int, int]:
    """First query and key of the heat map. Raises UsageError for what is no position."""
    asked = window if isinstance(window, list) and len(window) == 2 else [0, 0]
    last = max(0, length - WINDOW)
    query, key = (min(whole(start, "window", 0, 1 << 20), last) for start in asked)
    return query, key


def strip_row(bench: Bench, asked: Any, reading: Any, after: Any, query: Any) -> list[float] | None:
    """What one token pays to each other; None where it can't be had, which the heat map says."""
    try:
        head = asked_head(asked, bench.scores.layers, bench.scores.heads)
        attention, _ = seen(bench, reading, after)
        return rounded(attention.pattern(*head)[asked_query(query, len(attention.tokens.texts))])
    except HeadscopeError:
        return None


def rounded(row: Float[np.ndarray, " key"]) -> list[float]:
    return [round(value, 4) for value in row.tolist()]


def copies_parts(bench: Bench, asked: Any, tab: Any) -> list[Any]:
    """The table of token copies, or why there is none."""
    try:
        layer, head = asked_head(asked, bench.scores.layers, bench.scores.heads)
        with bench.work.of(tab):
            found = bench.copies(layer, head)
    except UsageError as error:
        return [[], str(error)]
    except HeadscopeError as error:
        return [[], f"Not defined for this head: {error}"]
    return [tables.copies_table(found), tables.copies_note(found)]
