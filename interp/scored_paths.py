"""What is read off patched runs: log-probabilities of tokens, at places of token sequences that share a beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import UsageError

Ids = Sequence[int]


class Read(NamedTuple):
    """log p(token | the sequence up to and with `position`), added to an outcome."""

    path: int
    position: int
    token: int
    outcome: int


@dataclass(frozen=True)
class RowTokens:
    """What stands in the rows that run, and where in them each (path, position) is.

    A tree has positions of its own, and `visible` tells which of its tokens stand in front of which.
    """

    tokens: Int[Tensor, "row query"]
    where: Mapping[tuple[int, int], tuple[int, int]]
    positions: Int[Tensor, "one query"] | None = None
    visible: Bool[Tensor, "query query"] | None = None


@dataclass(frozen=True)
class ScoredPaths:
    """Token sequences that are run, and what is read off them; an outcome is the sum of its reads."""

    sequences: tuple[tuple[int, ...], ...]
    reads: tuple[Read, ...]
    outcomes: int

    @classmethod
    def of_choices(cls, context: Ids, choices: Sequence[Ids]) -> ScoredPaths:
        """The log-likelihood of every choice behind the context; a choice that begins another one has no run."""
        if not context:
            raise UsageError("the prompt is empty: there is no position whose activations could be patched")
        if not choices or not all(choices):
            raise UsageError(f"each choice needs at least one token, got {[list(choice) for choice in choices]}")
        whole = [(*context, *choice[:-1]) for choice in choices]
        paths = tuple(p for p in dict.fromkeys(whole) if not any(p != o and o[: len(p)] == p for o in whole))
        reads = [
            Read(_path_of(paths, sequence), len(context) - 1 + place, int(token), number)
            for number, (sequence, choice) in enumerate(zip(whole, choices, strict=True))
            for place, token in enumerate(choice)
        ]
        return cls(paths, tuple(reads), len(choices))

    @classmethod
    def of_tokens(cls, sequence: Ids, targets: Sequence[tuple[int, int]]) -> ScoredPaths:
        """log p of each (position, token): of the token as the one that follows that position of the sequence."""
        length = len(sequence)
        beyond = [position for position, _ in targets if not -length <= position < length]
        if beyond or not targets:
            raise UsageError(f"targets are (position, token) pairs in {length} tokens, got {list(targets)}")
        reads = [Read(0, position % length, int(token), number) for number, (position, token) in enumerate(targets)]
        return cls((tuple(sequence),), tuple(reads), len(reads))

    @property
    def common(self) -> int:
        """How many tokens all sequences begin with."""
        columns = zip(*self.sequences, strict=False)
        shared = next((n for n, column in enumerate(columns) if len(set(column)) > 1), None)
        return min(map(len, self.sequences)) if shared is None else shared

    def paths(self, start: int = 0) -> RowTokens:
        """One row a sequence, from `start` on, padded on the right, where nothing sees the padding."""
        width = max(map(len, self.sequences))
        rows = [(*sequence, *sequence[-1:] * (width - len(sequence))) for sequence in self.sequences]
        return RowTokens(torch.tensor(rows)[:, start:], {place: (place[0], place[1] - start) for place in self.places})

    def tree(self, start: int = 0) -> RowTokens:
        """All sequences in one row: what several begin with stands in it once. A single sequence needs no mask."""
        if len(self.sequences) == 1:
            return self.paths(start)
        ends = [sequence[: length + 1] for sequence in self.sequences for length in range(start, len(sequence))]
        nodes = {end: number for number, end in enumerate(sorted(dict.fromkeys(ends), key=len))}
        visible = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
        for end, number in nodes.items():
            visible[number, [nodes[end[: length + 1]] for length in range(start, len(end))]] = True
        tokens, positions = ([end[-1] for end in nodes], [len(end) - 1 for end in nodes])
        where = {place: (0, nodes[self.sequences[place[0]][: place[1] + 1]]) for place in self.places}
        return RowTokens(torch.tensor([tokens]), where, torch.tensor([positions]), visible)

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """The (path, position) pairs at which logits are needed, each once."""
        return tuple(dict.fromkeys((read.path, read.position) for read in self.reads))

    def summed(self, logits: Float[Tensor, "row place vocab"]) -> Float[Tensor, "row outcome"]:
        """The outcomes from the logits at `places`, in float64."""
        number = {place: n for n, place in enumerate(self.places)}
        places = torch.tensor([number[read.path, read.position] for read in self.reads], device=logits.device)
        tokens = torch.tensor([read.token for read in self.reads], device=logits.device)
        outcomes = torch.tensor([read.outcome for read in self.reads], device=logits.device)
        wide = logits.dtype if logits.dtype.itemsize > 4 else torch.float32
        parts = [row.to(wide).logsumexp(-1) for row in logits.flatten(0, 1).split(ROWS_AT_ONCE)]
        total = torch.cat(parts).view(logits.shape[:2])
        found = (logits[:, places, tokens].to(wide) - total[:, places]).double()
        return found.new_zeros(len(logits), self.outcomes).index_add_(1, outcomes, found).cpu()


ROWS_AT_ONCE = 8  # a log-sum-exp over whole rows is three times faster in a core's cache


def _path_of(paths: Sequence[tuple[int, ...]], sequence: tuple[int, ...]) -> int:
    return next(number for number, path in enumerate(paths) if path[: len(sequence)] == sequence)
