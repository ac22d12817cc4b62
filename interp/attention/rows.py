"""What a listener gets from one attention layer: probabilities at pairs, or in blocks of query rows.

A[i, j] = exp(scale q_i · k_j + bias_ij - lse_i): the fused kernel already knows the row-wise log-sum-exp, so any entry
costs one dot product and the matrix is never built (Method 0: mask, bias, soft-cap and sink included, float32 whatever
the model's dtype).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.attention.mask import allowed_pairs, allowed_rows, bias_rows, is_biased

PAIR_ELEMENTS = 1 << 18
BLOCK_ELEMENTS = 1 << 20


@runtime_checkable
class AttentionRows(Protocol):
    """One layer's attention of one batch."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """batch, heads, positions."""
        ...

    def at(self, queries: Int[Tensor, " pair"], keys: Int[Tensor, " pair"]) -> Float[Tensor, "batch head pair"]:
        """A at the pairs (queries[n], keys[n]), the same pairs in every sequence."""
        ...

    def block(self, start: int, stop: int) -> Float[Tensor, "batch head query key"]:
        """The rows start..stop-1 against keys 0..stop-1; later keys hold 0."""
        ...

    def reachable(self, queries: Int[Tensor, " pair"], keys: Int[Tensor, " pair"]) -> Bool[Tensor, " pair"]:
        """Which pairs causality, windows and padding allow in every sequence, whatever else content drops."""
        ...

    def finite(self) -> Bool[Tensor, "batch head query"]:
        """Which rows are numbers: a query, or a key at or before it, beyond the dtype's range makes none."""
        ...


def blocks(rows: AttentionRows, start: int = 0) -> Iterator[tuple[int, int, Tensor]]:
    """(first row, end row, probabilities) over all query rows, in blocks small enough for the processor's cache."""
    batch, heads, length = rows.shape
    size = max(16, BLOCK_ELEMENTS // max(1, batch * heads * length))
    for first in range(start, length, size):
        last = min(first + size, length)
        yield first, last, rows.block(first, last)


@dataclass(frozen=True)
class FactoredRows:
    """Rows from q, k and the log-sum-exp of each row; reach: what is allowed before content decides, else the mask."""

    q: Float[Tensor, "batch head query d_head"]
    k: Float[Tensor, "batch kv_head key d_head"]
    lse: Float[Tensor, "batch head query"]
    scale: float
    mask: Tensor | None = None
    softcap: float | None = None
    reach: Bool[Tensor, "..."] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.q.shape[0], self.q.shape[1], self.q.shape[2]

    def at(self, queries: Int[Tensor, " pair"], keys: Int[Tensor, " pair"]) -> Float[Tensor, "batch head pair"]:
        queries, keys = queries.to(self.q.device), keys.to(self.q.device)
        batch, heads, _ = self.shape
        size = max(1, PAIR_ELEMENTS // (batch * heads * self.q.shape[-1]))
        parts = [self._at(q, k) for q, k in zip(queries.split(size), keys.split(size), strict=True)]
        return torch.cat(parts, dim=-1) if parts else self.lse.new_zeros(batch, heads, 0)

    def _at(self, queries: Tensor, keys: Tensor) -> Tensor:
        # positions first: the order in which most families keep them, so that a pair's heads lie side by side
        q = at_least_float32(self.q.transpose(1, 2).index_select(1, queries))
        k = at_least_float32(self.k.transpose(1, 2).index_select(1, keys))
        logits = rearrange(q, "b n (kv g) d -> b n kv g d", kv=k.shape[2]) @ k.unsqueeze(-1)
        logits = rearrange(logits, "b n kv g 1 -> b (kv g) n")
        logits = self._capped(logits)
        if self.mask is not None and is_biased(self.mask):
            logits = logits + self.mask[:, :, queries, keys]
        probabilities = torch.exp(logits - self.lse[:, :, queries])
        return probabilities.masked_fill_(~allowed_pairs(self.mask, queries, keys), 0.0)

    def block(self, start: int, stop: int) -> Float[Tensor, "batch head query key"]:
        logits = block_logits(self.q[:, :, start:stop], self.k[:, :, :stop])
        logits, bias = self._capped(logits), bias_rows(self.mask, start, stop, stop)
        logits = logits if bias is None else logits + bias
        probabilities = logits.sub_(self.lse[:, :, start:stop, None]).exp_()
        allowed = allowed_rows(self.mask, start, stop, stop, device=self.q.device)
        return probabilities.masked_fill_(~allowed, 0.0)

    def reachable(self, queries: Int[Tensor, " pair"], keys: Int[Tensor, " pair"]) -> Bool[Tensor, " pair"]:
        mask = self.mask if self.reach is None else self.reach
        return allowed_pairs(mask, queries, keys).flatten(0, 1).all(0)

    def finite(self) -> Bool[Tensor, "batch head query"]:
        # Not by the log-sum-exp alone: fused kernels may pass over a NaN when they look for the largest logit.
        queries, keys = (_sums(each).isfinite() for each in (self.q, self.k))
        before = (~keys).cumsum(-1).repeat_interleave(self.q.shape[1] // self.k.shape[1], dim=1) > 0
        return self.lse.isfinite() & queries & ~before

    def _capped(self, logits: Tensor) -> Tensor:
        return cap(logits.mul_(self.scale), self.softcap)


@dataclass(frozen=True)
class PatternRows:
    """Rows from a pattern that is already there."""

    pattern: Float[Tensor, "batch head query key"]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.pattern.shape[0], self.pattern.shape[1], self.pattern.shape[2]

    def at(self, queries: Int[Tensor, " pair"], keys: Int[Tensor, " pair"]) -> Float[Tensor, "batch head pair"]:
        return self.pattern[:, :, queries, keys].float()

    def block(self, start: int, stop: int) -> Float[Tensor, "batch head query key"]:
        return self.pattern[:, :, start:stop, :stop].float()

    def reachable(self, queries: Int[Tensor, " pair"], keys: Int[Tensor, " pair"]) -> Bool[Tensor, " pair"]:
        """No mask at hand: the window is as wide as the furthest look back that any query gives something."""
        later, earlier = (self.pattern != 0).flatten(0, 1).any(0).nonzero(as_tuple=True)
        back = queries - keys
        return (back >= 0) & (back <= int((later - earlier).max()))

    def finite(self) -> Bool[Tensor, "batch head query"]:
        return self.pattern.isfinite().all(-1)


def block_logits(
    q: Float[Tensor, "batch head query d_head"], k: Float[Tensor, "batch kv_head key d_head"]
) -> Float[Tensor, "batch head query key"]:
    """q k^T in float32 (float64 stays), key heads shared by their group of query heads."""
    rows = q.shape[2]
    grouped = rearrange(at_least_float32(q), "b (kv g) q d -> b kv (g q) d", kv=k.shape[1])
    return rearrange(grouped @ at_least_float32(k).mT, "b kv (g q) k -> b (kv g) q k", q=rows)


def _sums(vectors: Float[Tensor, "*place d_head"]) -> Float[Tensor, "*place"]:
    """Finite where every component is, in one pass."""
    return vectors.sum(-1, dtype=None if vectors.dtype == torch.float64 else torch.float32)


def at_least_float32(tensor: Tensor) -> Tensor:
    """float32 whatever the model's dtype; float64 stays."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def cap(logits: Tensor, softcap: float | None) -> Tensor:
    """Gemma 2's soft-capping, where a family has it."""
    return logits if softcap is None else torch.tanh(logits / softcap) * softcap
