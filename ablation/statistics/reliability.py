"""Reliability of a ranking: how well it would agree with itself on other documents (Method 5).

1. Split the clusters into two random halves, at least 50 times, and rank the heads on each half.
2. q = mean Spearman between the two halves; rel = 2q / (1 + q) steps it up to the full number of items
   (Spearman-Brown).
3. Within-layer rankings have a within-layer reliability.
4. Documents that would do: Spearman and Brown's formula read backwards. m times the documents have the reliability
   m rel / (1 + (m - 1) rel), so that a wanted one takes m = wanted (1 - rel) / (rel (1 - wanted)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ablation.statistics.clusters import Resampled, finite_heads
from ablation.statistics.correlation import Level, mean_correlation, standard_ranks
from interp.errors import UsageError

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


def documents_for_reliability(reliability: float, documents: int, *, wanted: float = LOW_RELIABILITY) -> float:
    """How many documents would bring a ranking to the wanted reliability; infinite where it has none to build on.

    documents: those that the reliability was found on. Where clusters hold several, they are taken to go on doing so.
    """
    if not 0 < wanted < 1 or documents < 1:
        raise UsageError(
            f"A reliability to plan for lies between 0 and 1, on a document or more; got {wanted} on {documents}."
        )
    if not reliability > 0:
        return math.inf
    if reliability >= 1:
        return 1.0
    return float(math.ceil(documents * wanted * (1 - reliability) / (reliability * (1 - wanted)) - 1e-9))


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
