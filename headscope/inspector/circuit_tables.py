"""Tables of what a head looks at and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dash import html
from jaxtyping import Float

from headscope.inspector.outcome import bar_cell, plain, signed
from headscope.inspector.prompts import Tokens
from headscope.inspector.token_copies import TokenCopies
from interp.token_display import shown

PAIRS = 10


@dataclass(frozen=True)
class Pair:
    """A query that attends to a key."""

    query: int
    key: int
    attention: float


def strongest_pairs(pattern: Float[np.ndarray, "query key"], count: int = PAIRS) -> list[Pair]:
    """The highest attention paid to a key other than the first position, which takes what a head does not need."""
    beyond = np.tril(pattern[:, 1:], -1) if pattern.shape[1] > 1 else pattern[:, :0]
    order = np.argsort(-beyond, axis=None, kind="stable")[:count]
    places = [divmod(int(at), beyond.shape[1]) for at in order]
    return [
        Pair(query, key + 1, float(pattern[query, key + 1])) for query, key in places if pattern[query, key + 1] > 0
    ]


def token(text: str) -> html.Bdi:
    return html.Bdi(shown(text) or " ", className="token")


def pairs_table(pairs: Sequence[Pair], tokens: Tokens) -> html.Table:
    body = [
        html.Tr(
            [
                html.Td([token(tokens.texts[pair.query]), html.Span(f" {pair.query}", className="note")]),
                html.Td([token(tokens.texts[pair.key]), html.Span(f" {pair.key}", className="note")]),
                bar_cell(pair.attention, plain(pair.attention, 3)),
            ]
        )
        for pair in pairs
    ]
    heading = [html.Th("query"), html.Th("attends to key"), html.Th("attention")]
    return html.Table([html.Thead(html.Tr(heading)), html.Tbody(body)], className="plain-table")


def copies_table(copies: TokenCopies) -> html.Table:
    body = [
        html.Tr(
            [
                html.Td(token(copy.token)),
                html.Td(signed(copy.deviations, 1), className="number"),
                html.Td(f"{copy.rank:,}", className="number"),
                html.Td(token(copy.most)),
            ]
        )
        for copy in copies.copies
    ]
    heading = [
        html.Th("attending to"),
        html.Th("raises it (sd)", className="number"),
        html.Th("rank", className="number"),
        html.Th("raises most"),
    ]
    return html.Table([html.Thead(html.Tr(heading)), html.Tbody(body)], className="plain-table")


def copies_note(copies: TokenCopies) -> str:
    return (
        f"Of {copies.n:,} random tokens, {100 * copies.first:.1f}% are raised above all others when the head attends "
        f"to them; on average a token's own logit changes by {signed(copies.mean, 2)} standard deviations. The token "
        "is read as block 0 leaves it; the effect is direct, through the final norm and the unembedding."
    )
