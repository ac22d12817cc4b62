"""Heads that look at a fixed place: the previous token, or earlier copies of the current one (METHODS 2.4).

Previous-token: on unrepeated sequences, the mean of A[i, i-1] from the second content token on.
Duplicate-token: on repeated sequences, the mean over queries of later repeats of the attention on all earlier copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from induction.null import DRAWS, WrongToken, position_null, unrepeated_twin, wrong_token_null
from induction.prefix_matching import probabilities
from induction.reading import TOKEN_BUDGET, Progress, Reader, read
from induction.sequences import RepeatedSequences, SequenceGroup
from interp.attention.rows import AttentionRows
from interp.errors import UsageError
from interp.model import HookedModel
from interp.scores import HeadScores, Null

NEAREST, OFFSETS = 2, 64


class PreviousToken(Reader):
    """Reads A[i, i-1]; with `offsets` > 0 also A[i, i-d] for that many distances, the table of its null."""

    def __init__(self, model: HookedModel, *, offsets: int = OFFSETS, seed: int = 0) -> None:
        super().__init__(model)
        self.offsets, self.seed = offsets, seed

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "offsets": self.offsets, "seed": self.seed}

    def start(self, batch: SequenceGroup) -> None:
        super().start(batch)
        length = batch.tokens.shape[1]
        if length < 4:
            raise UsageError(f"previous-token attention needs at least 3 content tokens, got {length - 1}")
        self.distances = self._distances(batch.length)

    def attention(self, layer: int, rows: AttentionRows) -> None:
        self.keep("previous", layer, self._mean_at(rows, 1))
        if self.offsets:
            table = torch.stack([self._mean_at(rows, d) for d in self.distances], -1)
            self.keep("further", layer, table)

    def scores(self) -> HeadScores:
        return HeadScores.from_items("previous_token", self.items("previous"), n_kv_heads=self.model.n_kv_heads)

    def tables(self) -> list[Float[Tensor, "shift layer head"]]:
        return [item.movedim(-1, 0) for item in self.ragged("further")]

    def _distances(self, length: int) -> list[int]:
        """Distances 2..L-1, or a seeded sample of them without repetition where there are many."""
        every = np.arange(NEAREST, max(length, NEAREST + 1))
        if len(every) <= self.offsets:
            return every.tolist()
        return np.sort(np.random.default_rng((self.seed, length)).choice(every, self.offsets, replace=False)).tolist()

    def _mean_at(self, rows: AttentionRows, distance: int) -> Float[Tensor, "batch head"]:
        """Mean of A[i, i-d] over content queries i whose key is content too."""
        queries = torch.arange(1 + distance, rows.shape[2], device=self.batch.tokens.device)
        return probabilities(rows, queries, queries - distance).mean(-1)


class DuplicateToken(Reader):
    """Reads the attention on earlier copies, or the same entries on sequences without repeats (N2)."""

    def __init__(self, model: HookedModel, like: RepeatedSequences | None = None) -> None:
        super().__init__(model)
        self._like = {} if like is None else {group.length: group for group in like}

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "position_only": bool(self._like)}

    def start(self, batch: SequenceGroup) -> None:
        super().start(batch)
        self.queries, self.keys = self._like.get(batch.length, batch).targets.duplicate_pairs
        if not len(self.queries):
            raise UsageError("duplicate-token attention needs repeated sequences: make them with repeats >= 2")

    def attention(self, layer: int, rows: AttentionRows) -> None:
        reach = rows.reachable(self.queries, self.keys)
        queries, keys = self.queries[reach], self.keys[reach]
        self.keep("mean", layer, probabilities(rows, queries, keys).sum(-1) / len(queries.unique()))

    def scores(self) -> HeadScores:
        return HeadScores.from_items("duplicate_token", self.items("mean"), n_kv_heads=self.model.n_kv_heads)


def previous_token_score(
    model: HookedModel,
    sequences: RepeatedSequences,
    *,
    draws: int = DRAWS,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
) -> HeadScores:
    """Attention on the token before, in [0, 1]; on repeated sequences it is read on their unrepeated twins."""
    if sequences.repeats > 1:
        sequences = unrepeated_twin(model, sequences)
    reader = PreviousToken(model, offsets=OFFSETS if draws else 0, seed=sequences.seed)
    read(model, sequences, [reader], token_budget=token_budget, progress=progress)
    return previous_with_null(reader, draws=draws, seed=sequences.seed)


def previous_with_null(reader: PreviousToken, *, draws: int, seed: int) -> HeadScores:
    """The score beside A[i, i-d] for d uniform on 2..L-1 (METHODS 2.7)."""
    scores = reader.scores()
    if not draws:
        return scores
    null = wrong_token_null(scores.mean, reader.tables(), draws=draws, seed=seed, name="another distance")
    return scores if null is None else scores.with_nulls(null)


def duplicate_token_score(
    model: HookedModel,
    sequences: RepeatedSequences,
    *,
    draws: int = DRAWS,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
) -> HeadScores:
    """Attention on earlier copies of the current token, in [0, 1]."""
    reader, fold = DuplicateToken(model), WrongToken(model)
    read(model, sequences, [reader, fold] if draws else [reader], token_budget=token_budget, progress=progress)
    if not draws:
        return reader.scores()
    position = DuplicateToken(model, like=sequences)
    read(model, unrepeated_twin(model, sequences), [position], token_budget=token_budget, progress=progress)
    return duplicate_with_nulls(reader, fold, position, draws=draws, seed=sequences.seed)


def duplicate_with_nulls(
    reader: DuplicateToken, fold: WrongToken, position: DuplicateToken, *, draws: int, seed: int
) -> HeadScores:
    """The score beside N1 and N2 (METHODS 2.7)."""
    scores = reader.scores()
    wrong = wrong_token_null(scores.mean, fold.tables(first=0), draws=draws, seed=seed)
    found: tuple[Null | None, ...] = (
        wrong,
        position_null(scores.mean, position.items("mean"), draws=draws, seed=seed),
    )
    return scores.with_nulls(*(null for null in found if null is not None))
