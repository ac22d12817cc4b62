"""T: its value by hand, its p by enumeration, its level with grouped heads, and what it finds."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from scipy.stats import rankdata

from ablation.statistics import class_rank, kv_groups
from ablation.statistics.class_rank import permuted_classes
from interp.errors import UsageError
from tests.ablation.statistics.grouped import GROUPS, HEADS, grouped_scores, some_class


def slow_t(importance: np.ndarray, classed: np.ndarray) -> float:
    places = []
    for scores, members in zip(importance, classed, strict=True):
        for head in np.flatnonzero(members):
            below = (scores < scores[head]).sum() - (scores > scores[head]).sum()
            places.append(below / (scores.size - 1))
    return float(np.mean(places))


def test_value_by_hand() -> None:
    importance = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 0.0], [7.0, 8.0, 9.0]])
    classed = np.array([[False, False, True], [True, False, False], [False, False, False]])
    found = class_rank(importance, classed)
    assert found.value == pytest.approx((1 + 0.5) / 2)
    assert (found.n_classed, found.classed_left_out, found.n_heads) == (2, 0, 9)
    assert class_rank(importance, ~classed & (importance == importance.min(axis=1, keepdims=True))).value == -1.0


def test_value_equals_counting_heads_below_and_above() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        importance = np.round(rng.standard_normal((6, 5)), 1)
        classed = rng.random((6, 5)) < 0.3
        if classed.any():
            assert class_rank(importance, classed).value == pytest.approx(slow_t(importance, classed))


def test_a_trend_over_layers_is_nothing_to_it() -> None:
    rng = np.random.default_rng(1)
    importance, classed = rng.standard_normal((10, 6)), rng.random((10, 6)) < 0.2
    found = [class_rank(scores, classed) for scores in (importance, importance + 100 * np.arange(10)[:, None])]
    assert found[0] == found[1]


def test_p_agrees_with_every_way_to_deal_the_class() -> None:
    importance = np.array([[1.0, 4.0, 2.0, 3.0], [2.0, 2.0, 1.0, 5.0]])
    classed = np.array([[False, True, False, True], [False, False, False, True]])
    places = np.stack([(2 * rankdata(layer) - 5) / 3 for layer in importance])
    grouped = [o for o in itertools.permutations(range(4)) if o[0] // 2 == o[1] // 2]
    for groups, orders in ((None, list(itertools.permutations(range(4)))), (kv_groups(2, 4, 2), grouped)):
        null = [
            np.concatenate([places[0][classed[0][list(x)]], places[1][classed[1][list(y)]]]).mean()
            for x, y in itertools.product(orders, repeat=2)
        ]
        found = class_rank(importance, classed, groups=groups)
        assert found.value == pytest.approx(np.concatenate([places[0][classed[0]], places[1][classed[1]]]).mean())
        assert found.p == pytest.approx(np.mean(np.abs(null) >= abs(found.value) - 1e-9), abs=0.015)


def test_every_layer_keeps_its_number_of_classed_heads_and_their_pattern_over_groups() -> None:
    rng, groups = np.random.default_rng(2), kv_groups(5, 6, 3)
    classed = np.zeros((5, 6), dtype=bool)
    classed[1, [0, 1, 4]] = classed[3, 2] = True
    drawn = permuted_classes(classed, np.ones((5, 6), dtype=bool), 300, groups=groups, seed=rng).reshape(-1, 5, 6)
    np.testing.assert_array_equal(drawn.sum(axis=2), np.tile([0, 3, 0, 1, 0], (300, 1)))
    by_group = np.sort(drawn[:, 1].reshape(-1, 3, 2).sum(axis=2), axis=1)
    np.testing.assert_array_equal(by_group, np.tile([0, 1, 2], (300, 1)))
    assert drawn[:, 1].mean(axis=0) == pytest.approx(np.full(6, 0.5), abs=0.1)


def test_a_class_that_tops_its_layers_is_found_and_told_what_could_have_been() -> None:
    rng = np.random.default_rng(3)
    importance, classed = rng.standard_normal((30, HEADS)), some_class(rng)
    importance[classed] += 10
    found = class_rank(importance, classed, groups=kv_groups(30, HEADS, GROUPS))
    assert found.value > 0.8 and found.p < 0.001
    assert 0.2 < found.critical < found.detectable < 0.8


def test_the_critical_value_parts_p_at_five_percent() -> None:
    rng = np.random.default_rng(4)
    for _ in range(60):
        found = class_rank(rng.standard_normal((12, 6)), rng.random((12, 6)) < 0.15, seed=5)
        assert (found.p <= 0.05) == (abs(found.value) > found.critical + 1e-9)


def test_heads_that_cannot_be_ranked_are_left_out_and_counted() -> None:
    importance = np.random.default_rng(5).standard_normal((4, 5))
    importance[0, :4] = np.nan
    importance[1] = np.nan
    classed = np.zeros((4, 5), dtype=bool)
    classed[0, 4] = classed[1, 2] = classed[2, 1] = True
    found = class_rank(importance, classed)
    assert (found.n_classed, found.classed_left_out, found.n_heads) == (1, 2, 10)
    classed[2, 1] = False
    nothing = class_rank(importance, classed)
    assert np.isnan([nothing.value, nothing.p, nothing.critical]).all()
    with pytest.raises(UsageError, match="got 0 classed heads"):
        class_rank(importance, np.zeros((4, 5), dtype=bool))


def false_positives(
    runs: int, share: float, monkeypatch: pytest.MonkeyPatch, *, grouped: bool, **options: tuple[tuple[int, ...], ...]
) -> float:
    monkeypatch.setattr(sys.modules["ablation.statistics.class_rank"], "permutation_count", lambda family: 399)
    rng, groups = np.random.default_rng(6), kv_groups(30, HEADS, GROUPS) if grouped else None
    tests = [
        class_rank(grouped_scores(rng, share), some_class(rng, **options), groups=groups, seed=rng) for _ in range(runs)
    ]
    return float(np.mean([test.p <= 0.05 for test in tests]))


def test_its_level_is_kept_with_groups_and_not_without(monkeypatch: pytest.MonkeyPatch) -> None:
    whole_groups = ((3,),) * 4
    assert 0.025 < false_positives(300, 0.6, monkeypatch, grouped=True, patterns=whole_groups) < 0.08
    assert false_positives(100, 0.6, monkeypatch, grouped=False, patterns=whole_groups) > 0.12


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_false_positive_rate_with_groups(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """T of eleven heads moves in steps of 1/44, and p counts what is as far from 0: a little under 5%."""
    assert 0.03 < false_positives(2_500, share, monkeypatch, grouped=True) < 0.055
