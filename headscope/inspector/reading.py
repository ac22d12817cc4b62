"""The prompt, the selected head's attention on it, and what the head's circuits do."""

from __future__ import annotations

from collections.abc import Mapping
from html import unescape
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import Input, Output, State, no_update
from jaxtyping import Float

from headscope.figures.attention_map import LABEL, attention_map
from headscope.inspector import circuit_tables as tables
from headscope.inspector.asked import Removal, asked_head, asked_prompt, asked_removal, whole
from headscope.inspector.bench import Bench
from headscope.inspector.desk import ATTENTION_HEIGHT
from headscope.inspector.heads import BAR, axis_names
from headscope.inspector.passes import Attention
from interp.errors import HeadscopeError, UsageError

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from dash import Dash

WINDOW = 96  # tokens of a heat map's side; longer prompts are shown in windows


def register(app: Dash, bench: Bench) -> None:
    read = [Output("reading", "data"), Output("prompt-told", "children"), Output("prompt-problem", "children")]

    @app.callback(*read, Input("prompt", "data"), State("tab", "data"))
    def read_prompt(prompt: Any, tab: Any) -> list[Any]:
        return [no_update] * len(read) if prompt is None else prompt_parts(bench, prompt, tab)

    looked = [Output("fig-attention", "data"), Output("made-pairs", "data"), Output("attention-title", "children"),
              Output("attention-note", "children"), Output("attention-problem", "children")]  # fmt: skip
    asked = [Input("head", "data"), Input("reading", "data"), Input("window", "data"), Input("after", "data")]

    @app.callback(*looked, *asked, State("tab", "data"))
    def look(head: Any, reading: Any, window: Any, after: Any, tab: Any) -> list[Any]:
        if head is None or not reading:
            return [no_update] * len(looked)
        return attention_parts(bench, head, reading, window, after, tab)

    @app.callback(
        Output("strip-row", "data"), Output("strip-title", "children"), Input("head", "data"), Input("reading", "data"),
        Input("query", "data"), Input("after", "data"), State("tab", "data"),
    )  # fmt: skip
    def shade(head: Any, reading: Any, query: Any, after: Any, tab: Any) -> list[Any]:
        return [no_update] * 2 if head is None or not reading else strip_parts(bench, head, reading, query, after, tab)

    @app.callback(
        Output("made-copies", "data"), Output("copies-note", "children"), Input("head", "data"), State("tab", "data")
    )
    def copies(head: Any, tab: Any) -> list[Any]:
        return [no_update] * 2 if head is None else copies_parts(bench, head, tab)

    @app.callback(
        Output("busy", "children"), Output("poll", "disabled"), Input("poll", "n_intervals"), State("tab", "data")
    )
    def progress(ticks: int, tab: Any) -> tuple[str, bool]:
        told = bench.work.told(tab)
        return told, not told


def prompt_parts(bench: Bench, asked: Any, tab: Any) -> list[Any]:
    """What was read, in words, and what is wrong with it."""
    try:
        prompt = asked_prompt(asked)
        with bench.work.of(tab):
            tokens = bench.attention(prompt).tokens
    except HeadscopeError as error:
        return [None, "", str(error)]
    reading = {"prompt": asked, "key": prompt.key, "tokens": list(tokens.texts), "blocks": list(tokens.blocks),
               "target": tokens.target}  # fmt: skip
    return [reading, tokens.told, ""]


def seen(bench: Bench, reading: Mapping[str, Any], after: Any) -> tuple[Attention, Removal]:
    """The attention on the prompt that was read: the whole model's, or with the removal that `after` holds."""
    scores = bench.scores
    removal = asked_removal(after, scores.layers, scores.heads) if after else Removal()
    prompt = asked_prompt(reading.get("prompt"))
    return bench.attention(prompt, removal), removal


def attention_parts(bench: Bench, asked: Any, reading: Any, window: Any, after: Any, tab: Any) -> list[Any]:
    """Heat map, strongest pairs, title, note, problem."""
    try:
        head = asked_head(asked, bench.scores.layers, bench.scores.heads)
        with bench.work.of(tab):
            attention, removal = seen(bench, reading, after)
            pattern = attention.pattern(*head)
    except HeadscopeError as error:
        return [None, [], "Attention", "", str(error)]
    pairs = tables.strongest_pairs(pattern)
    figure = window_map(pattern, attention, window)
    without = " after removal" if removal else ""
    title = f"Attention of head {head[0]}.{head[1]}{without}"
    figure.update_layout(meta=title)  # saved with the picture, which has no heading
    return [
        {"figure": figure.to_plotly_json()},
        tables.pairs_table(pairs, attention.tokens),
        title,
        note(attention),
        "",
    ]


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


def strip_parts(bench: Bench, asked: Any, reading: Any, query: Any, after: Any, tab: Any) -> list[Any]:
    """What one token pays to each other."""
    try:
        head = asked_head(asked, bench.scores.layers, bench.scores.heads)
        with bench.work.of(tab):
            attention, _ = seen(bench, reading, after)
            row = attention.pattern(*head)[asked_query(query, len(attention.tokens.texts))]
    except HeadscopeError:
        return [None, ""]  # the heat map says what is wrong
    return [[round(float(value), 4) for value in row], f"What head {head[0]}.{head[1]} looks at"]


def asked_query(query: Any, length: int) -> int:
    """A position of the prompt; the last one where none was chosen."""
    if query is None:
        return length - 1
    return min(whole(query, "query", 0, 1 << 20), length - 1)


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
