"""One head over many prompts: where its attention goes on average, and its strongest examples.

1. Read every prompt once, and keep of every head: what the queries pay to the first token, to themselves, to the token
   before, to an earlier copy of themselves, and to what followed an earlier copy; and the highest single attentions.
2. A share is a mean over the queries that have such a key within the layer's reach (each query counts once, whichever
   prompt it is of). The first query can pay nothing but itself, and what the others pay the first token is told as that
   alone: neither is counted as attention to itself, to the token before, or to a copy. What followed a copy that stood
   first counts, unless it is a token that the tokenizer puts in front.
3. An example is a query-key pair other than the first token and the query itself, at most one a query.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import html
from jaxtyping import Bool, Float, Int

from headscope.inspector.asked import SHOTS, Prompt, asked_head, asked_prompt, asked_removal, whole
from headscope.inspector.bench import Bench
from headscope.inspector.outcome import bar_cell, plain
from headscope.inspector.passes import PromptPass, read_pass
from headscope.inspector.prompts import Tokens, tokens_of_each
from headscope.inspector.questions import answering
from headscope.inspector.widgets import field, save
from headscope.inspector.widgets import whole as whole_field
from interp.errors import UsageError
from interp.token_display import counted, shown
from interp.tokenizer import tokenizer_of

if TYPE_CHECKING:
    from dash import Dash

PROMPTS, MOST = 16, 64
EXAMPLES, AROUND = 8, 4
READ = 16_384  # tokens in all
KINDS = {
    "first": "the first token",
    "self": "itself",
    "previous": "the token before",
    "copy": "an earlier copy of itself",
    "after_copy": "what followed an earlier copy (induction)",
}


@dataclass(frozen=True)
class Example:
    attention: float
    prompt: int
    query: int
    key: int


@dataclass(frozen=True)
class Averages:
    """Of every head of a model over some prompts. shares: by kind; NaN where no query has such a key.

    queries: how many have one in each layer.
    """

    prompts: tuple[Tokens, ...]
    shares: Mapping[str, Float[np.ndarray, "layer head"]]
    queries: Mapping[str, Int[np.ndarray, " layer"]]
    examples: Mapping[tuple[int, int], tuple[Example, ...]]


def kinds_of(ids: Sequence[int], *, fronted: bool) -> dict[str, Bool[np.ndarray, "query key"]]:
    """Which keys are of which kind, for every query. fronted: the first token is one that the tokenizer puts there."""
    length = len(ids)
    at, tokens = np.arange(length), np.asarray(ids)
    earlier, later = at[:, None] > at[None], at[None] > 0
    same = (tokens[:, None] == tokens[None]) & earlier
    if fronted:
        same[:, 0] = False
    after = np.zeros_like(same)
    after[:, 1:] = same[:, :-1]
    return {
        "first": np.broadcast_to(at[None] == 0, (length, length)) & (at[:, None] > 0),
        "self": np.eye(length, dtype=bool) & later,
        "previous": (at[:, None] - 1 == at[None]) & later,
        "copy": same & later,
        "after_copy": after & earlier,
    }


class _Sums:
    """What is kept while prompts are read."""

    def __init__(self, layers: int, heads: int) -> None:
        self.paid = {kind: np.zeros((layers, heads)) for kind in KINDS}
        self.queries = {kind: np.zeros(layers, dtype=int) for kind in KINDS}
        self.best: dict[tuple[int, int], list[tuple[float, int, int, int]]] = {}

    def add(self, number: int, made: PromptPass, *, fronted: bool) -> None:
        length = len(made.tokens.ids)
        kinds = kinds_of(made.tokens.ids, fronted=fronted)
        allowed = np.tril(np.ones((length, length), dtype=bool), -1)
        allowed[:, 0] = False
        for layer in made.rows:
            patterns, reachable = made.window(layer, 0, length), made.reachable(layer)
            for kind, where in kinds.items():
                self.queries[kind][layer] += (where & reachable).any(-1).sum()
                self.paid[kind][layer] += (patterns * where).sum((1, 2))
            self._note(number, layer, np.where(allowed, patterns, -1))

    def _note(self, number: int, layer: int, patterns: Float[np.ndarray, "head query key"]) -> None:
        keys, values = patterns.argmax(-1), patterns.max(-1)
        for head, row in enumerate(values):
            kept = self.best.setdefault((layer, head), [])
            for query in np.argsort(-row, kind="stable")[:EXAMPLES].tolist():
                if row[query] > 0:
                    kept.append((float(row[query]), -number, -query, -int(keys[head, query])))
            self.best[layer, head] = heapq.nlargest(EXAMPLES, kept)

    def shares(self) -> dict[str, Float[np.ndarray, "layer head"]]:
        queries = {kind: np.where(number > 0, number, np.nan) for kind, number in self.queries.items()}
        return {kind: paid / queries[kind][:, None] for kind, paid in self.paid.items()}


def averaged(bench: Bench, prompts: Sequence[Prompt], tell: Callable[[int, int], None]) -> Averages:
    """Over prompts, one pass each; gates that are held around this take part. Raises UsageError for too many tokens."""
    model = bench.live
    read, sums, total = [], _Sums(model.n_layers, model.n_heads), 0
    in_front = set(tokenizer_of(model, "prompts").all_special_ids)
    for number, tokens in enumerate(tokens_of_each(prompts, model, bench.data)):
        total += len(tokens.ids)
        if total > READ:
            raise UsageError(f"These prompts have more than {READ:,} tokens together: take fewer, or shorter ones.")
        made = read_pass(model, tokens, lambda done, of: None)
        sums.add(number, made, fronted=tokens.ids[0] in in_front)
        read.append(tokens)
        tell(number + 1, len(prompts))
    examples = {head: tuple(Example(p, -n, -q, -k) for p, n, q, k in kept) for head, kept in sums.best.items()}
    return Averages(tuple(read), sums.shares(), sums.queries, examples)


def asked_prompts(asked: Mapping[str, Any]) -> list[Prompt]:
    """Documents of a task, or the lines of a text, each a prompt."""
    lines = [line for line in str(asked.get("lines") or "").splitlines() if line.strip()]
    if len(lines) > MOST:
        raise UsageError(f"These are {len(lines)} prompts, and at most {MOST} are averaged here: take fewer.")
    if lines:
        return [asked_prompt({"kind": "text", "text": line}) for line in lines]
    told = asked.get("prompt")
    fields: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    if fields.get("kind") != "task":
        raise UsageError("Write prompts, one a line; or read a task's document above, and the task is averaged.")
    count = whole(asked.get("count", PROMPTS), "documents", 1, MOST)
    shots = whole(fields.get("shots", 0), "shots", 0, SHOTS)
    task = str(fields.get("task", ""))[:200]
    return [Prompt("task", task=task, shots=shots, document=number) for number in range(count)]


def averages(bench: Bench, asked: Mapping[str, Any]) -> Averages:
    """Made once, for all heads; another head then answers at once."""
    prompts = asked_prompts(asked)
    removed = asked_removal(asked.get("removal"), bench.live.n_layers, bench.live.n_heads)
    reference = bench.reference(removed)

    def make() -> Averages:
        with bench.gated("averaging over prompts", removed, reference) as tell:
            return averaged(bench, prompts, tell)

    return bench.kept(("averages", tuple(prompts), removed), make)


# --- the panel --------------------------------------------------------------------------------------------------------


def panel(bench: Bench) -> list[html.Section]:
    if bench.model is None:
        return []
    lines = html.Textarea(id="average-lines", rows=3, spellCheck="false", placeholder="Prompts, one a line")
    return [
        html.Section(
            [
                html.H2("The head over many prompts"),
                html.Div(
                    [
                        field("Documents of the task above", whole_field("average-count", PROMPTS, 3)),
                        html.Label(["or ", lines], className="grow"),
                        html.Button("Average", id="ask-average", type="button", className="plain strong"),
                    ],
                    className="filters",
                ),
                html.P(id="average-problem", className="problem", role="alert"),
                html.Div(id="average"),
                html.Div(save("", "average"), id="average-saves", hidden=True),
            ],
            id="average-panel",
        )
    ]


def register(app: Dash, bench: Bench) -> None:
    if bench.model is not None:
        answering(app, bench, "average-asked", "average", average_parts)


def average_parts(bench: Bench, asked: Mapping[str, Any]) -> dict[str, Any]:
    made = averages(bench, asked)
    head = asked_head(asked.get("head"), bench.live.n_layers, bench.live.n_heads)
    name = f"Head {head[0]}.{head[1]} over {in_words(asked_prompts(asked))}"
    tables = [shares_table(made, head), examples_table(made, head)]
    return {"table": [html.H3(name), html.Div(tables, className="written")]}


def in_words(prompts: Sequence[Prompt]) -> str:
    first = prompts[0]
    if first.kind != "task":
        return counted(len(prompts), "prompt")
    return f"{counted(len(prompts), 'document')} of {first.task}, {counted(first.shots, 'shot')}"


def shares_table(made: Averages, head: tuple[int, int]) -> html.Table:
    rows = [
        html.Tr(
            [
                html.Td(words),
                share_cell(float(made.shares[kind][head])),
                html.Td(f"{made.queries[kind][head[0]]:,}", className="number note"),
            ]
        )
        for kind, words in KINDS.items()
    ]
    heading = [html.Th("mean attention to"), html.Th("share"), html.Th("queries", className="number")]
    return html.Table([html.Thead(html.Tr(heading)), html.Tbody(rows)], className="plain-table")


def share_cell(share: float) -> html.Td:
    return bar_cell(share, plain(share, 3)) if np.isfinite(share) else html.Td("no such token", className="note")


def examples_table(made: Averages, head: tuple[int, int]) -> html.Table:
    """The strongest, each with the text around its key and up to its query."""
    rows = [
        html.Tr(
            [
                html.Td(in_text(made.prompts[one.prompt], one.query)),
                html.Td(in_text(made.prompts[one.prompt], one.key)),
                html.Td(str(one.prompt), className="number note"),
                bar_cell(one.attention, plain(one.attention, 3)),
            ]
        )
        for one in made.examples.get(head, ())
    ]
    heading = [html.Th("query"), html.Th("attends to key"), html.Th("prompt", className="number"), html.Th("attention")]
    return html.Table([html.Thead(html.Tr(heading)), html.Tbody(rows)], className="plain-table")


def in_text(tokens: Tokens, at: int) -> list[Any]:
    """A token with what stands in front of it."""
    before = "".join(shown(text) for text in tokens.texts[max(0, at - AROUND) : at])
    return [html.Bdi(before, className="note"), html.Bdi(shown(tokens.texts[at]) or " ", className="token")]
