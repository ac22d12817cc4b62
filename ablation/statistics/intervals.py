"""Intervals whose unit is the cluster: means, ratios, means over tasks, and their one-sided bounds (Method 4, 5).

1. A mean over items, or a ratio of two sums, is linearised: each cluster's residual is its numerator - value x its
   denominator; C / (C - 1) x sum of squares / (sum of denominators)² is the variance. With one item a cluster this is
   the ordinary standard error of a mean.
2. Bounds use Student's t with C - 1 degrees of freedom.
3. Outcomes that are right or wrong can show no variance at all, and a bound that then equals the estimate would reward
   small tasks. Pseudo-clusters of average size mend this, in the manner of Agresti and Coull 1998: they bring the bound
   to Wilson's score bound, which is right for rare changes too ("0 of 50 got worse" does not exclude a loss of 5
   points). The reported value stays the plain one, only the bound moves.
4. A mean over tasks takes each task alike.
   Tasks fixed: these tasks and no others. What is drawn is each one's documents, in whole clusters, so that the
   variance of the mean is the sum of the tasks' own variances over the number of tasks squared; how far the tasks are
   apart is no part of it. Student's t with Welch's and Satterthwaite's degrees of freedom, (sum of variances)² over the
   sum of each variance² / (clusters - 1); with one task these are its clusters - 1.
   Tasks random: a sample of the tasks there could be. The standard error is that of a mean of as many numbers, which
   holds the documents' noise as well; Student's t with tasks - 1. One task says nothing about others, and has no such
   interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm, t

from ablation.statistics.clusters import sum_by_label
from interp.errors import UsageError


@dataclass(frozen=True)
class PseudoClusters:
    """`weight` clusters of average size whose items all have `value`."""

    value: float
    weight: float


@runtime_checkable
class Estimate(Protocol):
    """What has a value, a standard error with its degrees of freedom, and the items it rests on."""

    @property
    def value(self) -> float: ...
    @property
    def stderr(self) -> float: ...
    @property
    def centre(self) -> float: ...
    @property
    def freedom(self) -> float: ...
    @property
    def n_items(self) -> int: ...
    def interval(self, confidence: float = 0.95) -> tuple[float, float]: ...


class StudentBounds:
    """Bounds of an estimate by Student's t, around its centre."""

    def lower_bound(self: Estimate, confidence: float = 0.95) -> float:
        """One-sided lower bound."""
        return self.centre - float(t.ppf(confidence, self.freedom)) * self.stderr

    def upper_bound(self: Estimate, confidence: float = 0.95) -> float:
        """One-sided upper bound."""
        return self.centre + float(t.ppf(confidence, self.freedom)) * self.stderr

    def interval(self: Estimate, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided interval."""
        reach = float(t.ppf((1 + confidence) / 2, self.freedom)) * self.stderr
        return self.centre - reach, self.centre + reach


@dataclass(frozen=True)
class ClusterEstimate(StudentBounds):
    """A mean or ratio with its standard error; bounds stand around `centre` (= value without pseudo-clusters)."""

    value: float
    stderr: float
    centre: float
    n_items: int
    n_clusters: int

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the standard error."""
        return float(self.n_clusters - 1)


# z²/2 with z of a one-sided 95% bound: so many successes and failures for a proportion, so many losses for the lower
# bound of a paired difference, where it is the rare losses that a small sample misses, so many gains for the upper one.
HALF_Z_SQUARED = float(norm.ppf(0.95)) ** 2 / 2
PROPORTION = (PseudoClusters(0.0, HALF_Z_SQUARED), PseudoClusters(1.0, HALF_Z_SQUARED))
PAIRED_LOSS = (PseudoClusters(-1.0, HALF_Z_SQUARED),)
PAIRED_GAIN = (PseudoClusters(1.0, HALF_Z_SQUARED),)


def cluster_mean(
    values: Float[np.ndarray, "item"],
    clusters: Int[np.ndarray, "item"],
    *,
    pseudo: tuple[PseudoClusters, ...] = (),
    copies: float = 1.0,
) -> ClusterEstimate:
    """Mean over items, standard error over clusters."""
    return cluster_ratio(values, np.ones(values.shape), clusters, pseudo=pseudo, copies=copies)


def cluster_ratio(
    numerators: Float[np.ndarray, "item"],
    denominators: Float[np.ndarray, "item"],
    clusters: Int[np.ndarray, "item"],
    *,
    pseudo: tuple[PseudoClusters, ...] = (),
    copies: float = 1.0,
) -> ClusterEstimate:
    """Sum of numerators / sum of denominators, standard error over clusters; NaN where the denominators sum to 0.

    copies: as if so many times as many clusters like these had been there, for planning. Raises UsageError with fewer
    than two clusters, unequal lengths, or values that are not finite.
    """
    return ClusterSums.of(numerators, denominators, clusters).estimate(pseudo=pseudo, copies=copies)


@dataclass(frozen=True)
class ClusterSums:
    """Numerators and denominators summed by cluster: all that a ratio and its error need."""

    above: Float[np.ndarray, "cluster"]
    below: Float[np.ndarray, "cluster"]
    n_items: int

    @classmethod
    def of(
        cls,
        numerators: Float[np.ndarray, "item"],
        denominators: Float[np.ndarray, "item"],
        clusters: Int[np.ndarray, "item"],
    ) -> ClusterSums:
        """Raises UsageError with fewer than two clusters, unequal lengths, or values that are not finite."""
        return cls(*_cluster_sums(numerators, denominators, clusters), numerators.size)

    def estimate(self, *, pseudo: tuple[PseudoClusters, ...] = (), copies: float = 1.0) -> ClusterEstimate:
        """The ratio, with pseudo-clusters in its bounds, as if each cluster had been there so many times."""
        real, size = self.above.size, self.below.mean()
        weight = np.concatenate([np.full(real, copies), [part.weight for part in pseudo]])
        above = np.concatenate([self.above, [part.value * size for part in pseudo]])
        below = np.concatenate([self.below, np.full(len(pseudo), size)])
        total, count = (weight * below).sum(), weight.sum()
        n_items, n_clusters = round(copies * self.n_items), round(copies * real)
        if total == 0:
            return ClusterEstimate(math.nan, math.nan, math.nan, n_items, n_clusters)
        centre = (weight * above).sum() / total
        squares = (weight * (above - centre * below) ** 2).sum()
        return ClusterEstimate(
            value=float(self.above.sum() / self.below.sum()),
            stderr=float(np.sqrt(count / (count - 1) * squares) / abs(total)),
            centre=float(centre),
            n_items=n_items,
            n_clusters=n_clusters,
        )


def _cluster_sums(
    numerators: Float[np.ndarray, "item"], denominators: Float[np.ndarray, "item"], clusters: Int[np.ndarray, "item"]
) -> tuple[Float[np.ndarray, "cluster"], Float[np.ndarray, "cluster"]]:
    if not len(numerators) == len(denominators) == len(clusters):
        raise UsageError(
            f"There are {len(numerators)} values, {len(denominators)} denominators and {len(clusters)} cluster labels; "
            "expected one of each an item."
        )
    if not (np.isfinite(numerators).all() and np.isfinite(denominators).all()):
        raise UsageError(f"{int((~np.isfinite(numerators)).sum())} of {len(numerators)} values are not finite numbers.")
    labels, cluster_of = np.unique(clusters, return_inverse=True)
    if labels.size < 2:
        raise UsageError(f"An interval needs two clusters or more; got {labels.size}. Evaluate more documents.")
    return sum_by_label(numerators, cluster_of, labels.size), sum_by_label(denominators, cluster_of, labels.size)


def cluster_numbers(labels: Sequence[str]) -> Int[np.ndarray, "item"]:
    """Equal labels, equal numbers, from 0 on in the order of the labels."""
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64)


# --- over tasks -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TasksMean(StudentBounds):
    """The mean over tasks; bounds stand around `centre` (= value without pseudo-clusters), NaN without a variance.

    n_items: documents, or units of the metric, of all tasks together.
    """

    value: float
    stderr: float
    centre: float
    freedom: float
    n_tasks: int
    n_items: int = 0


def mean_over_tasks(tasks: Sequence[ClusterEstimate]) -> TasksMean:
    """The mean with the tasks fixed. Raises UsageError without a task."""
    _refuse_none(tasks)
    variances = np.array([task.stderr**2 for task in tasks])
    spare = np.array([task.freedom for task in tasks])
    total = float(variances.sum())
    shares = float((variances[variances > 0] ** 2 / spare[variances > 0]).sum())
    return TasksMean(
        value=float(np.mean([task.value for task in tasks])),
        stderr=math.sqrt(total) / len(tasks),
        centre=float(np.mean([task.centre for task in tasks])),
        freedom=total**2 / shares if shares > 0 else float(spare.sum()),
        n_tasks=len(tasks),
        n_items=sum(task.n_items for task in tasks),
    )


def mean_over_random_tasks(tasks: Sequence[ClusterEstimate]) -> TasksMean:
    """The mean with the tasks taken for a sample; NaN for its error with a single one. UsageError without a task."""
    _refuse_none(tasks)
    values = np.array([task.value for task in tasks])
    count = values.size
    return TasksMean(
        value=float(values.mean()),
        stderr=float(values.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan,
        centre=float(values.mean()),
        freedom=float(count - 1) if count > 1 else math.nan,
        n_tasks=count,
        n_items=sum(task.n_items for task in tasks),
    )


def _refuse_none(tasks: Sequence[ClusterEstimate]) -> None:
    if not tasks:
        raise UsageError("A mean over tasks needs at least one task; got none. See which tasks pass the screen.")


def band(values: Float[np.ndarray, "draw"]) -> tuple[float, float]:
    """5th and 95th percentile over draws; NaN where one of them has no number."""
    if not np.isfinite(values).all():
        return math.nan, math.nan
    low, high = np.quantile(values, (0.05, 0.95))
    return float(low), float(high)
