"""Items are kept together, parts are scored as the whole, and an aggregate is rebuilt on each part."""

from __future__ import annotations

import numpy as np
import pytest

from ablation.statistics import ClusteredScores, resample
from ablation.statistics.clusters import deal, deletions
from interp.errors import UsageError


def sample(items: int = 40, clusters: int = 12, seed: int = 0) -> ClusteredScores:
    rng = np.random.default_rng(seed)
    return ClusteredScores(
        per_item=rng.random((items, 3, 4)),
        clusters=rng.permutation(np.arange(items) % clusters) * 7,
        sizes=rng.integers(5, 30, (items, 3)).astype(float),
    )


def slow_score(scores: ClusteredScores, keep: np.ndarray) -> np.ndarray:
    sizes = np.ones(scores.per_item.shape[:2]) if scores.sizes is None else scores.sizes
    table = np.full(scores.per_item.shape[1:], np.nan)
    for layer, head in np.ndindex(table.shape):
        known = keep & np.isfinite(scores.per_item[:, layer, head])
        if known.any():
            table[layer, head] = scores.per_item[known, layer, head].sum() / sizes[known, layer].sum()
    return table


def test_parts_equal_a_slow_loop_over_items() -> None:
    scores = sample()
    scores.per_item[:, 1, 2] = np.nan
    scores.per_item[::2, 0, 0] = np.nan
    found = resample(scores, groups=5, seed=3)
    np.testing.assert_allclose(found.full, slow_score(scores, np.ones(40, dtype=bool)))
    place = np.searchsorted(found.cluster_ids, scores.clusters)
    for deleted, kept in zip(found.deleted, found.kept_groups, strict=True):
        np.testing.assert_allclose(deleted, slow_score(scores, kept[found.group_of[place]]))
    for split in (0, 17, 49):
        for half in (0, 1):
            expected = slow_score(scores, found.half_of[split][place] == half)
            np.testing.assert_allclose(found.halves[split, half], expected)


def test_groups_and_halves_are_equal_in_size_and_random() -> None:
    found = resample(sample(60, 24), groups=20, seed=1)
    assert found.deleted.shape == (100, 3, 4)
    assert set(np.bincount(found.group_of)) == {1, 2}
    assert (found.half_of.sum(axis=1) == 12).all()
    together = (found.half_of[:, 0] == found.half_of[:, 1]).mean()
    assert 0.2 < together < 0.8
    assert len({row.tobytes() for row in found.half_of}) == 50


def test_fewer_clusters_than_groups_means_one_group_a_cluster() -> None:
    assert resample(sample(30, 7)).deleted.shape[0] == 7


@pytest.mark.parametrize(("groups", "size", "count"), [(20, 4, 100), (12, 2, 120), (11, 2, 100), (7, 1, 7)])
def test_a_fifth_of_the_groups_is_left_out_at_a_time(groups: int, size: int, count: int) -> None:
    kept = deletions(groups, np.random.default_rng(0))
    assert kept.shape == (count, groups)
    assert ((~kept).sum(axis=1) == size).all()
    if groups % size == 0:
        assert len(set((~kept).sum(axis=0))) == 1


def test_dealing_spreads_every_stratum() -> None:
    strata = np.repeat([0, 1, 2], [8, 8, 1])
    parts = np.stack([deal(strata, 2, np.random.default_rng(seed)) for seed in range(200)])
    assert (parts[:, :8].sum(axis=1) == 4).all()
    assert (np.abs(parts[:, 8:16].sum(axis=1) - 4) <= 1).all()
    assert 0.2 < parts[:, 16].mean() < 0.8


def test_aggregate_is_the_mean_of_the_tasks_shares_on_every_part() -> None:
    rng = np.random.default_rng(2)
    per_item, tasks = rng.random((30, 2, 3)), np.repeat([4, 9], [20, 10])
    per_item[tasks == 9] *= 1000
    scores = ClusteredScores(per_item, np.arange(30), tasks=tasks)
    found = resample(scores, groups=5)
    for table, keep in [
        (found.full, np.ones(30, dtype=bool)),
        (found.deleted[2], found.kept_groups[2][found.group_of]),
    ]:
        sums = [per_item[keep & (tasks == task)].sum(axis=0) for task in (4, 9)]
        np.testing.assert_allclose(table, np.mean([one / one.sum() for one in sums], axis=0))


def test_aggregate_keeps_the_sign_of_signed_scores() -> None:
    """A task whose scores sum to less than nothing must not turn its ranking round."""
    per_item, tasks = np.tile([[[2.0, -1.0, -3.0]]], (8, 1, 1)), np.repeat([0, 1], 4)
    found = resample(ClusteredScores(per_item, np.arange(8), tasks=tasks))
    np.testing.assert_allclose(found.full, [[1 / 3, -1 / 6, -1 / 2]])


def test_equal_columns_stay_exactly_equal() -> None:
    """Rounding must not break ties: two heads with the same item scores score the same on every part."""
    rng = np.random.default_rng(3)
    column = rng.standard_normal((500, 1, 1)) * 10.0 ** rng.integers(-6, 6, (500, 1, 1))
    found = resample(ClusteredScores(np.broadcast_to(column, (500, 5, 13)).copy(), np.arange(500)))
    for part in (found.full[None], found.deleted, found.halves.reshape(-1, 5, 13)):
        assert (part == part[:, :1, :1]).all()


def test_refusals_say_why() -> None:
    items = np.ones((6, 2, 2))
    with pytest.raises(UsageError, match="at least 50 half-splits; got splits=10"):
        resample(ClusteredScores(items, np.arange(6)), splits=10)
    with pytest.raises(UsageError, match="got 3 clusters"):
        resample(ClusteredScores(items, np.arange(6) % 3))
    with pytest.raises((UsageError, TypeError)):
        ClusteredScores(items, np.arange(5))
    with pytest.raises(UsageError, match="infinite"):
        ClusteredScores(np.full((6, 2, 2), np.inf), np.arange(6))
    with pytest.raises(UsageError, match="smallest is 0"):
        ClusteredScores(items, np.arange(6), sizes=np.zeros((6, 2)))
    with pytest.raises(UsageError, match="two tasks"):
        resample(ClusteredScores(items, np.zeros(6, dtype=np.int64), tasks=np.arange(6)))
