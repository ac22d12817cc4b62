"""Heads that look at a fixed place: the previous token, or earlier copies of the current one (Method 2.4).

Previous-token: on unrepeated sequences, the mean of A[i, i-1] from the second content token on.
Duplicate-token: on repeated sequences, the mean over queries of later repeats of the attention on all earlier copies.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from induction.definitions import definition
from induction.null import ANOTHER_DISTANCE, DRAWS, check_draws, position_null, wrong_token_null
from induction.prefix_matching import LookBack
from induction.reading import TOKEN_BUDGET, Progress, Reader, probabilities, read
from induction.sequences import RepeatedSequences, SequenceGroup, unrepeated_twin
from induction.wrong_token import WrongToken
from interp.attention.rows import AttentionRows
from interp.errors import UsageError
from interp.model import HookedModel
from interp.scores import HeadScores

NEAREST = 2  # of the distances of the null
_BLOCK_ELEMENTS = 1 << 20


class PreviousToken(Reader[SequenceGroup]):
    """Reads A[i, i-1]; with `further` also how much more A[i, i-d] is for d = 2..L-1, the table of its null.

    Both are read at the queries that have a token d places back: early queries see few keys, and more of each of them.
    """

    name = "previous token"

    def __init__(self, model: HookedModel, *, further: bool = True) -> None:
        super().__init__(model)
        self.further = further

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "further": self.further, "same queries": True}

    def start(self, batch: SequenceGroup) -> None:
        super().start(batch)
        if batch.tokens.shape[1] < 3:
            raise UsageError(f"previous-token attention needs 2 content tokens, got {batch.tokens.shape[1] - 1}")

    def attention(self, layer: int, rows: AttentionRows) -> None:
        queries = torch.arange(2, rows.shape[2], device=self.batch.tokens.device)
        previous = probabilities(rows, queries, queries - 1)
        self.keep("previous", layer, previous.mean(-1))
        if self.further:
            further = mean_by_distance(rows, max(self.batch.length, NEAREST))[..., NEAREST:]
            self.keep("further", layer, further - mean_of_last(previous, further.shape[-1]))

    def scores(self) -> HeadScores:
        told = {"version": definition("previous_token").version}
        return HeadScores.from_items(
            "previous_token", self.items("previous"), n_kv_heads=self.model.n_kv_heads, provenance=told
        )

    def tables(self) -> list[Float[Tensor, "_ layer head"]]:
        further = self.ragged("further")
        return [item.movedim(-1, 0) + own for item, own in zip(further, self.items("previous"), strict=True)]


def mean_of_last(values: Float[Tensor, "batch head query"], count: int) -> Float[Tensor, "batch head left_out"]:
    """The mean of all but the first, but the first two ... but the first `count` values; NaN where none is left."""
    sums = torch.nn.functional.pad(values.flip(-1).cumsum(-1).flip(-1), (0, count + 1))
    left = torch.arange(values.shape[-1] - 1, values.shape[-1] - 1 - count, -1, device=values.device).clamp_min(0)
    return sums[..., 1 : count + 1] / left


def mean_by_distance(rows: AttentionRows, end: int) -> Float[Tensor, "batch head distance"]:
    """Mean of A[i, i-d] over queries whose key is content, for d = 0..end-1 (NaN beyond the sequence)."""
    batch, heads, length = rows.shape
    step = max(16, _BLOCK_ELEMENTS // (batch * heads * length))
    starts = range(1, length, step)
    total = torch.stack([_by_distance(rows.block(n, min(n + step, length))[..., 1:], end) for n in starts]).sum(0)
    count = torch.arange(length - 1, length - 1 - end, -1, device=total.device).clamp_min(0)
    return total / count


def _by_distance(seen: Float[Tensor, "batch head query key"], end: int) -> Float[Tensor, "batch head distance"]:
    """Sums along the diagonals of the last rows of a causal square matrix, the nearest `end` of them."""
    queries, keys = seen.shape[-2:]
    padded = torch.nn.functional.pad(seen, (end, 0))
    first = keys - queries + 1  # where the first row's distance end - 1 stands
    *outer, step, _ = padded.stride()
    size = (*seen.shape[:2], queries, end)
    diagonals = padded.as_strided(size, (*outer, step + 1, 1), padded.storage_offset() + first)
    return diagonals.sum(-2).flip(-1)


class DuplicateToken(LookBack):
    """Keeps the attention on earlier copies, over all queries of later repeats: out of reach is no attention."""

    name = "duplicate token"

    def attention(self, layer: int, rows: AttentionRows) -> None:
        seen = probabilities(rows, *self.targets.duplicate_pairs)
        self.keep("mean", layer, seen.sum(-1) / len(self.targets.query_positions))

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
    check_draws(draws)
    if sequences.repeats > 1:
        sequences = unrepeated_twin(model, sequences)
    reader = PreviousToken(model, further=draws > 0)
    read(model, sequences, [reader], token_budget=token_budget, progress=progress)
    return previous_with_null(reader, draws=draws, seed=sequences.seed)


def previous_with_null(reader: PreviousToken, *, draws: int, seed: int) -> HeadScores:
    """The score beside A[i, i-d] for d uniform on 2..L-1, at the same queries (Method 2.7)."""
    scores = reader.scores()
    if not draws:
        return scores
    null = wrong_token_null(scores.mean, reader.tables(), draws=draws, seed=seed, name=ANOTHER_DISTANCE)
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
    check_draws(draws)
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
    """The score beside N1 and N2 (Method 2.7)."""
    scores = reader.scores()
    wrong = wrong_token_null(scores.mean, fold.tables("duplicate"), draws=draws, seed=seed)
    elsewhere = position_null(scores.mean, position.items("mean"), draws=draws, seed=seed)
    return scores.with_nulls(*(null for null in (wrong, elsewhere) if null is not None))
