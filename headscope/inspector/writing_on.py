"""What the model writes on behind a prompt, whole and with heads and FFNs removed: greedily, a few dozen tokens.

Each new token reads the whole text again, so that what is removed is gone at every position (interp/usual.py); the
number of passes times the prompt's length is therefore bounded, and a long prompt gets fewer new tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from dash import html

from headscope.inspector.asked import RemovedParts, asked_prompt, asked_removal, whole
from headscope.inspector.bench import Bench
from headscope.inspector.questions import answering
from headscope.inspector.reading import asked_query
from headscope.inspector.widgets import field, save
from headscope.inspector.widgets import whole as whole_field
from interp.token_display import counted, shown, token_texts
from interp.usual import ends

if TYPE_CHECKING:
    from dash import Dash

    from interp.model import HookedModel

COUNT, MOST = 24, 48
READ = 16_384  # tokens of the prompt that all passes of one continuation may read; what they write comes on top


@dataclass(frozen=True)
class Continuation:
    """Tokens that the model writes; full: its context, or the number that may be read, left no room for more."""

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    full: bool


def write_on(model: HookedModel, start: Sequence[int], count: int, tell: Callable[[int, int], None]) -> Continuation:
    """The likeliest token, again and again, up to an end of text; gates that are held around this take part."""
    room = min(count, max(1, READ // len(start)))
    tokens, endings = torch.tensor([list(start)], device=model.device), ends(model)
    for done in range(room):
        longer: Any = model.generate(tokens, 1)
        if longer.shape == tokens.shape:  # the context is full
            break
        tokens = longer
        tell(done + 1, room)
        if int(tokens[0, -1]) in endings:
            break
    ids = tuple(tokens[0, len(start) :].tolist())
    ended = bool(ids) and ids[-1] in endings
    return Continuation(ids, token_texts(model.tokenizer, list(ids)) if ids else (), len(ids) < count and not ended)


def continuation(bench: Bench, start: Sequence[int], removed: RemovedParts, count: int) -> Continuation:
    """Made once, kept for a while."""
    reference = bench.reference(removed)

    def make() -> Continuation:
        with bench.gated("writing on", removed, reference) as tell:
            return write_on(bench.live, start, count, tell)

    return bench.kept(("written", tuple(start), removed, count), make)


def panel() -> html.Figure:
    button = html.Button("Write on", id="write-on", type="button", className="plain")
    return html.Figure(
        [
            html.H3("What the model writes on"),
            html.P([field("Tokens", whole_field("write-count", COUNT, 3)), button], className="filters"),
            html.P(id="written-problem", className="problem", role="alert"),
            html.Div(id="written"),
            html.Figcaption([html.P(id="written-note"), save("", "written")]),
        ],
        id="written-panel",
    )


def register(app: Dash, bench: Bench) -> None:
    if bench.model is not None:
        answering(app, bench, "write-asked", "written", written_parts)


def both(bench: Bench, asked: Mapping[str, Any]) -> tuple[int, list[Continuation]]:
    """The position that is written on from, and the texts of the whole model and of the one that is left."""
    tokens = bench.read(asked_prompt(asked.get("prompt"))).tokens
    removed = asked_removal(asked.get("removal"), bench.live.n_layers, bench.live.n_heads)
    count = whole(asked.get("count", COUNT), "tokens", 1, MOST)
    position = asked_query(asked.get("query"), len(tokens.ids))
    passes = [RemovedParts(), removed] if removed else [RemovedParts()]
    return position, [continuation(bench, tokens.ids[: position + 1], one, count) for one in passes]


def written_parts(bench: Bench, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Both texts side by side, and what is said about them."""
    position, made = both(bench, asked)
    return {"table": side_by_side(made), "note": note(position, made)}


def note(position: int, made: Sequence[Continuation]) -> str:
    told = [f"Behind token {position}, the likeliest token each time."]
    if any(one.full for one in made):
        told.append("A long prompt leaves room for fewer tokens.")
    if len(made) == 2:
        apart = parting(made[0].ids, made[1].ids)
        told.append("Both write the same." if apart is None else f"They part at new token {apart + 1}.")
    return " ".join(told)


def parting(first: Sequence[int], second: Sequence[int]) -> int | None:
    """Where two texts begin to differ; None where they do not."""
    longest = max(len(first), len(second))
    return next((at for at in range(longest) if first[at : at + 1] != second[at : at + 1]), None)


def side_by_side(made: Sequence[Continuation]) -> list[html.Div]:
    """The texts, framed from where they part."""
    apart = parting(made[0].ids, made[-1].ids)
    names = ["the whole model", "after removal"][: len(made)]
    return [html.Div([column(name, one, apart) for name, one in zip(names, made, strict=True)], className="written")]


def column(name: str, made: Continuation, apart: int | None) -> html.Div:
    spans = [
        html.Bdi(shown(text) or " ", className="token apart" if apart is not None and at >= apart else "token")
        for at, text in enumerate(made.texts)
    ]
    return html.Div([html.H4(f"{name}, {counted(len(spans), 'token')}"), html.P(spans, className="tokens")])
