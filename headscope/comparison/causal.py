"""The causal check over all tasks: each set's drop is the mean of the tasks' drops, and so is each control's.

Method 5. The draws of one task's demonstrations are items of the same clusters of documents; tasks are fixed, and
their documents independent (tasks_mean.py). All tasks are in the mean, those at chance too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from ablation.statistics import ClusterEstimate, RankP, cluster_mean, rank_p_value
from ablation.statistics.tasks_mean import TasksMean, mean_over_tasks
from headscope.comparison.pruning_task import numbered
from headscope.store.comparisons import CONTROL_HEADS, Kind, Row, row

if TYPE_CHECKING:
    from ablation.causal import CausalCheck, Removed
    from ablation.control_sets import HeadSet

Key = tuple[str, str, str, int]
UNMATCHED = "random"


@dataclass(frozen=True)
class OverTasks:
    """A tested set against one kind of control: mean drop over tasks, its rank, the controls."""

    tested: str
    ablation: str
    control: str
    drop: TasksMean
    rank: RankP
    controls: Float[np.ndarray, "control"]


def over_tasks(checks: Sequence[CausalCheck], outcome: str) -> Iterator[OverTasks]:
    """Every tested set, kind of ablation and kind of control."""
    from ablation.control_sets import TESTED

    estimates = [_estimates(found, outcome) for found in _by_task(checks)]
    means = {key: float(np.mean([task[key].value for task in estimates])) for key in estimates[0]}
    for key in means:
        tested, kind, ablation, _ = key
        if kind != TESTED:
            continue
        drop = mean_over_tasks([task[key] for task in estimates])
        controls: dict[str, list[float]] = {}
        for (name, other, way, _), value in means.items():
            if (name, way) == (tested, ablation) and other != TESTED:
                controls.setdefault(other, []).append(value)
        for control, values in controls.items():
            held = np.array(values)
            yield OverTasks(tested, ablation, control, drop, rank_p_value(drop.value, held), held)


def gain_over_tasks(checks: Sequence[CausalCheck], outcome: str) -> TasksMean:
    """What the demonstrations are worth to the whole model."""
    return mean_over_tasks(
        [_mean([check.full.gain(outcome) for check in held], _clusters(held, outcome)) for held in _by_task(checks)]
    )


def _by_task(checks: Sequence[CausalCheck]) -> list[list[CausalCheck]]:
    """The draws of each task's demonstrations."""
    found: dict[str, list[CausalCheck]] = {}
    for check in checks:
        found.setdefault(check.task, []).append(check)
    return list(found.values())


def _estimates(checks: Sequence[CausalCheck], outcome: str) -> dict[Key, ClusterEstimate]:
    """One task: every set's drop, over all draws of its demonstrations."""
    clusters, found = _clusters(checks, outcome), {}
    for places in zip(*(check.removed for check in checks), strict=True):
        drops = [check.drop(one, outcome) for check, one in zip(checks, places, strict=True)]
        found[_key(places[0])] = _mean(drops, clusters)
    return found


def _clusters(checks: Sequence[CausalCheck], outcome: str) -> Int[np.ndarray, "item"]:
    return numbered([name for check in checks for name in check.full.clusters(outcome)])


def _mean(draws: Sequence[Float[np.ndarray, "item"]], clusters: Int[np.ndarray, "all_items"]) -> ClusterEstimate:
    """Mean by cluster; without a standard error where there is a single one."""
    values = np.concatenate(draws)
    if clusters.max():
        return cluster_mean(values, clusters)
    mean = float(values.mean())
    return ClusterEstimate(mean, math.nan, mean, values.size, 1)


def _key(removed: Removed) -> Key:
    return removed.heads.tested, removed.heads.kind, removed.ablation, removed.heads.draw


def overlap_rows(chosen: Sequence[HeadSet], shots: int) -> Iterator[Row]:
    """Every tested set and kind of control; the norm gap where sets are layer-matched and norms are known."""
    from ablation.control_sets import TESTED

    groups: dict[tuple[str, str], list[HeadSet]] = {}
    for one in chosen:
        if one.kind != TESTED:
            groups.setdefault((one.tested, one.kind), []).append(one)
    for (tested, kind), sets in groups.items():
        place, n = (tested, kind, shots, CONTROL_HEADS), len(sets)
        shares = [len({*a.heads} & {*b.heads}) / len(a.heads) for a, b in combinations(sets, 2)]
        if shares:
            times = Counter(head for one in sets for head in one.heads)
            yield row(Kind.CAUSAL_CONTROLS_OVERLAP, *place, float(np.mean(shares)), n=n)
            yield row(Kind.CAUSAL_CONTROLS_SHARED, *place, float(sum(count == n for count in times.values())), n=n)
        gap = float(np.mean([one.norm_gap for one in sets]))
        if kind != UNMATCHED and isfinite(gap):
            yield row(Kind.CAUSAL_CONTROLS_NORM_GAP, *place, gap, n=n)
