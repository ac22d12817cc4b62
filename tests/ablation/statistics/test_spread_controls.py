"""Control sets match layer and key-value group, hold no tested head, and share as little as they can."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from ablation.statistics import kv_groups, spread_controls
from ablation.statistics.spread_controls import maximin
from interp.errors import UsageError
from tests.ablation.statistics.grouped import GROUPS, HEADS, LAYERS, some_class

EVERY = np.ones((LAYERS, HEADS), dtype=bool)
BY_GROUP = kv_groups(LAYERS, HEADS, GROUPS)


def patterns(chosen: np.ndarray, groups: np.ndarray) -> list[list[int]]:
    """For each layer the numbers of heads its groups hold, most first."""
    return [
        sorted(Counter(groups[layer][chosen[layer]].tolist()).values(), reverse=True) for layer in range(len(chosen))
    ]


def test_every_control_has_the_tested_pattern_and_no_tested_head() -> None:
    tested = some_class(np.random.default_rng(0))
    found = spread_controls(tested, EVERY, groups=BY_GROUP)
    assert found.sets.shape == (39, LAYERS, HEADS)
    assert len({one.tobytes() for one in found.sets}) == 39
    for one in found.sets:
        assert patterns(one, BY_GROUP) == patterns(tested, BY_GROUP)
        assert not (one & tested).any()
    assert found.moved.sum() == found.regrouped.sum() == 0


def test_without_groups_the_layer_alone_is_matched() -> None:
    tested = some_class(np.random.default_rng(1))
    found = spread_controls(tested, EVERY)
    np.testing.assert_array_equal(found.sets.sum(axis=2), np.tile(tested.sum(axis=1), (39, 1)))
    split = [one for one in found.sets if patterns(one, BY_GROUP) != patterns(tested, BY_GROUP)]
    assert len(split) > 20 and found.regrouped.sum() == 0


def test_the_overlaps_told_are_those_of_the_sets() -> None:
    found = spread_controls(some_class(np.random.default_rng(2)), EVERY, groups=BY_GROUP, n=12)
    size = found.sets[0].sum()
    shared = [(a & b).sum() / size for a, b in itertools.combinations(found.sets, 2)]
    assert found.mean_overlap == pytest.approx(np.mean(shared))
    assert found.largest_overlap == pytest.approx(max(shared))


def test_chosen_sets_share_less_than_drawn_ones() -> None:
    for seed in range(4):
        tested = some_class(np.random.default_rng(seed))
        chosen = spread_controls(tested, EVERY, groups=BY_GROUP, seed=seed)
        drawn = spread_controls(tested, EVERY, groups=BY_GROUP, candidates=1, seed=seed)
        assert chosen.largest_overlap < drawn.largest_overlap
        assert chosen.mean_overlap < min(drawn.mean_overlap, chosen.unspread_overlap)


def test_disjoint_sets_are_found_where_there_are_any() -> None:
    """One head a layer, nine heads: eight controls need share nothing, and the greedy choice loses little."""
    tested = np.zeros((4, 9), dtype=bool)
    tested[:, 0] = True
    found = spread_controls(tested, np.ones((4, 9), dtype=bool), n=4, candidates=200)
    assert found.largest_overlap == 0.0
    assert spread_controls(tested, np.ones((4, 9), dtype=bool), n=8, candidates=200).largest_overlap <= 0.25


def test_maximin_by_hand() -> None:
    overlap = np.array([[1.0, 0.5, 0.2, 0.2], [0.5, 1, 0, 0.1], [0.2, 0, 1, 0.9], [0.2, 0.1, 0.9, 1]])
    assert maximin(overlap, 3) == [0, 2, 1]
    assert maximin(overlap, 9) == [0, 2, 1, 3]


def test_a_pattern_that_no_other_group_has_is_counted() -> None:
    """Two heads from each of three groups of three leave one head in each: no other group holds two."""
    tested = np.zeros((2, 9), dtype=bool)
    tested[0, [0, 1, 3]] = True
    tested[1, [0, 1, 3, 4, 6, 7]] = True
    found = spread_controls(tested, np.ones((2, 9), dtype=bool), groups=kv_groups(2, 9, 3), n=5)
    assert (found.regrouped == 3).all()
    assert (found.moved == 3).all()
    np.testing.assert_array_equal(found.sets.sum(axis=(1, 2)), 9)


def test_heads_come_from_the_nearest_layer_that_has_some() -> None:
    tested, exists = np.zeros((4, 2), dtype=bool), np.ones((4, 2), dtype=bool)
    tested[1] = True
    exists[2] = False
    found = spread_controls(tested, exists, n=3)
    assert (found.moved == 2).all()
    assert not found.sets[:, 1:3].any()
    assert found.sets[:, 0].any()


def test_there_may_be_fewer_sets_than_were_asked_for() -> None:
    tested = np.array([[True, False, False, False]])
    found = spread_controls(tested, np.ones((1, 4), dtype=bool))
    assert len(found.sets) == 3
    assert found.mean_overlap == 0.0


def test_the_seed_decides() -> None:
    tested = some_class(np.random.default_rng(3))
    one, same, other = (spread_controls(tested, EVERY, groups=BY_GROUP, n=5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.sets, same.sets)
    assert (one.sets != other.sets).any()


def test_refusals_say_why() -> None:
    tested = np.array([[True, True, False]])
    with pytest.raises(UsageError, match="2 tested heads of 3 leave 1 others"):
        spread_controls(tested, np.ones((1, 3), dtype=bool))
    with pytest.raises(UsageError, match="tested heads must exist"):
        spread_controls(tested, np.array([[False, True, True]]))
    with pytest.raises(UsageError, match="0 tested heads"):
        spread_controls(~tested & tested, np.ones((1, 3), dtype=bool))
