"""Scores item by item, and the same scores on part of the items: without some groups, on one half (Method 4-5).

Documents that share a passage are not independent, so items are drawn, split and left out by whole clusters.
1. Sum the items of each cluster.
2. Deal the clusters at random into 20 groups and leave out a fifth of the groups at a time (for the jackknife); deal
   them, many times, into two halves (for the reliability).
3. Score a subset exactly as the whole: sum of its scores / sum of its sizes, heads without a value left NaN.
With several tasks the score is the aggregate of Method 4 (aggregate.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ablation.statistics.aggregate import aggregate_tables
from interp.errors import UsageError

MINIMUM_CLUSTERS = 4
# One group in so many is left out at a time, and every group so many times.
DELETED_SHARE = 5
ROUNDS = 20


@dataclass(frozen=True)
class ClusteredScores:
    """Scores of one table, item by item, and which items belong together.

    per_item: the summand of each item; NaN where the head has no value on it.
    clusters: any integer labels; items with one label are kept together.
    sizes: what each item adds to the denominator (Method 3.1's N), by layer; 1 an item if None.
    tasks: the task of each item where the table is an aggregate over tasks; None for one task.
    """

    per_item: Float[np.ndarray, "item layer head"]
    clusters: Int[np.ndarray, "item"]
    sizes: Float[np.ndarray, "item layer"] | None = None
    tasks: Int[np.ndarray, "item"] | None = None

    def __post_init__(self) -> None:
        items = len(self.per_item)
        lengths = [len(part) for part in (self.clusters, self.sizes, self.tasks) if part is not None]
        if any(length != items for length in lengths):
            raise UsageError(
                f"There are {items} items of scores, but labels and sizes for {lengths} items; give one to each item."
            )
        if np.isinf(self.per_item).any():
            raise UsageError("Some scores are infinite; expected finite numbers, or NaN where a head has no value.")
        if self.sizes is not None and not (np.isfinite(self.sizes).all() and (self.sizes > 0).all()):
            raise UsageError(f"Sizes must be positive numbers; the smallest is {self.sizes.min()}.")


@dataclass(frozen=True)
class Resampled:
    """One score table on all items, without some of the groups of clusters, and on random halves.

    full: the table; deleted: without the groups that `kept_groups` leaves out; halves: the two halves of each split.
    cluster_ids, group_of and half_of say which cluster went where.
    """

    full: Float[np.ndarray, "layer head"]
    deleted: Float[np.ndarray, "deletion layer head"]
    halves: Float[np.ndarray, "split 2 layer head"]
    cluster_ids: Int[np.ndarray, "cluster"]
    group_of: Int[np.ndarray, "cluster"]
    kept_groups: Bool[np.ndarray, "deletion group"]
    half_of: Int[np.ndarray, "split cluster"]


@dataclass(frozen=True)
class ClusterTotals:
    """Sum of scores and of sizes over the items of each cluster, and the cluster's task."""

    ids: Int[np.ndarray, "cluster"]
    task_of: Int[np.ndarray, "cluster"]
    sums: Float[np.ndarray, "cluster layer head"]
    weights: Float[np.ndarray, "cluster layer head"]


def resample(
    scores: ClusteredScores, *, splits: int = 50, groups: int = 20, seed: int | np.random.Generator = 0
) -> Resampled:
    """Score the whole, all but some groups, and both halves of every split, by whole clusters.

    With fewer clusters than `groups` each cluster is a group. Raises UsageError with fewer than four clusters or fewer
    than 50 splits (Method 5).
    """
    if splits < 50:
        raise UsageError(f"A reliability is the mean of at least 50 half-splits; got splits={splits}.")
    totals = cluster_totals(scores)
    clusters = totals.ids.size
    if clusters < MINIMUM_CLUSTERS or groups < MINIMUM_CLUSTERS:
        raise UsageError(
            f"Intervals need at least {MINIMUM_CLUSTERS} clusters of items and as many groups; got {clusters} clusters "
            f"and groups={groups}. Score more documents."
        )
    generator = np.random.default_rng(seed)
    groups = min(groups, clusters)
    group_of = deal(totals.task_of, groups, generator)
    half_of = np.stack([deal(totals.task_of, 2, generator) for _ in range(splits)])
    by_group = _by_part(totals, group_of, groups)
    kept_groups = deletions(groups, generator)
    kept = [np.stack([part[:, keep].sum(axis=1) for keep in kept_groups], axis=1) for part in by_group]
    halves = [_by_part(totals, half, 2) for half in half_of]
    return Resampled(
        full=combine(*(part.sum(axis=1) for part in by_group)),
        deleted=combine(*kept),
        halves=combine(*(np.stack(parts, axis=1) for parts in zip(*halves, strict=True))),
        cluster_ids=totals.ids,
        group_of=group_of,
        kept_groups=kept_groups,
        half_of=half_of,
    )


def cluster_totals(scores: ClusteredScores) -> ClusterTotals:
    """Sum the items of each cluster. Raises UsageError if a cluster spans two tasks."""
    ids, first, cluster_of = np.unique(scores.clusters, return_index=True, return_inverse=True)
    tasks = np.zeros(len(scores.clusters), dtype=np.int64)
    if scores.tasks is not None:
        tasks = np.unique(scores.tasks, return_inverse=True)[1]
    if (tasks != tasks[first][cluster_of]).any():
        raise UsageError("A cluster holds items of two tasks; give the clusters of each task labels of their own.")
    known = np.isfinite(scores.per_item)
    sizes = np.ones(scores.per_item.shape[:2]) if scores.sizes is None else scores.sizes.astype(np.float64)
    return ClusterTotals(
        ids=ids.astype(np.int64),
        task_of=tasks[first],
        sums=sum_by_label(np.where(known, scores.per_item, 0.0), cluster_of, ids.size),
        weights=sum_by_label(np.where(known, sizes[..., None], 0.0), cluster_of, ids.size),
    )


def deal(strata: Int[np.ndarray, "cluster"], parts: int, generator: np.random.Generator) -> Int[np.ndarray, "cluster"]:
    """Random parts of equal size: each stratum is shuffled, then all are dealt out in turn, like cards."""
    shuffled = generator.permutation(strata.size)
    turn = generator.permutation(int(strata.max()) + 1)
    shuffled = shuffled[np.argsort(turn[strata[shuffled]], kind="stable")]
    part = np.empty(strata.size, dtype=np.int64)
    part[shuffled] = generator.permutation(parts)[np.arange(strata.size) % parts]
    return part


def deletions(groups: int, generator: np.random.Generator) -> Bool[np.ndarray, "deletion group"]:
    """Which groups stay: in every round the groups are shuffled and left out in turn, a fifth of them at a time."""
    size = max(1, groups // DELETED_SHARE)
    turns = groups // size
    order = np.stack([generator.permutation(groups) for _ in range(ROUNDS if size > 1 else 1)])
    left_out = order[:, : turns * size].reshape(-1, size)
    kept = np.ones((len(left_out), groups), dtype=bool)
    np.put_along_axis(kept, left_out, False, axis=1)
    return kept


def sum_by_label(
    values: Float[np.ndarray, "row *rest"], labels: Int[np.ndarray, "row"], count: int
) -> Float[np.ndarray, "label *rest"]:
    """Sum of the rows under each label 0..count-1; rows are added one by one, so equal columns stay exactly equal."""
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    total = np.zeros((count, *values.shape[1:]))
    total[present] = np.add.reduceat(values[order].astype(np.float64), starts, axis=0)
    return total


def _by_part(
    totals: ClusterTotals, part: Int[np.ndarray, "cluster"], parts: int
) -> tuple[Float[np.ndarray, "task part layer head"], Float[np.ndarray, "task part layer head"]]:
    """Sums and sizes of each task in each part."""
    tasks = int(totals.task_of.max()) + 1
    cell = totals.task_of * parts + part
    shape = (tasks, parts, *totals.sums.shape[1:])
    return (
        sum_by_label(totals.sums, cell, tasks * parts).reshape(shape),
        sum_by_label(totals.weights, cell, tasks * parts).reshape(shape),
    )


def combine(
    sums: Float[np.ndarray, "task *part layer head"], weights: Float[np.ndarray, "task *part layer head"]
) -> Float[np.ndarray, "*part layer head"]:
    """The score table of each part: the ratio for one task, the tasks' aggregate for several; NaN unknown."""
    nothing = np.full(sums.shape, np.nan)
    ratio = np.divide(sums, weights, out=nothing, where=weights > 0)
    if len(ratio) == 1:
        return ratio[0]
    return aggregate_tables(ratio)


def same_clusters(a: Resampled, b: Resampled) -> bool:
    """Whether two tables were resampled alike: the same clusters in the same groups and halves."""
    return all(
        np.array_equal(left, right)
        for left, right in (
            (a.cluster_ids, b.cluster_ids),
            (a.group_of, b.group_of),
            (a.kept_groups, b.kept_groups),
            (a.half_of, b.half_of),
        )
    )


def finite_heads(table: Resampled) -> Bool[np.ndarray, "layer head"]:
    """Heads with a value on the whole and on every part."""
    parts = (table.full[None], table.deleted, table.halves.reshape(-1, *table.full.shape))
    finite: Bool[np.ndarray, "layer head"] = np.isfinite(np.concatenate(parts)).all(axis=0)
    return finite
