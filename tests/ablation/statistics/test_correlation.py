"""Rank correlations against SciPy, and what a trend over layers does to each of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from ablation.statistics import bansal_released, kendall, spearman, spearman_within_layers
from interp.errors import UsageError


def tables(seed: int, layers: int = 6, heads: int = 9, *, tied: bool = False) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.random.default_rng(seed).standard_normal((2, layers, heads))
    return (np.round(a), np.round(a + b)) if tied else (a, a + b)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_global_coefficients_equal_scipy(seed: int, tied: bool) -> None:
    a, b = tables(seed, tied=tied)
    assert spearman(a, b).value == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic, abs=1e-12)
    assert kendall(a, b).value == pytest.approx(kendalltau(a.ravel(), b.ravel()).statistic, abs=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_within_layers_is_the_mean_of_scipy_over_layers(tied: bool) -> None:
    a, b = tables(7, tied=tied)
    expected = np.mean([spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)])
    found = spearman_within_layers(a, b)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert (found.layers_used, found.layers_skipped) == (6, 0)


def test_layers_without_heads_are_left_out_and_counted() -> None:
    a, b = tables(3)
    a[1], b[4, 2:5] = np.nan, np.nan
    known = np.isfinite(a) & np.isfinite(b)
    found = spearman(a, b)
    assert found.value == pytest.approx(spearmanr(a[known], b[known]).statistic, abs=1e-12)
    assert (found.n_heads, found.heads_left_out) == (42, 12)
    assert kendall(a, b).heads_left_out == 12
    within = spearman_within_layers(a, b)
    layers = [spearmanr(x[k], y[k]).statistic for x, y, k in zip(a, b, known, strict=True) if k.any()]
    assert within.value == pytest.approx(np.mean(layers), abs=1e-12)
    assert (within.layers_used, within.layers_skipped) == (5, 0)


def test_constant_layers_are_skipped_and_counted() -> None:
    a, b = tables(4)
    a[0], b[3] = 1.5, 0.0
    found = spearman_within_layers(a, b)
    layers = [spearmanr(a[layer], b[layer]).statistic for layer in (1, 2, 4, 5)]
    assert found.value == pytest.approx(np.mean(layers), abs=1e-12)
    assert (found.layers_used, found.layers_skipped) == (4, 2)


def test_undefined_coefficients_are_nan() -> None:
    a, constant = tables(5)[0], np.ones((6, 9))
    for function in (spearman, kendall, spearman_within_layers):
        assert np.isnan(function(a, constant).value)
    one_head = spearman_within_layers(a[:, :1], a[:, :1])
    assert np.isnan(one_head.value)
    assert one_head.layers_skipped == 6


def test_identical_and_reversed_rankings() -> None:
    a = tables(6)[0]
    for function in (spearman, kendall, spearman_within_layers):
        assert function(a, np.exp(a)).value == pytest.approx(1.0)
        assert function(a, -a).value == pytest.approx(-1.0)
    assert bansal_released(a, np.exp(a)).value == pytest.approx(1.0)


def test_a_layer_trend_is_seen_globally_and_not_within_layers() -> None:
    trend = np.arange(30.0)[:, None]
    a, b = trend + np.random.default_rng(0).standard_normal((2, 30, 9))
    assert spearman(a, b).value > 0.95
    assert abs(spearman_within_layers(a, b).value) < 0.2


def test_released_coefficient_correlates_head_numbers() -> None:
    """At 4,608 heads a true .95 comes out near 0, and a trend over layers alone comes out high (Method 5)."""
    a, noise = np.random.default_rng(1).standard_normal((2, 64, 72))
    b = 0.95 * a + np.sqrt(1 - 0.95**2) * noise
    assert spearman(a, b).value > 0.94
    released = bansal_released(a, b).value
    assert abs(released) < 0.06
    orders = np.argsort(a.ravel(), kind="stable"), np.argsort(b.ravel(), kind="stable")
    assert released == pytest.approx(spearmanr(*orders).statistic, abs=1e-12)
    trend = np.arange(64.0)[:, None]
    a, b = 0.1 * trend + np.random.default_rng(2).standard_normal((2, 64, 72))
    assert bansal_released(a, b).value > 0.5


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 6))
def test_symmetric_bounded_and_blind_to_monotone_change(seed: int, layers: int, heads: int) -> None:
    a, b = tables(seed, layers, heads, tied=True)
    for function in (spearman, kendall, spearman_within_layers):
        value = function(a, b).value
        assert np.isnan(value) or -1 <= value <= 1
        np.testing.assert_allclose([function(b, a).value, function(3 * a + 7, b).value], value, atol=1e-12)


def test_refusals_say_why() -> None:
    a, b = tables(0)
    with pytest.raises((UsageError, TypeError)):
        spearman(a, b[:3])
    b[0, 0] = np.inf
    with pytest.raises(UsageError, match="1 scores are infinite"):
        spearman(a, b)
