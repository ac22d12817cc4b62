"""Nulls: what each score would be if there were nothing to find (METHODS 2.7).

N1, wrong token: in the same forward pass, the score is read for the token d places further on in the block, d drawn
once for each sequence and draw. N2, position only: the same (query, key) entries on an unrepeated sequence.
The repeats are never permuted: an earlier copy of the current token is still there, and induction heads keep their
score.

Every draw is a draw of the reported statistic, the mean over sequences. N1 knows its per-sequence value for every d, so
draws pick among them. Where a per-sequence value has to be drawn itself (the tokens of copying), n sequences share the
B draws: B / n values each, recombined into B means; sum over sequences, that is as many values as drawing B means.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from induction.reading import Reader
from induction.sequences import RepeatedSequences, repeated_sequences
from interp.attention.rows import AttentionRows
from interp.model import HookedModel
from interp.scores import Null

DRAWS = 2000
N1 = "N1 wrong token"
N2 = "N2 position only"
N3 = "token drawn at random"
_FOLD_ELEMENTS = 1 << 22


class WrongToken(Reader):
    """Attention by distance within the block, the table behind N1 of prefix matching and duplicate-token scores.

    shifted[k] = mean over queries (repeat r, place o) of the attention on place (o + k) mod L in all repeats before r.
    """

    def attention(self, layer: int, rows: AttentionRows) -> None:
        batch, heads, _ = rows.shape
        length, repeats = self.batch.block, self.batch.repeats
        step = max(1, _FOLD_ELEMENTS // (batch * heads * length * repeats))
        # place (o + k) mod L for k = 0..L-1, one row an o
        places = (torch.arange(length)[:, None] + torch.arange(length)).remainder(length)
        shifted = torch.zeros(batch, heads, length)
        for repeat in range(1, repeats):
            first = 1 + repeat * length
            for start in range(0, length, step):
                stop = min(start + step, length)
                seen = rows.block(first + start, first + stop)[..., 1:first]
                folded = seen.unflatten(-1, (repeat, length)).sum(-2).cpu()
                shifted += folded.gather(-1, places[start:stop].expand_as(folded)).sum(-2)
        self.keep("shifted", layer, shifted / ((repeats - 1) * length))

    def tables(self, first: int) -> list[Float[Tensor, "shift layer head"]]:
        """For each sequence, its null values for d = 1..L-2: places `first` + d further on (1: successor, 0: copy)."""
        return [shift_table(item, first) for item in self.ragged("shifted")]


def shift_table(by_place: Float[Tensor, "layer head place"], first: int) -> Float[Tensor, "shift layer head"]:
    """The values at places first + d, d = 1..L-2, shifts in front."""
    length = by_place.shape[-1]
    return by_place[..., first + 1 : first + length - 1].movedim(-1, 0)


def wrong_token_null(
    observed: Float[Tensor, "layer head"],
    tables: list[Float[Tensor, "shift layer head"]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    two_sided: bool = False,
    name: str = N1,
) -> Null | None:
    """N1 from every sequence's table of values; None where a block is too short to have a wrong token."""
    if any(len(table) == 0 for table in tables):
        return None
    generator = np.random.default_rng((seed, 1))
    total = torch.zeros(draws, *observed.shape, dtype=torch.float64)
    for table in tables:
        total += table.double()[torch.from_numpy(generator.integers(0, len(table), size=draws))]
    return Null.from_draws(name, observed, (total / len(tables)).float(), two_sided=two_sided)


def position_null(
    observed: Float[Tensor, "layer head"],
    unrepeated: Float[Tensor, "item layer head"],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Null:
    """N2: means over sequences, drawn with replacement, of the same entries on unrepeated sequences."""
    n = len(unrepeated)
    picks = np.random.default_rng((seed, 2)).multinomial(n, np.full(n, 1 / n), size=draws)
    means = (torch.from_numpy(picks / n) @ unrepeated.double().flatten(1)).view(draws, *observed.shape)
    return Null.from_draws(N2, observed, means.float())


def values_per_sequence(sequences: int, draws: int) -> int:
    """How many null values each of n sequences has to draw so that together they amount to `draws` (at least 2)."""
    return max(2, math.ceil(draws / max(1, sequences)))


def recombined_null(
    observed: Float[Tensor, "layer head"],
    values: Float[Tensor, "item layer head draw"],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    name: str = N3,
) -> Null:
    """Means over sequences, each of which contributes one of its own null values (the same draw for all its heads)."""
    generator = np.random.default_rng((seed, 3))
    total = torch.zeros(draws, *observed.shape, dtype=torch.float64)
    for item in values.double():
        total += item.movedim(-1, 0)[torch.from_numpy(generator.integers(0, item.shape[-1], size=draws))]
    return Null.from_draws(name, observed, (total / len(values)).float())


def unrepeated_twin(model: HookedModel, sequences: RepeatedSequences) -> RepeatedSequences:
    """Unrepeated sequences of the same lengths, as many, from their own random streams: the input of N2."""
    options = {"seed": sequences.seed, "candidates": sequences.candidates, "repeats": 1}
    twins = []
    for group in sequences:
        length = group.block * group.repeats
        twins.append(repeated_sequences(model, length=length, sequences=len(group.tokens), **options))  # type: ignore[arg-type]
    groups = tuple(
        replace(twin.groups[0], length=group.length, indices=group.indices)
        for twin, group in zip(twins, sequences, strict=True)
    )
    return RepeatedSequences(groups, sequences.protocol, 1, sequences.seed, sequences.candidates)
