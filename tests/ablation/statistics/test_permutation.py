"""Permutation p-values: exact small cases, uniform under the null, blind or not to a trend over layers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import kstest, rankdata

from ablation.statistics import (
    holm,
    permutation_count,
    permutation_matrix,
    permutation_table,
    permutation_test,
    rank_p_value,
    spearman,
    spearman_within_layers,
)
from ablation.statistics.permutation import permuted_heads
from interp.errors import UsageError


def test_p_agrees_with_all_permutations_of_six_heads() -> None:
    a = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    b = np.array([[2.0, 1.0, 4.0], [3.0, 5.0, 5.0]])
    ranks_a, ranks_b = rankdata(a), rankdata(b)
    observed = np.corrcoef(ranks_a, ranks_b)[0, 1]
    null = [np.corrcoef(ranks_a, ranks_b[list(order)])[0, 1] for order in itertools.permutations(range(6))]
    for alternative, extreme in (
        ("two_sided", np.abs(null) >= abs(observed) - 1e-9),
        ("greater", np.array(null) >= observed - 1e-9),
    ):
        test = permutation_test(a, b, level="global", alternative=alternative)  # type: ignore[arg-type]
        assert test.value == pytest.approx(observed)
        assert test.p == pytest.approx(np.mean(extreme), abs=0.006)
        assert test.permutations == 9_999


def test_within_layer_p_agrees_with_all_permutations_inside_layers() -> None:
    a = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    b = np.array([[1.0, 2.0, 3.0], [5.0, 4.0, 6.0]])
    null = [
        np.mean([np.corrcoef([1, 2, 3], first)[0, 1], np.corrcoef([1, 2, 3], second)[0, 1]])
        for first, second in itertools.product(itertools.permutations([1, 2, 3]), repeat=2)
    ]
    test = permutation_test(a, b, level="within_layer")
    assert test.value == pytest.approx(0.75)
    assert test.p == pytest.approx(np.mean(np.abs(null) >= 0.75 - 1e-9), abs=0.006)


def test_identical_rankings_get_the_smallest_p() -> None:
    a = np.random.default_rng(0).standard_normal((10, 9))
    for level in ("global", "within_layer"):
        test = permutation_test(a, a, level=level)  # type: ignore[arg-type]
        assert test.value == pytest.approx(1.0)
        assert test.p == pytest.approx(1 / 10_000)


def test_p_is_uniform_for_independent_rankings() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 15, 8, 5))
    for level in ("global", "within_layer"):
        table = permutation_table(a, b, level=level, seed=2)  # type: ignore[arg-type]
        assert kstest(table.p.ravel(), "uniform").pvalue > 0.001
        assert table.p_holm.min() > 0.01


def test_pure_layer_trend_is_significant_globally_and_not_within_layers() -> None:
    trend = np.arange(20.0)[:, None]
    rankings = trend + np.random.default_rng(4).standard_normal((6, 20, 9))
    pairs = np.triu_indices(6, 1)
    assert (permutation_matrix(rankings, level="global").p_holm[pairs] < 0.002).all()
    assert (permutation_matrix(rankings, level="within_layer").p_holm[pairs] > 0.05).all()


def test_matrix_holds_the_coefficients_and_holm_over_its_pairs() -> None:
    rankings = np.random.default_rng(5).standard_normal((5, 6, 7)) + np.random.default_rng(6).standard_normal((6, 7))
    rankings[:, 2] = np.nan
    for level, function in (("global", spearman), ("within_layer", spearman_within_layers)):
        matrix = permutation_matrix(rankings, level=level, seed=1)  # type: ignore[arg-type]
        expected = [[function(a, b).value for b in rankings] for a in rankings]
        np.testing.assert_allclose(matrix.value, expected, atol=1e-12)
        assert np.isnan(np.diag(matrix.p)).all()
        np.testing.assert_array_equal(matrix.p_holm, matrix.p_holm.T)
        pairs = np.triu_indices(5, 1)
        np.testing.assert_allclose(matrix.p_holm[pairs], holm(matrix.p[pairs]))
        assert (matrix.family, matrix.permutations, matrix.heads_left_out) == (10, 9_999, 7)


def test_constant_ranking_has_no_p_and_does_not_count_in_holm() -> None:
    rankings = np.random.default_rng(7).standard_normal((3, 4, 5))
    rankings[2] = 1.0
    matrix = permutation_matrix(rankings, level="within_layer")
    assert np.isnan(matrix.value[0, 2])
    assert np.isnan(matrix.p[0, 2])
    assert matrix.p_holm[0, 1] == matrix.p[0, 1]


def test_same_seed_same_p_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(8).standard_normal((2, 6, 7))
    once = permutation_test(a, b, level="within_layer", seed=3)
    assert permutation_test(a, b, level="within_layer", seed=3).p == once.p
    monkeypatch.setattr("ablation.statistics.permutation.CHUNK", 42 * 1000)
    assert permutation_test(a, b, level="within_layer", seed=3).p == pytest.approx(once.p, abs=0.02)


def test_heads_stay_in_their_layer() -> None:
    order = permuted_heads([slice(0, 3), slice(3, 4), slice(4, 9)], 200, np.random.default_rng(0))
    assert set(order[:, :3].ravel()) == {0, 1, 2}
    assert set(order[:, 3]) == {3}
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(9), (200, 1)))
    np.testing.assert_allclose([(order[:, 4] == head).mean() for head in range(4, 9)], 0.2, atol=0.12)


def test_permutation_count_grows_with_the_family() -> None:
    assert [permutation_count(family) for family in (1, 99, 100, 190)] == [9_999, 9_999, 10_000, 19_000]
    with pytest.raises(UsageError):
        permutation_count(0)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1.0, 1.0])
    np.testing.assert_array_equal(holm(np.array([0.02, np.nan])), [0.02, np.nan])
    assert holm(np.array([])).shape == (0,)


def test_rank_p_by_hand() -> None:
    found = rank_p_value(2.0, np.concatenate([np.zeros(37), [2.0, 7.5]]))
    assert (found.p, found.at_least_as_large, found.n_controls, found.median) == (3 / 40, 2, 39, 0.0)
    with pytest.raises(UsageError, match="against 0 controls"):
        rank_p_value(1.0, np.array([]))
    with pytest.raises(UsageError, match="1 of them not finite"):
        rank_p_value(1.0, np.array([np.nan, 1.0]))


def test_refusals_say_why() -> None:
    a = np.zeros((2, 3))
    with pytest.raises(UsageError, match="two rankings or more"):
        permutation_matrix(a[None], level="global")


def test_equal_means_summed_in_another_order_are_a_tie() -> None:
    """Outcomes are means of counts, and ties among them are common; rounding must not decide them."""
    observed, control = 0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1
    assert observed > control
    assert rank_p_value(observed, np.array([control, 0.0])).p == pytest.approx(2 / 3)
