"""The mean over tasks of what was estimated task by task, each task counting alike (Method 4, 5).

Tasks fixed: these tasks and no others. What is drawn is each one's documents, in whole clusters, so that the variance
of the mean is the sum of the tasks' own variances over the number of tasks squared; how far the tasks are apart is no
part of it. Student's t with Welch's and Satterthwaite's degrees of freedom, (sum of variances)² over the sum of each
variance² / (clusters - 1); with one task these are its clusters - 1.
Tasks random: a sample of the tasks there could be. The standard error is that of a mean of as many numbers, which holds
the documents' noise as well; Student's t with tasks - 1. One task says nothing about others, and has no such interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ablation.statistics.intervals import ClusterEstimate, StudentBounds
from interp.errors import UsageError


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
