"""Means over tasks: by hand, covering, and different questions with different intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from ablation.statistics import cluster_mean, cluster_numbers, mean_over_random_tasks, mean_over_tasks
from interp.errors import UsageError


def test_fixed_tasks_by_hand() -> None:
    rng = np.random.default_rng(0)
    tasks = [cluster_mean(rng.normal(k, 1 + k, 20 + 10 * k), np.arange(20 + 10 * k)) for k in range(3)]
    found = mean_over_tasks(tasks)
    variances = [task.stderr**2 for task in tasks]
    assert found.value == pytest.approx(np.mean([task.value for task in tasks]))
    assert found.stderr == pytest.approx(math.sqrt(sum(variances)) / 3)
    welch = sum(variances) ** 2 / sum(v**2 / (task.n_clusters - 1) for v, task in zip(variances, tasks, strict=True))
    assert found.freedom == pytest.approx(welch)
    assert found.interval()[1] == pytest.approx(found.value + t.ppf(0.975, welch) * found.stderr)
    assert found.upper_bound() == pytest.approx(found.value + t.ppf(0.95, welch) * found.stderr)
    assert (found.n_tasks, found.n_items) == (3, 90)


def test_one_task_is_itself_and_says_nothing_of_others() -> None:
    one = cluster_mean(np.random.default_rng(1).standard_normal(30), np.arange(30) // 2)
    assert mean_over_tasks([one]).interval() == pytest.approx(one.interval())
    alone = mean_over_random_tasks([one])
    assert alone.value == one.value and np.isnan(alone.interval()).all()


def test_random_tasks_are_the_t_interval_of_their_means() -> None:
    tasks = [cluster_mean(np.full(5, value) + np.arange(5) - 2, np.arange(5)) for value in (0.1, 0.4, 0.9)]
    found = mean_over_random_tasks(tasks)
    expected = t.interval(0.95, 2, loc=np.mean([0.1, 0.4, 0.9]), scale=np.std([0.1, 0.4, 0.9], ddof=1) / math.sqrt(3))
    assert found.interval() == pytest.approx(expected)


def coverage(runs: int, *, tasks: int, documents: int, per_cluster: int, skewed: bool = False) -> tuple[float, float]:
    """How often the interval holds the mean of these tasks, and of all tasks there could be."""
    rng, covered = np.random.default_rng(2), np.zeros(2)

    def noise(size: int) -> np.ndarray:
        drawn = rng.standard_normal(size)
        return (np.exp(drawn) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e) if skewed else drawn

    labels = np.arange(documents) // per_cluster
    for _ in range(runs):
        truths = 0.3 * rng.standard_normal(tasks)
        found = [cluster_mean(truth + noise(documents)[labels] + noise(documents), labels) for truth in truths]
        for place, (mean, truth) in enumerate(((mean_over_tasks, truths.mean()), (mean_over_random_tasks, 0.0))):
            low, high = mean(found).interval()
            covered[place] += low <= truth <= high
    fixed, drawn = covered / runs
    return fixed, drawn


def test_both_intervals_cover() -> None:
    fixed, drawn = coverage(500, tasks=6, documents=40, per_cluster=2)
    assert 0.92 < fixed < 0.98
    assert 0.92 < drawn < 0.98


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tasks", "per_cluster", "skewed"), [(6, 1, False), (6, 4, False), (6, 1, True), (10, 2, False)]
)
def test_coverage_over_a_grid(tasks: int, per_cluster: int, skewed: bool) -> None:
    fixed, drawn = coverage(4_000, tasks=tasks, documents=40, per_cluster=per_cluster, skewed=skewed)
    assert 0.94 < fixed < 0.965
    assert 0.94 < drawn < 0.965


def test_clusters_by_name_are_numbered() -> None:
    np.testing.assert_array_equal(cluster_numbers(["b", "a", "b", "c"]), [1, 0, 1, 2])
    assert cluster_numbers(["x"]).dtype == np.int64


def test_no_task_is_refused() -> None:
    for mean in (mean_over_tasks, mean_over_random_tasks):
        with pytest.raises(UsageError, match="at least one task; got none"):
            mean([])
