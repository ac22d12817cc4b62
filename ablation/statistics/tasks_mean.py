"""The mean over tasks of what was estimated task by task, and its interval (METHODS 4).

1. The tasks are these and no others: they are fixed, and what is drawn is each one's documents, in whole clusters. The
   variance of the mean is the sum of the tasks' own variances over the number of tasks squared; how far the tasks are
   apart is no part of it.
2. Student's t with Welch's and Satterthwaite's degrees of freedom: (sum of variances)² over the sum of each variance² /
   (clusters - 1). With one task these are its clusters - 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from ablation.statistics.intervals import ClusterEstimate


@dataclass(frozen=True)
class TasksMean:
    """The mean over tasks; bounds stand around `centre` (= value without pseudo-clusters), NaN without a variance."""

    value: float
    stderr: float
    centre: float
    freedom: float
    n_tasks: int

    def lower_bound(self, confidence: float = 0.95) -> float:
        """One-sided lower bound."""
        return self.centre - float(t.ppf(confidence, self.freedom)) * self.stderr

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided interval."""
        reach = float(t.ppf((1 + confidence) / 2, self.freedom)) * self.stderr
        return self.centre - reach, self.centre + reach


def mean_over_tasks(tasks: Sequence[ClusterEstimate]) -> TasksMean:
    """Tasks count alike, however many documents each has."""
    variances = np.array([one.stderr**2 for one in tasks])
    spare = np.array([one.n_clusters - 1 for one in tasks])
    total = float(variances.sum())
    shares = float((variances[variances > 0] ** 2 / spare[variances > 0]).sum())
    return TasksMean(
        value=float(np.mean([one.value for one in tasks])),
        stderr=math.sqrt(total) / len(tasks),
        centre=float(np.mean([one.centre for one in tasks])),
        freedom=total**2 / shares if shares > 0 else float(spare.sum()),
        n_tasks=len(tasks),
    )
