"""Reliability of a ranking: how well it would agree with itself on other documents (Method 5).

1. Split the clusters into two random halves, at least 50 times, and rank the heads on each half.
2. q = mean Spearman between the two halves; rel = 2q / (1 + q) steps it up to the full number of items
   (Spearman-Brown).
Within-layer rankings have a within-layer reliability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ablation.statistics.clusters import Resampled, finite_heads
from ablation.statistics.correlation import Level, mean_correlation, standard_ranks

LOW_RELIABILITY = 0.6


@dataclass(frozen=True)
class Reliability:
    """rel = 2q / (1 + q), at most 1; `low` says that it is under .6, or undefined."""

    level: Level
    value: float
    half_correlation: float
    low: bool
    splits: int
    n_clusters: int
    n_heads: int
    heads_left_out: int


def reliability(table: Resampled, *, level: Level) -> Reliability:
    """Reliability of one ranking, from the halves of `resample`."""
    return reliability_over(table, finite_heads(table), level=level)


def reliability_over(table: Resampled, valid: Bool[np.ndarray, "layer head"], *, level: Level) -> Reliability:
    """The same over the heads of `valid` alone, for a comparison with a table that knows fewer heads."""
    q = half_correlation(table.halves[:, 0], table.halves[:, 1], valid, level=level)
    value = 2 * q / (1 + q) if q > -1 else float("-inf")
    return Reliability(
        level=level,
        value=value,
        half_correlation=q,
        low=not value >= LOW_RELIABILITY,
        splits=len(table.halves),
        n_clusters=table.cluster_ids.size,
        n_heads=int(valid.sum()),
        heads_left_out=int((~valid).sum()),
    )


def half_correlation(
    first: Float[np.ndarray, "split layer head"],
    second: Float[np.ndarray, "split layer head"],
    valid: Bool[np.ndarray, "layer head"],
    *,
    level: Level,
) -> float:
    """Mean over the splits of Spearman between a table on one half and a table on the other."""
    ranks = [standard_ranks(halves, valid=valid, level=level) for halves in (first, second)]
    return float(mean_correlation(*ranks).mean())
