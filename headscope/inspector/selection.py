"""The selected head: its attention on the prompt, the strip and the pairs, in one answer; then its copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import Input, Output, State, no_update
from jaxtyping import Float

from headscope.inspector import circuit_tables as tables
from headscope.inspector.asked import asked_head, whole
from headscope.inspector.bench import Bench
from headscope.inspector.passes import Attention
from headscope.inspector.reading import asked_query, seen
from interp.errors import HeadscopeError, UsageError
from interp.token_display import label

if TYPE_CHECKING:
    from dash import Dash

WINDOW = 96  # tokens of a heat map's side; longer prompts are shown in windows


def register(app: Dash, bench: Bench) -> None:
    # The page says in one piece what it shows, and answers say it back: Dash would hold an input that is being made
    # back, and answers may overtake each other.
    @app.callback(Output("selected", "data"), Input("look", "data"), State("tab", "data"))
    def select(look: Any, tab: Any) -> Any:
        """One answer for the whole head: each further callback would keep a person waiting."""
        if not look:
            return no_update
        with bench.work.of(tab):
            return {"asked": look, "attention": attention_parts(bench, look)}

    @app.callback(
        Output("strip-row", "data"), Input("row-asked", "data"), State("tab", "data"), prevent_initial_call=True
    )
    def shade(look: Any, tab: Any) -> Any:
        with bench.work.of(tab):
            return {"asked": look, "row": strip_row(bench, look)}

    @app.callback(Output("made-copies", "data"), Input("resting", "data"), State("tab", "data"))
    def copies(head: Any, tab: Any) -> Any:
        return no_update if head is None else copies_parts(bench, head, tab)


def attention_parts(bench: Bench, look: Mapping[str, Any]) -> dict[str, Any]:
    """Heat map, strongest pairs, the strip's row, title, note; or the problem."""
    titles = {"title": "Attention", "pairs_title": "Strongest query-key pairs"}
    try:
        head = asked_head(look.get("head"), bench.scores.layers, bench.scores.heads)
        whose = f"of head {head[0]}.{head[1]}{' after removal' if look.get('after') else ''}"
        titles = {name: f"{title} {whose}" for name, title in titles.items()}
        attention = seen(bench, look, look.get("after"))
        pattern = attention.pattern(*head)
        shown = window_map(pattern, attention, look.get("window"))
        row = shaded(pattern, look)
    except HeadscopeError as error:
        return {"problem": str(error), **titles}
    return {
        "map": shown,
        **titles,
        "note": note(attention),
        "problem": "",
        "row": row,
        "pairs": [tables.pairs_table(tables.strongest_pairs(pattern), attention.tokens)],
    }


def note(attention: Attention) -> str:
    lines = "Lines mark where each copy of the block begins. " if attention.tokens.blocks else ""
    return (
        f"{lines}Colour runs from 0 to the highest attention paid to a position other than the first, or to 1 where "
        "that is close; cells marked + lie above it. Choose a cell to follow its query."
    )


def window_map(pattern: Float[np.ndarray, "query key"], attention: Attention, window: Any) -> dict[str, Any]:
    """The part of the pattern that fits a heat map, as the page draws it: values, and the labels of both axes."""
    tokens = attention.tokens
    query, key = window_start(window, len(tokens.texts))
    rows = [
        [round(float(value), 4) if key + at <= query + row else None for at, value in enumerate(values)]
        for row, values in enumerate(pattern[query : query + WINDOW, key : key + WINDOW])
    ]
    axes = {"queries": (query, len(rows)), "keys": (key, len(rows[0]))}
    return {
        "rows": rows,
        "blocks": list(tokens.blocks),
        **{
            name: [{"position": at, "text": label(at, tokens.texts[at])} for at in range(first, first + size)]
            for name, (first, size) in axes.items()
        },
    }


def window_start(window: Any, length: int) -> tuple[int, int]:
    """First query and key of the heat map. Raises UsageError for what is no position."""
    asked = window if isinstance(window, list) and len(window) == 2 else [0, 0]
    last = max(0, length - WINDOW)
    query, key = (min(whole(start, "window", 0, 1 << 20), last) for start in asked)
    return query, key


def strip_row(bench: Bench, look: Mapping[str, Any]) -> list[float] | None:
    """What one token pays to each other, or gets from it; None where there is none, which the heat map says."""
    try:
        head = asked_head(look.get("head"), bench.scores.layers, bench.scores.heads)
        pattern = seen(bench, look, look.get("after")).pattern(*head)
        return shaded(pattern, look)
    except HeadscopeError:
        return None


def shaded(pattern: Float[np.ndarray, "query key"], look: Mapping[str, Any]) -> list[float]:
    """What the chosen token pays to each other, or (`toward`) what each other pays to it."""
    position = asked_query(look.get("query"), len(pattern))
    return rounded(pattern[:, position] if look.get("toward") else pattern[position])


def rounded(row: Float[np.ndarray, " key"]) -> list[float]:
    return [round(value, 4) for value in row.tolist()]


def copies_parts(bench: Bench, asked: Any, tab: Any) -> dict[str, Any]:
    """The head, and the table of its token copies, or why there is none."""
    made: dict[str, Any] = {"head": asked, "table": [], "note": "", "title": "Strongest token copies"}
    try:
        layer, head = asked_head(asked, bench.scores.layers, bench.scores.heads)
        with bench.work.of(tab):
            copies = bench.copies(layer, head)
    except UsageError as error:
        return {**made, "note": str(error)}
    except HeadscopeError as error:
        return {**made, "note": f"Not defined for this head: {error}"}
    title = f"Strongest token copies of head {layer}.{head} (OV circuit)"
    return {**made, "table": tables.copies_table(copies), "note": tables.copies_note(copies), "title": title}
