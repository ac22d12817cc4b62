"""The causal check over all tasks: each set's drop is the mean of the tasks' drops, and so is each control's.

METHODS 5. The draws of one task's demonstrations are items of the same clusters of documents; tasks are independent, so
that the variance of the mean is the sum of theirs over the number of tasks squared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from ablation.statistics import RankP, cluster_mean, rank_p_value
from headscope.stages.pruning_summary import numbered

if TYPE_CHECKING:
    from ablation.causal import CausalCheck, Removed

Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class OverTasks:
    """A tested set against one kind of control: mean drop over tasks, its standard error, its rank, the controls."""

    tested: str
    ablation: str
    control: str
    drop: float
    stderr: float
    rank: RankP
    controls: Float[np.ndarray, "control"]


def over_tasks(checks: Sequence[CausalCheck], outcome: str) -> Iterator[OverTasks]:
    """Every tested set, kind of ablation and kind of control."""
    from ablation.control_sets import TESTED

    estimates = [_estimates(found, outcome) for found in _by_task(checks)]
    means = {key: float(np.mean([task[key][0] for task in estimates])) for key in estimates[0]}
    for key, drop in means.items():
        tested, kind, ablation, _ = key
        if kind != TESTED:
            continue
        variance = sum(task[key][1] ** 2 for task in estimates) / len(estimates) ** 2
        controls: dict[str, list[float]] = {}
        for (name, other, way, _), value in means.items():
            if (name, way) == (tested, ablation) and other != TESTED:
                controls.setdefault(other, []).append(value)
        for control, values in controls.items():
            held = np.array(values)
            yield OverTasks(tested, ablation, control, drop, math.sqrt(variance), rank_p_value(drop, held), held)


def gain_over_tasks(checks: Sequence[CausalCheck], outcome: str) -> tuple[float, float, int]:
    """What the demonstrations are worth to the whole model: mean over tasks, its standard error, number of tasks."""
    found = [
        _mean([check.full.gain(outcome) for check in held], _clusters(held, outcome)) for held in _by_task(checks)
    ]
    variance = sum(stderr**2 for _, stderr in found) / len(found) ** 2
    return float(np.mean([value for value, _ in found])), math.sqrt(variance), len(found)


def _by_task(checks: Sequence[CausalCheck]) -> list[list[CausalCheck]]:
    """The draws of each task's demonstrations."""
    found: dict[str, list[CausalCheck]] = {}
    for check in checks:
        found.setdefault(check.task, []).append(check)
    return list(found.values())


def _estimates(checks: Sequence[CausalCheck], outcome: str) -> dict[Key, tuple[float, float]]:
    """One task: mean and standard error of every set's drop, over all draws of its demonstrations."""
    clusters, found = _clusters(checks, outcome), {}
    for places in zip(*(check.removed for check in checks), strict=True):
        drops = [check.drop(one, outcome) for check, one in zip(checks, places, strict=True)]
        found[_key(places[0])] = _mean(drops, clusters)
    return found


def _clusters(checks: Sequence[CausalCheck], outcome: str) -> Int[np.ndarray, "item"]:
    return numbered([name for check in checks for name in check.full.clusters(outcome)])


def _mean(draws: Sequence[Float[np.ndarray, "item"]], clusters: Int[np.ndarray, "all_items"]) -> tuple[float, float]:
    """Mean and standard error by cluster; NaN with a single one."""
    values = np.concatenate(draws)
    return float(values.mean()), cluster_mean(values, clusters).stderr if clusters.max() else math.nan


def _key(removed: Removed) -> Key:
    return removed.heads.tested, removed.heads.kind, removed.ablation, removed.heads.draw
