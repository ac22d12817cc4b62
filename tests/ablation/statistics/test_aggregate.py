"""The aggregate over tasks: by hand, and in the corners where four versions of it used to differ."""

from __future__ import annotations

import numpy as np
import pytest

from ablation.statistics import ClusteredScores, aggregate_tables, resample, tasks_aggregate
from interp.errors import UsageError

ONE, OTHER = np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[10.0, -10.0], [0.0, 20.0]])


def test_shares_are_averaged_and_signs_kept() -> None:
    np.testing.assert_allclose(aggregate_tables(np.stack([ONE, OTHER])), (ONE / 8 + OTHER / 40) / 2)
    np.testing.assert_allclose(aggregate_tables(np.stack([ONE, OTHER]), raw=True), (ONE + OTHER) / 2)
    np.testing.assert_allclose(aggregate_tables(np.stack([ONE, 1000 * OTHER])), (ONE / 8 + OTHER / 40) / 2)


def test_a_task_without_any_score_is_left_out_and_named() -> None:
    for nothing in (np.zeros((2, 2)), np.full((2, 2), np.nan)):
        found = tasks_aggregate(np.stack([ONE, nothing]))
        np.testing.assert_allclose(found.table, ONE / 8)
        np.testing.assert_array_equal(found.used, [True, False])
    assert np.isnan(aggregate_tables(np.zeros((2, 2, 2)))).all()
    np.testing.assert_allclose(aggregate_tables(np.stack([ONE, np.zeros((2, 2))]), raw=True), ONE / 2)


def test_a_head_that_one_task_has_no_value_for_stays_without() -> None:
    part = OTHER.copy()
    part[0, 1] = np.nan
    found = aggregate_tables(np.stack([ONE, part]))
    assert np.isnan(found[0, 1])
    np.testing.assert_allclose(found[1], (ONE[1] / 8 + part[1] / 30) / 2)


def test_parts_are_aggregated_one_by_one() -> None:
    tables = np.random.default_rng(0).random((3, 4, 2, 5, 6))
    tables[1, 2, 0] = 0.0
    found = tasks_aggregate(tables)
    for part in np.ndindex(4, 2):
        alone = tasks_aggregate(tables[(slice(None), *part)])
        np.testing.assert_array_equal(found.table[part], alone.table)
        np.testing.assert_array_equal(found.used[(slice(None), *part)], alone.used)


def test_resampled_scores_are_aggregated_alike() -> None:
    rng = np.random.default_rng(1)
    per_item, task = rng.random((40, 3, 4)), np.repeat([0, 1], 20)
    found = resample(ClusteredScores(per_item, np.arange(40), tasks=task))
    tables = np.stack([per_item[task == number].mean(axis=0) for number in (0, 1)])
    np.testing.assert_allclose(found.full, aggregate_tables(tables))


def test_no_task_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one task; got none"):
        aggregate_tables(np.empty((0, 2, 2)))
