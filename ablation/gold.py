"""Batches of gold sequences: each document's prompt with its gold continuation, padded on the right.

Causal attention never looks right, so padding there changes no real position, needs no mask and leaves the kernel its
causal fast path. Documents of similar length share a batch; of equal length, where a model's rotary embedding follows
the longest row (sharing.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from ablation.replacement import GoldDocument
from interp.errors import UsageError, quoted

if TYPE_CHECKING:
    from interp.model import HookedModel


@dataclass(frozen=True)
class GoldBatch:
    """Some documents in one tensor; pair k says: `targets[k]` is predicted at (`rows[k]`, `positions[k]`)."""

    places: tuple[int, ...]
    tokens: Int[Tensor, "batch query"]
    rows: Int[Tensor, " pair"]
    positions: Int[Tensor, " pair"]
    targets: Int[Tensor, " pair"]

    @property
    def target_lengths(self) -> Int[Tensor, " batch"]:
        """T_y of every document."""
        return torch.bincount(self.rows, minlength=len(self.places))


def gold_documents(model: HookedModel, task: Any) -> list[Any]:
    """The token documents of a task; a sequence of token documents is taken as it is."""
    refuse_no_documents(task)
    documents = list(task.token_documents(model) if hasattr(task, "token_documents") else task)
    if not documents:
        raise UsageError("there is no document to score: the task is empty (a limit of 0?); give at least one")
    return documents


def refuse_no_documents(task: Any, *, whole: bool = False) -> None:
    """Raises UsageError for the name of a task in its place, and for what has no documents; `whole`: for no task."""
    if isinstance(task, str):
        raise UsageError(f"{quoted(task)} is a name: give the task itself, ablation.load_task({quoted(task)})")
    if not hasattr(task, "token_documents") and (whole or not isinstance(task, Iterable)):
        raise UsageError(f"a value of type {type(task).__name__} is no task: give what ablation.load_task returns")


def gold_batches(documents: Sequence[GoldDocument], *, tokens: int, padding: bool = True) -> Iterator[GoldBatch]:
    """All documents in batches of at most `tokens` tokens, padding included (one document may be longer)."""
    order = sorted(range(len(documents)), key=lambda place: _length(documents[place]), reverse=True)
    while order:
        longest = _length(documents[order[0]])
        equal = len(order) if padding else sum(_length(documents[place]) == longest for place in order)
        count = max(1, min(equal, tokens // longest))
        yield gold_batch(documents, order[:count])
        order = order[count:]


def gold_batch(documents: Sequence[GoldDocument], places: Iterable[int]) -> GoldBatch:
    """These documents, padded on the right."""
    chosen = tuple(places)
    held = [documents[place] for place in chosen]
    tokens = torch.zeros(len(held), max(map(_length, held)), dtype=torch.long)
    for row, document in enumerate(held):
        tokens[row, : _length(document)] = torch.tensor([*document.context, *document.target])
    pairs = [(row, position) for row, document in enumerate(held) for position in _before_targets(document)]
    rows, positions = torch.tensor(pairs).T
    return GoldBatch(chosen, tokens, rows, positions, tokens[rows, positions + 1])


def _length(document: GoldDocument) -> int:
    return len(document.context) + len(document.target)


def _before_targets(document: GoldDocument) -> range:
    if not document.context or not document.target:
        raise UsageError(
            "a document needs at least one token of context and one of target, got "
            f"{len(document.context)} and {len(document.target)}"
        )
    return range(len(document.context) - 1, _length(document) - 1)
