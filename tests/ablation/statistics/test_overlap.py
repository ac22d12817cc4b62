"""Overlaps against SciPy's hypergeometric and against drawing sets at random."""

from __future__ import annotations

import itertools
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom, kstest

from ablation.statistics import kv_groups, overlap, overlap_distribution, set_overlap
from ablation.statistics.overlap import random_places
from interp.errors import UsageError
from tests.ablation.statistics.grouped import GROUPS, HEADS, grouped_scores


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.data())
def test_one_layer_is_the_hypergeometric(n: int, data: st.DataObject) -> None:
    a, b = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    found = overlap_distribution(np.array([n]), np.array([a]), np.array([b]))
    np.testing.assert_allclose(found, hypergeom.pmf(np.arange(found.size), n, a, b), atol=1e-10)


def test_layers_are_convolved() -> None:
    """Every way of placing the second set, in two layers of four and three heads, counted one by one."""
    first, counts = np.array([1, 1, 0, 0, 1, 0, 0], dtype=bool), np.zeros(4)
    for top in itertools.combinations(range(4), 3):
        for bottom in itertools.combinations(range(4, 7), 2):
            counts[first[list(top + bottom)].sum()] += 1
    found = overlap_distribution(np.array([4, 3]), np.array([2, 1]), np.array([3, 2]))
    np.testing.assert_allclose(found, counts / counts.sum(), atol=1e-12)


def test_66b_sized_distribution_is_exact() -> None:
    found = overlap_distribution(np.array([4608]), np.array([1383]), np.array([1383]))
    np.testing.assert_allclose(found, hypergeom.pmf(np.arange(found.size), 4608, 1383, 1383), rtol=1e-8, atol=1e-300)
    assert found @ np.arange(found.size) == pytest.approx(1383**2 / 4608)


def test_top_k_without_ties_equals_counting() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 6, 9))
    found = overlap(a, b)
    assert not found.tied.any()
    for index, percent in enumerate(range(1, 31)):
        k = ceil(percent * 54 / 100)
        top_a, top_b = (set(np.argsort(-scores.ravel())[:k]) for scores in (a, b))
        common = len(top_a & top_b)
        assert (found.percent[index], found.k[index], found.overlap[index]) == (percent, k, common)
        assert found.share[index] == pytest.approx(common / k)
        assert found.expected_free[index] == pytest.approx(k * k / 54)
        assert found.p_free[index] == pytest.approx(hypergeom.sf(common - 1, 54, k, k))
        assert found.jaccard[index] == pytest.approx(common / len(top_a | top_b))
        layers = [[sum(head // 9 == layer for head in top) for layer in range(6)] for top in (top_a, top_b)]
        assert found.expected_layer[index] == pytest.approx(np.dot(*layers) / 9)


def test_layer_matched_numbers_equal_random_sets() -> None:
    rng = np.random.default_rng(1)
    a, b = np.linspace(0, 2, 6)[:, None] + rng.standard_normal((2, 6, 9))
    found = overlap(a, b, percents=[30])
    k = int(found.k[0])
    tops = [scores >= np.sort(scores.ravel())[-k] for scores in (a, b)]
    drawn = (rng.permuted(np.tile(tops[0], (20_000, 1, 1)), axis=-1) & tops[1]).sum(axis=(1, 2))
    assert found.expected_layer[0] == pytest.approx(drawn.mean(), abs=0.03)
    assert found.p_layer[0] == pytest.approx((drawn >= found.overlap[0]).mean(), abs=0.015)
    assert found.jaccard_expected_layer[0] == pytest.approx((drawn / (2 * k - drawn)).mean(), abs=0.003)
    assert found.jaccard_expected_free[0] < found.jaccard_expected_layer[0]


def test_pure_layer_trend_overlaps_freely_and_not_beyond_its_layers() -> None:
    trend = 3 * np.arange(30.0)[:, None]
    a, b = trend + np.random.default_rng(2).standard_normal((2, 30, 9))
    found = overlap(a, b, percents=[10, 30])
    assert (found.p_free < 1e-9).all()
    assert (found.p_layer > 0.05).all()


def test_identical_rankings() -> None:
    a = np.random.default_rng(3).standard_normal((10, 9))
    found = overlap(a, a)
    np.testing.assert_array_equal(found.overlap, found.k)
    np.testing.assert_array_equal(found.jaccard, 1.0)
    assert found.p_free[9] < 1e-9


def test_p_of_independent_rankings_is_never_too_small() -> None:
    rng = np.random.default_rng(4)
    p = [overlap(*rng.standard_normal((2, 30, 9)), percents=[30]) for _ in range(300)]
    for name in ("p_free", "p_layer"):
        values = np.array([getattr(one, name)[0] for one in p])
        assert kstest(values, "uniform", alternative="greater").pvalue > 0.001
        assert (values < 0.2).mean() > 0.08


def test_ties_at_the_cut_are_averaged() -> None:
    """Top 2 of 4 tied heads against a fixed pair: on average one of them is hit."""
    a, b = np.zeros((1, 4)), np.array([[4.0, 3.0, 2.0, 1.0]])
    found = overlap(a, b, percents=[50], tie_breaks=4_000)
    assert found.tied[0]
    assert found.overlap[0] == pytest.approx(1.0, abs=0.05)
    expected_p = np.mean([hypergeom.sf(x - 1, 4, 2, 2) for x in (0, 1, 1, 1, 1, 2)])
    assert found.p_free[0] == pytest.approx(expected_p, abs=0.03)
    assert found.jaccard[0] == pytest.approx((0 + 4 / 3 + 1) / 6, abs=0.03)
    assert not overlap(np.array([[1.0, 1.0, 0.0, 0.0]]), b, percents=[50]).tied[0]


def test_tied_heads_share_places_evenly() -> None:
    places = random_places(np.array([1.0, 5.0, 1.0, 1.0]), 6_000, np.random.default_rng(0))
    assert (places[:, 1] == 0).all()
    np.testing.assert_allclose([(places[:, head] == 1).mean() for head in (0, 2, 3)], 1 / 3, atol=0.03)


def test_heads_without_scores_are_left_out() -> None:
    a, b = np.random.default_rng(5).standard_normal((2, 6, 9))
    rest = overlap(a[1:], b[1:])
    a[0] = np.nan
    found = overlap(a, b)
    assert (found.n_heads, found.heads_left_out) == (45, 9)
    np.testing.assert_array_equal(found.overlap, rest.overlap)
    np.testing.assert_allclose(found.p_layer, rest.p_layer)


def test_sets_of_unequal_size() -> None:
    in_a, in_b = np.zeros((2, 5), dtype=bool), np.zeros((2, 5), dtype=bool)
    in_a[0, :3], in_b[0, 1:3], in_b[1, :2] = True, True, True
    found = set_overlap(in_a, in_b)
    assert (found.size_a, found.size_b, found.overlap, found.n_heads) == (3, 4, 2, 10)
    assert found.p_free == pytest.approx(hypergeom.sf(1, 10, 3, 4))
    assert found.p_layer == pytest.approx(hypergeom.sf(1, 5, 3, 2))
    assert (found.expected_free, found.expected_layer) == pytest.approx((1.2, 1.2))
    assert found.jaccard == pytest.approx(2 / 5)
    distribution = hypergeom.pmf(np.arange(4), 10, 3, 4)
    assert found.jaccard_expected_free == pytest.approx(np.sum(distribution * np.arange(4) / (7 - np.arange(4))))


def test_empty_sets_and_refusals() -> None:
    empty = np.zeros((2, 5), dtype=bool)
    found = set_overlap(empty, empty)
    assert (found.overlap, found.p_free, found.jaccard) == (0, 1.0, 0.0)
    with pytest.raises(UsageError, match="outside the heads to draw from"):
        set_overlap(~empty, empty, valid=empty)
    scores = np.ones((2, 3))
    with pytest.raises(UsageError, match="0 heads"):
        overlap(np.full((2, 3), np.nan), scores)
    with pytest.raises(UsageError, match="percentages from 1 to 100"):
        overlap(scores, scores, percents=[0])


def every_grouped_order(heads: int, size: int) -> list[tuple[int, ...]]:
    """All orders of heads that keep key-value groups of `size` together."""
    orders = []
    for turn in itertools.permutations(range(heads // size)):
        inside = [itertools.permutations(range(group * size, (group + 1) * size)) for group in turn]
        orders += [sum(parts, ()) for parts in itertools.product(*inside)]
    return orders


@pytest.mark.parametrize(("heads", "size"), [(4, 2), (6, 2), (6, 3), (4, 1), (4, 4)])
def test_grouped_overlap_equals_all_orders_of_groups_and_heads(heads: int, size: int) -> None:
    rng, orders = np.random.default_rng(0), every_grouped_order(heads, size)
    for _ in range(5):
        in_a, in_b = rng.random((2, 2, heads)) < 0.5
        counts = [
            np.bincount([int((a & b[list(order)]).sum()) for order in orders], minlength=heads + 1) / len(orders)
            for a, b in zip(in_a, in_b, strict=True)
        ]
        expected = np.convolve(*counts)
        found = set_overlap(in_a, in_b, groups=kv_groups(2, heads, heads // size))
        assert found.p_layer == pytest.approx(expected[found.overlap :].sum())
        assert found.expected_layer == pytest.approx(expected @ np.arange(expected.size))
        free = set_overlap(in_a, in_b)
        assert (found.p_free, found.expected_layer) == pytest.approx((free.p_free, free.expected_layer))


def test_groups_of_one_head_change_nothing() -> None:
    a, b = np.random.default_rng(1).standard_normal((2, 4, 6))
    a[0, 2] = b[3, 1] = np.nan
    plain, grouped = overlap(a, b), overlap(a, b, groups=kv_groups(4, 6, 6))
    for name in ("p_layer", "p_free", "expected_layer", "jaccard_expected_layer"):
        np.testing.assert_allclose(getattr(grouped, name), getattr(plain, name), atol=1e-12)


def test_two_sets_that_crowd_into_the_same_groups_are_less_of_a_surprise() -> None:
    """Whole groups that meet in one head meet in all, as chance has it once in three where a layer has three groups."""
    in_a = np.zeros((2, 9), dtype=bool)
    in_a[:, :3] = True
    groups = kv_groups(2, 9, 3)
    freely, grouped = set_overlap(in_a, in_a), set_overlap(in_a, in_a, groups=groups)
    assert freely.p_layer == pytest.approx(1 / 84**2)
    assert grouped.p_layer == pytest.approx(1 / 9)


def test_false_positive_rate_of_the_overlap_with_groups() -> None:
    """The p of a count moves in steps: at most .05, and above it where groups are not told."""
    rng, groups, found = np.random.default_rng(2), kv_groups(30, HEADS, GROUPS), np.zeros(2)
    for _ in range(250):
        a, b = (grouped_scores(rng, 0.95) for _ in range(2))
        for place, told in enumerate((groups, None)):
            found[place] += overlap(a, b, percents=(20,), groups=told).p_layer[0] <= 0.05
    assert found[0] / 250 < 0.055
    assert found[1] / 250 > 0.075
