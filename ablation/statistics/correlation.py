"""Rank correlation of two score tables of one model: Spearman, Kendall, and Spearman within layers (Method 5).

1. Leave out the heads that either table has no value for (NaN: layers without softmax attention), and count them.
2. Rank the scores, tied scores sharing their mean rank: over all heads, or inside each layer.
3. Centre the ranks and scale them to length 1, so that a correlation is a dot product; that is also what the
   permutation tests and the reliabilities work with.
Within layers, a layer whose heads all score the same in either table says nothing: it is skipped and counted.
Scores of FFNs count as one head a layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.stats import kendalltau, rankdata

from ablation.statistics.given import Scored, table_of
from interp.errors import UsageError

Level = Literal["global", "within_layer"]


@dataclass(frozen=True)
class Correlation:
    """One coefficient in [-1, 1] (NaN where it is undefined) and what it was computed over.

    `layers_used` and `layers_skipped` count layers within-layer, and are None for a global coefficient.
    """

    statistic: str
    value: float
    n_heads: int
    heads_left_out: int
    layers_used: int | None = None
    layers_skipped: int | None = None


@dataclass(frozen=True)
class StandardRanks:
    """Centred ranks of length 1 in each block of heads (all heads, or one layer); zero where the block is constant.

    units: [... head], the valid heads in order of layer and head; varies: [... block], False where constant.
    """

    units: Float[np.ndarray, "*batch valid"]
    varies: Bool[np.ndarray, "*batch block"]


def shared_heads(*tables: Float[np.ndarray, "... layer head"]) -> Bool[np.ndarray, "layer head"]:
    """Heads that every table has a value for. Raises UsageError on infinite scores and on unequal shapes."""
    shapes = {table.shape[-2:] for table in tables}
    if len(shapes) != 1:
        raise UsageError(
            f"The score tables have shapes {sorted(shapes)}; rankings can be compared only between tables [layer head] "
            "of one shape. Compare scores of the same model."
        )
    valid = np.ones(shapes.pop(), dtype=bool)
    for table in tables:
        if np.isinf(table).any():
            raise UsageError(
                f"{int(np.isinf(table).sum())} scores are infinite; expected finite numbers, or NaN for layers without "
                "softmax attention. Compute the scores again in float32 or float64."
            )
        valid &= np.isfinite(table).reshape(-1, *valid.shape).all(axis=0)
    return valid


def head_blocks(valid: Bool[np.ndarray, "layer head"], level: Level) -> list[slice]:
    """Where each block starts and ends among the valid heads: one block for all, or one for each layer that has any."""
    if level == "global":
        return [slice(0, int(valid.sum()))]
    if level != "within_layer":
        raise UsageError(f"Unknown level {level!r}; expected 'global' or 'within_layer'.")
    ends = np.cumsum(valid.sum(axis=1))
    return [slice(int(start), int(end)) for start, end in zip([0, *ends[:-1]], ends, strict=True) if end > start]


def standard_ranks(
    scores: Float[np.ndarray, "*batch layer head"], *, valid: Bool[np.ndarray, "layer head"], level: Level
) -> StandardRanks:
    """Ranks with averaged ties, centred and of length 1 in each block; every leading axis is a batch axis."""
    flat = scores[..., valid]
    blocks = head_blocks(valid, level)
    units = np.zeros(flat.shape)
    varies = np.zeros((*flat.shape[:-1], len(blocks)), dtype=bool)
    for index, block in enumerate(blocks):
        heads = block.stop - block.start
        centred = rankdata(flat[..., block], axis=-1) - (heads + 1) / 2
        length = np.sqrt((centred**2).sum(axis=-1, keepdims=True))
        np.divide(centred, length, out=units[..., block], where=length > 0)
        varies[..., index] = length[..., 0] > 0
    return StandardRanks(units=units, varies=varies)


def mean_correlation(a: StandardRanks, b: StandardRanks) -> Float[np.ndarray, "*batch"]:
    """Spearman of every pair along the batch axes, averaged over the blocks that vary in both; NaN without any."""
    blocks = (a.varies & b.varies).sum(axis=-1)
    total = (a.units * b.units).sum(axis=-1)
    value = np.divide(total, blocks, out=np.full(np.shape(total), np.nan), where=blocks > 0)
    return np.asarray(np.clip(value, -1.0, 1.0))


def spearman(a: Scored, b: Scored) -> Correlation:
    """Spearman's rho of the scores over all heads, ties averaged (Method 5).

    Tables [layer head]: arrays, tensors, or scores, whose mean is taken.
    """
    return _spearman(table_of(a), table_of(b), level="global")


def spearman_within_layers(a: Scored, b: Scored) -> Correlation:
    """Mean over layers of Spearman's rho inside the layer: blind to a trend over layers (Method 5)."""
    return _spearman(table_of(a), table_of(b), level="within_layer")


def _spearman(a: Shaped[np.ndarray, "..."], b: Shaped[np.ndarray, "..."], *, level: Level) -> Correlation:
    valid = shared_heads(a, b)
    ranks_a, ranks_b = (standard_ranks(scores, valid=valid, level=level) for scores in (a, b))
    used = int((ranks_a.varies & ranks_b.varies).sum())
    layers = {} if level == "global" else {"layers_used": used, "layers_skipped": ranks_a.varies.size - used}
    return Correlation(
        statistic="spearman" if level == "global" else "spearman_within_layers",
        value=float(mean_correlation(ranks_a, ranks_b)),
        n_heads=int(valid.sum()),
        heads_left_out=int((~valid).sum()),
        **layers,
    )


def kendall(a: Scored, b: Scored) -> Correlation:
    """Kendall's tau-b of the scores over all heads (Method 5)."""
    a, b = table_of(a), table_of(b)
    valid = shared_heads(a, b)
    left, right = a[valid].astype(np.float64), b[valid].astype(np.float64)
    undefined = left.size < 2 or np.ptp(left) == 0 or np.ptp(right) == 0
    return Correlation(
        statistic="kendall_tau_b",
        value=float("nan") if undefined else float(kendalltau(left, right).statistic),
        n_heads=left.size,
        heads_left_out=int((~valid).sum()),
    )


def bansal_released(a: Scored, b: Scored) -> Correlation:
    """What the paper's released script calls the rank correlation: Spearman of the two `argsort` outputs (Method 5).

    It correlates the NUMBERS of the heads that stand at equal places of the two orders, not the ranks of one head in
    both: identical rankings give 1, but strongly related ones come out near 0, and a trend over layers alone passes
    for agreement. It is here for comparison with the paper's figures only; read `spearman` instead.
    """
    a, b = table_of(a), table_of(b)
    valid = shared_heads(a, b)
    orders = [np.argsort(scores[valid], kind="stable").astype(np.float64)[None] for scores in (a, b)]
    every = np.ones((1, orders[0].size), dtype=bool)
    ranks = [standard_ranks(order, valid=every, level="global") for order in orders]
    return Correlation(
        statistic="bansal_released",
        value=float(mean_correlation(*ranks)),
        n_heads=int(valid.sum()),
        heads_left_out=int((~valid).sum()),
    )
