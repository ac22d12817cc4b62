"""Key-value groups are shuffled whole, and a test that does so keeps its level where a free shuffle does not."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from ablation.statistics import (
    kv_groups,
    partial_spearman_within_layers,
    permutation_matrix,
    permutation_table,
    permutation_test,
)
from ablation.statistics.kv_groups import group_of_valid, permuted_heads
from interp.errors import UsageError
from tests.ablation.statistics.grouped import GROUPS, HEADS, LAYERS, grouped_scores


def test_a_group_is_the_query_heads_of_one_key_value_head() -> None:
    np.testing.assert_array_equal(kv_groups(2, 6, 3), [[0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5]])
    np.testing.assert_array_equal(kv_groups(1, 4, 4), [[0, 1, 2, 3]])
    np.testing.assert_array_equal(kv_groups(2, 4, 1), [[0] * 4, [1] * 4])
    with pytest.raises(UsageError, match="9 query heads can't share 2 key-value heads"):
        kv_groups(1, 9, 2)


def test_every_order_of_groups_and_of_heads_in_them_comes_up_equally_often() -> None:
    """Two groups of two heads: 2! x 2! x 2! = 8 of the 24 orders."""
    groups = np.array([0, 1, 0, 1])
    drawn = permuted_heads([slice(0, 4)], 16_000, np.random.default_rng(0), groups=groups)
    found = Counter(map(tuple, drawn.tolist()))
    expected = [
        order
        for order in itertools.permutations(range(4))
        if all((groups[order[i]] == groups[order[j]]) == (groups[i] == groups[j]) for i in range(4) for j in range(4))
    ]
    assert sorted(found) == sorted(expected) and len(expected) == 8
    assert all(abs(count / 16_000 - 1 / 8) < 0.012 for count in found.values())


def test_groups_change_places_with_groups_of_their_size_in_their_layer_only() -> None:
    """Layer 0 has groups of 2, 2 and 1 scored heads, layer 1 one of 2."""
    groups = np.array([0, 0, 1, 1, 2, 3, 3])
    order = permuted_heads([slice(0, 5), slice(5, 7)], 500, np.random.default_rng(1), groups=groups)
    assert set(order[:, :4].ravel()) == {0, 1, 2, 3}
    assert set(order[:, 4]) == {4}
    assert set(order[:, 5:].ravel()) == {5, 6}
    np.testing.assert_array_equal(groups[order[:, 0]], groups[order[:, 1]])


def test_one_head_a_group_or_one_group_a_layer_is_the_free_shuffle() -> None:
    a, b = np.random.default_rng(2).standard_normal((2, 8, 6))
    free = permutation_test(a, b, level="within_layer")
    assert permutation_test(a, b, level="within_layer", groups=kv_groups(8, 6, 6)).p == free.p
    assert permutation_test(a, b, level="within_layer", groups=kv_groups(8, 6, 1)).p == pytest.approx(free.p, abs=0.02)


def test_grouped_p_agrees_with_all_grouped_orders() -> None:
    a, b = np.random.default_rng(3).standard_normal((2, 2, 4))
    ranks = [layer.argsort().argsort() for layer in (*a, *b)]
    orders = [o for o in itertools.permutations(range(4)) if o[0] // 2 == o[1] // 2 and o[2] // 2 == o[3] // 2]
    assert len(orders) == 8
    observed = np.mean([np.corrcoef(ranks[0], ranks[2])[0, 1], np.corrcoef(ranks[1], ranks[3])[0, 1]])
    null = [
        np.mean([np.corrcoef(ranks[0], ranks[2][list(x)])[0, 1], np.corrcoef(ranks[1], ranks[3][list(y)])[0, 1]])
        for x, y in itertools.product(orders, repeat=2)
    ]
    found = permutation_test(a, b, level="within_layer", groups=kv_groups(2, 4, 2))
    assert found.value == pytest.approx(observed)
    assert found.p == pytest.approx(np.mean(np.abs(null) >= abs(observed) - 1e-9), abs=0.015)


def test_missing_heads_are_left_out_of_their_group() -> None:
    a, b = np.random.default_rng(4).standard_normal((2, 6, 6))
    a[0] = np.nan
    a[1, :4] = np.nan
    found = permutation_test(a, b, level="within_layer", groups=kv_groups(6, 6, 3))
    assert (found.n_heads, found.heads_left_out) == (26, 10)
    assert 0 < found.p <= 1


def test_all_heads_together_are_shuffled_by_groups_through_the_whole_model() -> None:
    """A trend over layers stays significant over all heads: there groups leave their layer."""
    rng = np.random.default_rng(5)
    a, b = (grouped_scores(rng, 0.4) + 0.3 * np.arange(LAYERS)[:, None] for _ in range(2))
    groups = kv_groups(LAYERS, HEADS, GROUPS)
    assert permutation_test(a, b, level="global", groups=groups).p < 0.001
    assert permutation_matrix(np.stack([a, b]), level="global", groups=groups).p[0, 1] < 0.001


def test_refusals_say_why() -> None:
    a, b = np.random.default_rng(6).standard_normal((2, 3, 4))
    with pytest.raises(UsageError, match=r"groups have shape \(3, 2\)"):
        group_of_valid(np.zeros((3, 2), dtype=np.int64), np.ones((3, 4), dtype=bool))
    with pytest.raises(UsageError, match="heads of two layers"):
        permutation_test(a, b, level="within_layer", groups=np.tile([0, 0, 1, 1], (3, 1)))


def false_positives(batches: int, share: float, monkeypatch: pytest.MonkeyPatch, *, layers: int) -> tuple[float, float]:
    """How often unrelated rankings are found to agree at .05, with groups and without; 40 against one in each batch."""
    monkeypatch.setattr("ablation.statistics.permutation.permutation_count", lambda family: 399)
    rng, groups = np.random.default_rng(7), kv_groups(layers, HEADS, GROUPS)
    found = np.zeros(2)
    for _ in range(batches):
        rows = np.stack([grouped_scores(rng, share, layers=layers) for _ in range(40)])
        column = grouped_scores(rng, share, layers=layers)[None]
        for place, given in enumerate((groups, None)):
            table = permutation_table(rows, column, level="within_layer", groups=given, seed=rng)
            found[place] += (table.p <= 0.05).mean()
    by_groups, freely = found / batches
    return by_groups, freely


def test_a_free_shuffle_finds_too_much_where_groups_resemble_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    by_groups, freely = false_positives(40, 0.8, monkeypatch, layers=8)
    assert 0.04 < by_groups < 0.06
    assert freely > 0.12


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_false_positive_rate_with_groups(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    by_groups, freely = false_positives(250, share, monkeypatch, layers=LAYERS)
    assert 0.04 < by_groups < 0.06
    assert freely > 0.065 if share == 0.4 else freely < 0.07


def test_partial_correlation_shuffles_by_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablation.statistics.partial.permutation_count", lambda family: 199)
    rng, groups = np.random.default_rng(8), kv_groups(8, HEADS, GROUPS)
    found = np.zeros(2)
    for _ in range(250):
        a, b, covariate = (grouped_scores(rng, 0.8, layers=8) for _ in range(3))
        for place, given in enumerate((groups, None)):
            found[place] += partial_spearman_within_layers(a, b, [covariate], groups=given, seed=rng).p <= 0.05
    assert found[0] / 250 < 0.09 < found[1] / 250
