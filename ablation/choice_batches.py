"""Batches of documents with all their choices, for a loss that compares them (Method 3.1, objective `choice`).

What the choices of a document share is run once: a document is a tree of tokens, each of which is a node (packing.py).
Where a model can't share prefixes (sharing.py) every choice has a row of its own, and the tokens of a common prefix are
still one node: their gradients belong to one position of the document. A batch is run in as many passes as its rows
need: one, unless they are many, or may not be padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ablation.engine.likelihood import check_requests, sharing_for
from ablation.engine.packing import Batch, Tree, collate, grow
from ablation.engine.prefix_plan import Request, Row, SortedInputs
from ablation.engine.sharing import attention_arguments
from ablation.engine.target_logits import logits_at
from ablation.gate_gradients import NodeSums
from ablation.outcomes import Choices
from ablation.replacement import Replacement, by_depth
from interp.recompute import recompute_blocks

if TYPE_CHECKING:
    from interp.model import HookedModel


@dataclass(frozen=True)
class Pass:
    """Rows that are run together, and the node of every token (padding: any)."""

    batch: Batch
    nodes: Int[Tensor, "batch query"]


@dataclass(frozen=True)
class ChoiceBatch:
    """Some documents, their choices, and the passes that run them; `owners` is the document of every node."""

    places: tuple[int, ...]
    choices: Choices
    passes: tuple[Pass, ...]
    owners: Int[Tensor, " node"]

    @property
    def n_requests(self) -> int:
        return int(self.choices.there.sum())


@dataclass(frozen=True)
class _Grown:
    """One document's rows, and the node of each of their tokens."""

    place: int
    trees: tuple[Tree, ...]
    nodes: tuple[Int[np.ndarray, "_"], ...]
    n_requests: int
    n_nodes: int

    @property
    def tokens(self) -> int:
        """What the rows take with padding."""
        return len(self.trees) * max(len(nodes) for nodes in self.nodes)


def choice_batches(
    model: HookedModel, documents: Sequence[Any], *, rights: Sequence[Sequence[int]], metric: str, tokens: int
) -> Iterator[ChoiceBatch]:
    """All documents in batches of about `tokens` tokens, long ones first; a document is never cut in two.

    `rights` are the documents' right choices, `metric` is their task's (outcomes.py). Raises UsageError for ids that
    the model does not have, and inputs longer than its context.
    """
    requests = [
        [Request(context, choice) for context, choice in zip(d.contexts, d.choices, strict=True)] for d in documents
    ]
    together = [request for held in requests for request in held]
    check_requests(model, together)
    sharing = sharing_for(model, max(len(request.ids) - 1 for request in together))
    grown = []
    for place, held in enumerate(requests):
        share = sharing.allows(max(len(request.ids) - 1 for request in held))
        grown.append(_grown(place, held, share=share, padding=sharing.padding))
    for chosen in _together(sorted(grown, key=lambda one: -one.tokens), tokens):
        kept = [documents[one.place] for one in chosen]
        choices = Choices.of(kept, right=[rights[one.place] for one in chosen], metric=metric)
        owners = np.repeat(np.arange(len(chosen)), [one.n_nodes for one in chosen])
        passes = tuple(_passes(chosen, tokens, padding=sharing.padding))
        yield ChoiceBatch(tuple(one.place for one in chosen), choices, passes, torch.from_numpy(owners))


def log_likelihoods_of(model: HookedModel, batch: Batch, n_requests: int) -> Float[Tensor, " request"]:
    """What one pass adds to the log-likelihood of each request, in float32 or better; differentiable."""
    with logits_at(model, batch.rows, batch.nodes):
        tokens = batch.tokens.to(model.device)
        logits = model.hf(input_ids=tokens, use_cache=False, **attention_arguments(model, batch)).logits[0]
    precise = logits if logits.dtype.itemsize > 4 else logits.float()
    places, targets = batch.places.to(precise.device), batch.targets.to(precise.device)
    log_p = precise[places, targets] - precise.logsumexp(-1)[places]
    return log_p.new_zeros(n_requests).index_add(0, batch.requests.to(log_p.device), log_p)


def _grown(place: int, requests: Sequence[Request], *, share: bool, padding: bool) -> _Grown:
    inputs = SortedInputs.of(requests, beginnings=padding)
    paths = list(_paths(inputs))
    count, n_nodes = len(paths), 1 + max(int(path.max()) for path in paths)
    if share:
        row = Row(0, count, 0, n_nodes, chain=count == 1)
        return _Grown(place, (grow(requests, inputs, row),), (np.arange(n_nodes),), len(requests), n_nodes)
    rows = [Row(n, n + 1, 0, len(path), chain=True) for n, path in enumerate(paths)]
    return _Grown(place, tuple(grow(requests, inputs, row) for row in rows), tuple(paths), len(requests), n_nodes)


def _paths(inputs: SortedInputs) -> Iterator[Int[np.ndarray, "position"]]:
    """The node of every position of every input: numbered as they come, shared ones once."""
    path, count = np.zeros(0, dtype=np.int64), 0
    for ids, shared in zip(inputs.inputs, inputs.shared.tolist(), strict=True):
        path = np.concatenate([path[:shared], np.arange(count, count + len(ids) - shared)])
        count += len(ids) - shared
        yield path


def _together(grown: Sequence[_Grown], tokens: int) -> Iterator[list[_Grown]]:
    waiting: list[_Grown] = []
    for one in grown:
        if waiting and sum(held.tokens for held in waiting) + one.tokens > tokens:
            yield waiting
            waiting = []
        waiting.append(one)
    if waiting:
        yield waiting


def _passes(chosen: Sequence[_Grown], tokens: int, *, padding: bool) -> Iterator[Pass]:
    """The rows of some documents side by side; requests and nodes are numbered over all of them."""
    rows: list[tuple[Tree, Int[np.ndarray, "position"]]] = []
    first_request = first_node = 0
    for one in chosen:
        for tree, nodes in zip(one.trees, one.nodes, strict=True):
            rows.append((replace(tree, targets=tree.targets + np.array([0, 0, first_request])), nodes + first_node))
        first_request += one.n_requests
        first_node += one.n_nodes
    rows.sort(key=lambda row: -len(row[1]))
    for _, alike in groupby(rows, key=lambda row: 0 if padding else len(row[1])):
        held = list(alike)
        while held:
            count = max(1, tokens // len(held[0][1]))
            trees, nodes = zip(*held[:count], strict=True)
            batch = collate(trees, 0)
            placed = torch.zeros(batch.tokens.shape, dtype=torch.long)
            for row, numbers in enumerate(nodes):
                placed[row, : len(numbers)] = torch.from_numpy(numbers)
            yield Pass(batch, placed)
            held = held[count:]


def backward_through_choices(
    model: HookedModel,
    batch: ChoiceBatch,
    sums: NodeSums,
    *,
    replacement: Replacement | None = None,
    recompute: bool = False,
    factor: float = 1.0,
) -> Float[Tensor, " request"]:
    """Differentiate `factor` times the sum of the documents' -choice into `sums`; gives all log-likelihoods.

    replacement: what stands in for what is removed, the same in every document.

    With several passes the choices' log-likelihoods are found first, without gradients: each pass is then
    differentiated with the slopes of the loss in them.
    """
    first, *more = batch.passes
    if not more:
        _begin(sums, first, replacement)
        with recompute_blocks(model) if recompute else nullcontext():
            found = log_likelihoods_of(model, first.batch, batch.n_requests)
            (factor * _loss(batch, found)).backward()
        return found.detach().cpu()
    with torch.no_grad():
        parts = [log_likelihoods_of(model, part.batch, batch.n_requests) for part in batch.passes]
    whole = torch.stack(parts).sum(0).requires_grad_()
    (slopes,) = torch.autograd.grad(_loss(batch, whole), whole)
    for part in batch.passes:
        _begin(sums, part, replacement)
        with recompute_blocks(model) if recompute else nullcontext():
            (log_likelihoods_of(model, part.batch, batch.n_requests) * slopes * factor).sum().backward()
    return whole.detach().cpu()


def _begin(sums: NodeSums, part: Pass, replacement: Replacement | None) -> None:
    sums.nodes = part.nodes
    sums.reference = None if replacement is None else replacement.placed(by_depth(part.batch.positions))


def _loss(batch: ChoiceBatch, found: Float[Tensor, " request"]) -> Float[Tensor, ""]:
    return -batch.choices.values("choice", batch.choices.padded(found.double().cpu())).sum()
