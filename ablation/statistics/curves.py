"""Summaries of a pruning curve: at chance or not, the area under it, the share that can be removed (Method 4).

- At chance: the full model's lower 95% bound is not above both chance and the majority share.
- Area: trapezoid over p of (m(p) - c) / (m(0) - c), divided by the range of p; 1 = pruning costs nothing.
- Removable share: the largest p such that EVERY p' <= p has a one-sided 95% lower bound of the paired difference from
  the full model above -2 points (metric) or -.05 nats (mean gold log-likelihood).
Clusters are the unit of every bound. Values are pruning percentages x items, item by item paired with the full model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from ablation.statistics.intervals import PAIRED_LOSS, PROPORTION, cluster_mean, cluster_ratio
from ablation.statistics.permutation import ROUNDING
from interp.errors import UsageError

Outcome = Literal["metric", "log_likelihood"]

METRIC_MARGIN = 0.02
LOG_LIKELIHOOD_MARGIN = 0.05


@dataclass(frozen=True)
class ChanceCheck:
    """The full model's metric and its lower bound beside chance and the majority share."""

    metric: float
    lower_bound: float
    chance: float
    majority: float
    at_chance: bool
    n_items: int
    n_clusters: int


@dataclass(frozen=True)
class PruningArea:
    """Normalised area under a pruning curve; NaN where the full model is not above chance by any amount.

    A task whose `check.at_chance` holds is plotted but left out of summaries.
    """

    value: float
    ci_low: float
    ci_high: float
    check: ChanceCheck


@dataclass(frozen=True)
class RemovableShare:
    """The largest percentage that costs less than the margin, with the paired differences it rests on."""

    outcome: Outcome
    margin: float
    percent: float
    percents: Float[np.ndarray, "percent"]
    difference: Float[np.ndarray, "percent"]
    lower_bound: Float[np.ndarray, "percent"]
    n_items: int
    n_clusters: int


def chance_check(
    metric: Float[np.ndarray, "item"],
    chance: Float[np.ndarray, "item"],
    clusters: Int[np.ndarray, "item"],
    *,
    majority: float = 0.0,
) -> ChanceCheck:
    """Is the full model above chance (mean of 1 / #choices) and above the majority share?"""
    _check_unit_range(metric)
    bound = cluster_mean(metric, clusters, pseudo=PROPORTION)
    lower, chance_level = bound.lower_bound(), float(chance.mean())
    return ChanceCheck(
        metric=bound.value,
        lower_bound=lower,
        chance=chance_level,
        majority=majority,
        at_chance=not lower > max(chance_level, majority),
        n_items=bound.n_items,
        n_clusters=bound.n_clusters,
    )


def area_under_curve(
    metric: Float[np.ndarray, "percent item"],
    chance: Float[np.ndarray, "item"],
    clusters: Int[np.ndarray, "item"],
    *,
    percents: Sequence[int | float],
    majority: float = 0.0,
) -> PruningArea:
    """Area under the normalised pruning curve and its interval by cluster, as a ratio of two sums over items."""
    grid = check_percents(percents, len(metric))
    check = chance_check(metric[0], chance, clusters, majority=majority)
    above = np.trapezoid(metric - chance, x=grid, axis=0) / (grid[-1] - grid[0])
    area = cluster_ratio(above, metric[0] - chance, clusters)
    if not check.metric > check.chance:
        return PruningArea(value=float("nan"), ci_low=float("nan"), ci_high=float("nan"), check=check)
    low, high = area.interval()
    return PruningArea(value=area.value, ci_low=low, ci_high=high, check=check)


def removable_share(
    values: Float[np.ndarray, "percent item"],
    clusters: Int[np.ndarray, "item"],
    *,
    percents: Sequence[int | float],
    outcome: Outcome,
) -> RemovableShare:
    """How much can go; `values` are the items' metric (0 to 1) or gold log-likelihood (nats), the full model first."""
    if outcome not in ("metric", "log_likelihood"):
        raise UsageError(f"Unknown outcome {outcome!r}; expected 'metric' or 'log_likelihood'.")
    grid = check_percents(percents, len(values))
    if outcome == "metric":
        _check_unit_range(values)
    margin = METRIC_MARGIN if outcome == "metric" else LOG_LIKELIHOOD_MARGIN
    pseudo = PAIRED_LOSS if outcome == "metric" else ()
    estimates = [cluster_mean(row - values[0], clusters, pseudo=pseudo) for row in values[1:]]
    # Nothing is removed at p = 0: the difference is 0 by definition, not by measurement.
    lower = np.array([0.0] + [estimate.lower_bound() for estimate in estimates])
    holds = np.logical_and.accumulate(lower > -margin + ROUNDING)
    return RemovableShare(
        outcome=outcome,
        margin=margin,
        percent=float(grid[holds][-1]),
        percents=grid,
        difference=np.array([0.0] + [estimate.value for estimate in estimates]),
        lower_bound=lower,
        n_items=estimates[0].n_items,
        n_clusters=estimates[0].n_clusters,
    )


def check_percents(percents: Sequence[int | float], rows: int) -> Float[np.ndarray, "percent"]:
    """The percentages as an array. Raises UsageError unless there is one a row, ascending from 0."""
    grid = np.array(percents, dtype=np.float64)
    if len(grid) != rows or rows < 2 or grid[0] != 0 or (np.diff(grid) <= 0).any():
        raise UsageError(
            f"A pruning curve needs two rows or more, one a percentage, ascending from 0 (the full model); got {rows} "
            f"rows for percentages {list(percents)}."
        )
    return grid


def _check_unit_range(metric: Float[np.ndarray, "*percent item"]) -> None:
    if not ((metric >= 0) & (metric <= 1)).all():
        raise UsageError(
            f"A metric lies between 0 (wrong) and 1 (right) on every item; got {metric.min()} to {metric.max()}."
        )
