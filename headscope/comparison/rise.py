"""Does a score agree better with one ranking than with another? (Method 5: 5 shots against 0, or shuffled labels)

1. Statistic: Spearman within layers with the first ranking, minus the same with the second.
2. Interval: the delete-a-group jackknife. The rankings share their documents, so that the same groups are left out of
   both at once; the score's own sequences add their variance.
3. p: the score's heads are permuted within layers, in key-value groups, which keeps the two rankings' agreement with
   each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import norm

from ablation.statistics import Level, permutation_count
from ablation.statistics.clusters import same_clusters
from ablation.statistics.correlation import head_blocks, mean_correlation, shared_heads, standard_ranks
from ablation.statistics.jackknife import jackknife_variance
from ablation.statistics.kv_groups import group_of_valid, permuted_heads
from ablation.statistics.permutation import ROUNDING
from headscope.comparison.scored import Scored
from headscope.store.comparisons import NO_INTERVAL

LEVEL: Level = "within_layer"


@dataclass(frozen=True)
class Rise:
    """rho with the first minus rho with the second; `p(family)` permutes B = max(9999, 100 family) times."""

    value: float
    interval: tuple[float, float]
    n_heads: int
    score: Float[np.ndarray, "layer head"]
    first: Float[np.ndarray, "layer head"]
    second: Float[np.ndarray, "layer head"]
    seed: int
    groups: Int[np.ndarray, "layer head"] | None = None

    def p(self, family: int) -> float:
        """Two-sided, (b + 1) / (B + 1)."""
        valid = shared_heads(self.score, self.first, self.second)
        score, first, second = (
            standard_ranks(table, valid=valid, level=LEVEL) for table in (self.score, self.first, self.second)
        )
        weights = first.units / max(1, int((score.varies & first.varies).sum()))
        weights = weights - second.units / max(1, int((score.varies & second.varies).sum()))
        count, generator = permutation_count(family), np.random.default_rng(self.seed)
        inside = group_of_valid(self.groups, valid)
        order = permuted_heads(head_blocks(valid, LEVEL), count, generator, groups=inside)
        drawn = score.units[order] @ weights
        extreme = int((np.abs(drawn) >= abs(float(score.units @ weights)) - ROUNDING).sum())
        return (extreme + 1) / (count + 1)


def rise(
    score: Scored, first: Scored, second: Scored, *, groups: Int[np.ndarray, "layer head"] | None = None, seed: int = 0
) -> Rise:
    """The difference of the two agreements; groups: the key-value group of every head."""
    tables = score.table, first.table, second.table
    valid = shared_heads(*tables)
    value = float(_rho(tables[0], tables[1], valid) - _rho(tables[0], tables[2], valid))
    reach = float(norm.ppf(0.975)) * math.sqrt(_variance(score, first, second, valid))
    interval = (value - reach, value + reach) if math.isfinite(reach) else NO_INTERVAL
    return Rise(value, interval, int(valid.sum()), *tables, seed, groups)


def _variance(score: Scored, first: Scored, second: Scored, valid: Bool[np.ndarray, "layer head"]) -> float:
    """NaN with too few documents."""
    parts = score.resampled, first.resampled, second.resampled
    if parts[1] is None or parts[2] is None:
        return math.nan
    total = 0.0
    if parts[0] is not None:
        moved = _rho(parts[0].deleted, first.table, valid) - _rho(parts[0].deleted, second.table, valid)
        total += jackknife_variance(moved, parts[0].kept_groups)
    left, right = (_rho(part.deleted, score.table, valid) for part in parts[1:] if part is not None)
    if same_clusters(parts[1], parts[2]):
        return total + jackknife_variance(left - right, parts[1].kept_groups)
    return total + sum(
        jackknife_variance(moved, part.kept_groups) for moved, part in ((left, parts[1]), (right, parts[2]))
    )


def _rho(
    a: Float[np.ndarray, "*table layer head"], b: Float[np.ndarray, "layer head"], valid: Bool[np.ndarray, "layer head"]
) -> Float[np.ndarray, "*table"]:
    return mean_correlation(*(standard_ranks(scores, valid=valid, level=LEVEL) for scores in (a, b)))
