"""Intervals of scores whose unit is the cluster: documents of one passage are drawn together (Method 4).

The mean of the items is the ratio of two sums over clusters, and so is the mean of every bootstrap draw. Where each
item is a cluster of its own the score is handed back as it is: the same draws would be made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from ablation.statistics.clusters import sum_by_label
from interp.scores import FFNScores, HeadScores

DRAWS = 2000
Scores = TypeVar("Scores", bound=HeadScores | FFNScores)


def by_cluster(scores: Scores, clusters: Sequence[str], *, seed: int = 0) -> Scores:
    """The score with 95% percentile intervals over clusters of its items; NaN with a single cluster."""
    labels = np.unique(np.asarray(clusters), return_inverse=True)[1]
    count = int(labels.max()) + 1
    if scores.per_item is None or count == len(labels):
        return scores
    items = scores.per_item.double().numpy()
    sums = sum_by_label(items.reshape(len(items), -1), labels, count)
    sizes = np.bincount(labels).astype(float)
    low = high = np.full(sums.shape[1], np.nan)
    if count > 1:
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=DRAWS)
        low, high = np.quantile(drawn @ sums / (drawn @ sizes)[:, None], [0.025, 0.975], axis=0)
    lower, upper = (torch.from_numpy(value).float().view(scores.mean.shape) for value in (low, high))
    return replace(scores, ci_low=lower, ci_high=upper)
