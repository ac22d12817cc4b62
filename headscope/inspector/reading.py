"""The prompt that is read, and how far the work on it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dash import Input, State, no_update

from headscope.inspector.asked import RemovedParts, asked_prompt, asked_removal, whole
from headscope.inspector.bench import Bench
from headscope.inspector.passes import Attention
from headscope.inspector.widgets import outputs
from interp.errors import HeadscopeError
from interp.token_display import shown

if TYPE_CHECKING:
    from dash import Dash


STILL = "Still shown: "
EXCERPT = 60


def register(app: Dash, bench: Bench) -> None:
    read = outputs("reading.data", "prompt-name.children", "prompt-problem.children", "refused.data")

    @app.callback(*read, Input("prompt", "data"), State("tab", "data"), State("prompt-name", "children"))
    def read_prompt(prompt: Any, tab: Any, stands: Any) -> list[Any]:
        return [no_update] * len(read) if prompt is None else prompt_parts(bench, prompt, tab, stands)

    @app.callback(*outputs("busy.children", "poll.disabled"), Input("poll", "n_intervals"), State("tab", "data"))
    def progress(ticks: Any, tab: Any) -> tuple[str, bool]:
        doing = bench.work.doing(tab)
        return doing, not doing


def prompt_parts(bench: Bench, asked: Any, tab: Any, stands: Any = "") -> list[Any]:
    """What was read, in words, what is wrong with it, what was refused.

    Where it is refused, what was read before stays, and the words say so: `stands` are the ones that stand there.
    """
    try:
        prompt = asked_prompt(asked)
        with bench.work.of(tab):
            tokens = bench.attention(prompt).tokens
    except HeadscopeError as error:
        return [no_update, f"{STILL}{str(stands).removeprefix(STILL)}" if stands else "", str(error), {"prompt": asked}]
    reading = {
        "prompt": asked,
        "key": prompt.key,
        "tokens": [shown(text) for text in tokens.texts],
        "blocks": list(tokens.blocks),
        "target": tokens.target,
        "name": tokens.name + excerpt(prompt.text),
    }
    return [reading, tokens.name, "", None]


def excerpt(text: str) -> str:
    """The beginning of a person's own text, for a picture that stands without the page; empty without a text."""
    more = "…" if len(text) > EXCERPT else ""
    return f": “{shown(text[:EXCERPT])}{more}”" if text else ""


def seen(bench: Bench, reading: Mapping[str, Any], after: Any) -> Attention:
    """The attention on the prompt that was read: the whole model's, or with the removal that `after` holds."""
    scores = bench.scores
    removal = asked_removal(after, scores.layers, scores.heads) if after else RemovedParts()
    return bench.attention(asked_prompt(reading.get("prompt")), removal)


def asked_query(query: Any, length: int) -> int:
    """A position of the prompt; the last one where none was chosen."""
    if query is None:
        return length - 1
    return min(whole(query, "query", 0, 1 << 20), length - 1)
