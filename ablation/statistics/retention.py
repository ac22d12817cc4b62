"""Retention: how much of a score is still in the model after the least important heads are pruned (Method 5; Fig. 11).

1. Remove the floor(p n / 100) heads of lowest importance; heads tied at the cut go with equal chance, so each counts by
   the share of them that stays (the exact mean over random tie-breaks).
2. Share of the total score that is left, on the raw score and on the excess over its null, max(0, s - null mean). A
   score that all heads have alike, as raw copying nearly is, falls along the diagonal by construction; its excess need
   not.
3. Beside it the diagonal: what pruning in random order leaves on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ablation.statistics.correlation import shared_heads
from ablation.statistics.given import Scored, table_of, whole_percents
from interp.errors import UsageError


@dataclass(frozen=True)
class Retention:
    """Shares in [0, 1] of the total score left at each percentage; `excess` is None without a null, NaN if it is 0."""

    percent: Int[np.ndarray, "percent"]
    removed: Int[np.ndarray, "percent"]
    raw: Float[np.ndarray, "percent"]
    excess: Float[np.ndarray, "percent"] | None
    diagonal: Float[np.ndarray, "percent"]
    n_heads: int
    heads_left_out: int


def retention(
    score: Scored,
    importance: Scored,
    *,
    null_mean: Scored | None = None,
    percents: Sequence[int] = tuple(range(0, 100, 10)),
) -> Retention:
    """Share of `score` that survives pruning by `importance`, lowest first.

    Tables [layer head]: arrays, tensors, or scores, whose mean is taken.
    Raises UsageError for negative scores (a share of a total that cancels means nothing) and percentages outside
    0..100.
    """
    score, importance, percents = table_of(score), table_of(importance), whole_percents(percents)
    null_mean = None if null_mean is None else table_of(null_mean)
    valid = shared_heads(score, importance, *(() if null_mean is None else (null_mean,)))
    flat = score[valid].astype(np.float64)
    if not flat.size or flat.min() < 0:
        raise UsageError(
            f"Retention is a share of a total, so scores must not be negative; got {int((flat < 0).sum())} negative "
            f"ones among {flat.size} heads. For signed scores compare rankings instead."
        )
    if any(not 0 <= percent <= 100 for percent in percents):
        raise UsageError(f"Percentages of pruned heads lie between 0 and 100; got {list(percents)}.")
    removed = np.array([percent * flat.size // 100 for percent in percents])
    excess = None if null_mean is None else np.maximum(0.0, flat - null_mean[valid])
    return Retention(
        percent=np.array(percents),
        removed=removed,
        raw=share_left(flat, importance[valid], removed),
        excess=None if excess is None else share_left(excess, importance[valid], removed),
        diagonal=1 - removed / flat.size,
        n_heads=flat.size,
        heads_left_out=int((~valid).sum()),
    )


def share_left(
    score: Float[np.ndarray, "head"], importance: Float[np.ndarray, "head"], removed: Int[np.ndarray, "cut"]
) -> Float[np.ndarray, "cut"]:
    """Share of the total left without the lowest heads; heads of equal importance lose their mean score each."""
    level, group_of, size = np.unique(importance, return_inverse=True, return_counts=True)
    mean = np.bincount(group_of, weights=score, minlength=level.size) / size
    lost = np.concatenate([[0.0], np.cumsum(np.repeat(mean, size))])
    if lost[-1] == 0:
        return np.full(removed.shape, np.nan)
    return np.clip(1 - lost[removed] / lost[-1], 0.0, 1.0)
