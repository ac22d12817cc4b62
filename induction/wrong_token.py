"""N1 for attention scores: the same scores for the token d places further on in the block (Method 2.7).

For query i, place o of repeat r, the wrong token stands at place (o + d) mod L; its copies p are those in repeats
before r. Duplicate-token reads A[i, p], prefix matching A[i, p + 1], which for a copy at the block's end lies in the
next repeat, i's own one included. Summed over copies, averaged over queries; for prefix matching queries that reach no
target leave the mean, as in the score itself, and `olsson` divides by the pairs within reach. At d = 0 the tables hold
the scores: that is how they are tested.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from induction.null import shift_table
from induction.reading import Reader
from induction.sequences import SequenceGroup
from interp.attention.rows import AttentionRows

_BLOCK_ELEMENTS = 1 << 20
Table = Literal["duplicate", "prefix", "olsson"]


class WrongToken(Reader[SequenceGroup]):
    """Keeps [batch head d], d = 0..L-1, for the duplicate-token score and for both ways to count prefix matching."""

    name = "wrong token"

    def start(self, batch: SequenceGroup) -> None:
        super().start(batch)
        place = torch.arange(batch.block, device=batch.tokens.device)
        self._further = (place[:, None] + place).remainder(batch.block)  # [place d]

    def attention(self, layer: int, rows: AttentionRows) -> None:
        queries = (self.batch.repeats - 1) * self.batch.block
        copies = self._copies(rows)
        prefix = copies.roll(-1, -1) + self._ends(rows)  # a successor stands one place further on
        reached, pairs = self._reach(rows)
        self.keep("duplicate", layer, copies / queries)
        self.keep("prefix", layer, prefix / reached)
        self.keep("olsson", layer, prefix / pairs)

    def tables(self, name: Table) -> list[Float[Tensor, "_ layer head"]]:
        """For each sequence, its null values for d = 1..L-2."""
        return [shift_table(item, 0) for item in self.ragged(name)]

    def _copies(self, rows: AttentionRows) -> Float[Tensor, "batch head place"]:
        """Attention on place (o + k) mod L of all repeats before the query's, summed over queries."""
        batch, heads, _ = rows.shape
        length, repeats = self.batch.block, self.batch.repeats
        step = max(16, _BLOCK_ELEMENTS // (batch * heads * length * repeats))
        found = self._further.new_zeros(batch, heads, length, dtype=torch.float32)
        for repeat in range(1, repeats):
            first = 1 + repeat * length
            for start in range(0, length, step):
                stop = min(start + step, length)
                seen = rows.block(first + start, first + stop)[..., 1:first]
                folded = seen.unflatten(-1, (repeat, length)).sum(-2)
                found += folded.gather(-1, self._further[start:stop].expand_as(folded)).sum(-2)
        return found

    def _ends(self, rows: AttentionRows) -> Float[Tensor, "batch head place"]:
        """The successor of a copy at the block's end is place 0 of the next repeat, where `_copies` has this one's."""
        length, repeats = self.batch.block, self.batch.repeats
        queries = torch.arange(1 + length, 1 + repeats * length, device=self._further.device)
        own = queries - (queries - 1).remainder(length)
        change = rows.at(queries, own) - rows.at(queries, torch.ones_like(queries))
        by_place = change.unflatten(-1, (repeats - 1, length)).sum(-2).float()
        return by_place.flip(-1)  # at place o it is the token d = L - 1 - o places further on

    def _reach(self, rows: AttentionRows) -> tuple[Int[Tensor, " place"], Int[Tensor, " place"]]:
        """For each d, how many queries reach a successor, and how many (query, copy) pairs are within reach."""
        length, repeats = self.batch.block, self.batch.repeats
        ones = torch.ones(length, dtype=torch.long, device=self._further.device)
        queries = torch.arange(1 + length, 1 + repeats * length, device=ones.device)
        if bool(rows.reachable(queries, torch.ones_like(queries)).all()):
            return ones * len(queries), ones * (len(queries) * repeats // 2)
        reached, pairs = ones * 0, ones * 0
        for repeat in range(1, repeats):
            query = 1 + repeat * length + torch.arange(length, device=ones.device)[:, None].expand(-1, length)
            keys = [2 + earlier * length + self._further for earlier in range(repeat)]
            seen = torch.stack([rows.reachable(query.flatten(), key.flatten()).view(length, -1) for key in keys])
            reached += seen.any(0).sum(0)
            pairs += seen.sum((0, 1))
        return reached, pairs
