"""Retention by hand, against pruning one order at a time, and at its two extremes."""

from __future__ import annotations

import numpy as np
import pytest

from ablation.statistics import retention
from interp.errors import UsageError


def test_by_hand() -> None:
    score = np.array([[1.0, 2.0], [3.0, 4.0]])
    importance = np.array([[0.1, 0.9], [0.5, 0.2]])
    found = retention(
        score, importance, null_mean=np.array([[1.5, 1.5], [1.0, 2.0]]), percents=[0, 25, 50, 60, 75, 100]
    )
    assert found.removed.tolist() == [0, 1, 2, 2, 3, 4]
    np.testing.assert_allclose(found.raw, [1, 0.9, 0.5, 0.5, 0.2, 0])
    assert found.excess is not None
    np.testing.assert_allclose(found.excess, np.array([4.5, 4.5, 2.5, 2.5, 0.5, 0]) / 4.5)
    np.testing.assert_allclose(found.diagonal, [1, 0.75, 0.5, 0.5, 0.25, 0])


def test_tied_importance_is_the_mean_over_orders() -> None:
    rng = np.random.default_rng(0)
    score, importance = rng.random((5, 6)), np.round(2 * rng.random((5, 6)))
    found = retention(score, importance)
    kept = []
    for _ in range(3_000):
        order = np.lexsort((rng.random(30), importance.ravel()))
        kept.append([score.ravel()[order[removed:]].sum() / score.sum() for removed in found.removed])
    np.testing.assert_allclose(found.raw, np.mean(kept, axis=0), atol=0.005)


def test_constant_score_falls_along_the_diagonal() -> None:
    importance = np.random.default_rng(1).random((30, 9))
    found = retention(np.full((30, 9), 0.3), importance)
    np.testing.assert_allclose(found.raw, found.diagonal)


def test_excess_shows_what_a_floor_hides() -> None:
    """Three strong heads over a floor that all have: the raw score nearly follows the diagonal, the excess doesn't."""
    score = np.full((30, 9), 0.5)
    score[5, :3] += 0.4
    found = retention(score, score, null_mean=np.full((30, 9), 0.5))
    assert found.excess is not None
    np.testing.assert_allclose(found.excess, 1.0)
    assert np.abs(found.raw - found.diagonal).max() < 0.02


def test_own_order_keeps_most_and_random_order_keeps_the_diagonal() -> None:
    rng = np.random.default_rng(2)
    score = rng.random((10, 9)) ** 4
    own, inverse = retention(score, score).raw, retention(score, -score).raw
    assert (own[1:] > inverse[1:]).all()
    drawn = np.mean([retention(score, rng.random((10, 9))).raw for _ in range(400)], axis=0)
    np.testing.assert_allclose(drawn, retention(score, score).diagonal, atol=0.02)


def test_heads_without_scores_and_empty_totals() -> None:
    score = np.array([[np.nan, np.nan], [1.0, 3.0]])
    found = retention(score, np.ones((2, 2)), null_mean=np.full((2, 2), 9.0), percents=[50])
    assert (found.n_heads, found.heads_left_out, found.raw[0]) == (2, 2, 0.5)
    assert found.excess is not None
    assert np.isnan(found.excess).all()
    assert retention(score, np.ones((2, 2))).excess is None


def test_refusals_say_why() -> None:
    with pytest.raises(UsageError, match="1 negative"):
        retention(np.array([[1.0, -1.0]]), np.ones((1, 2)))
    with pytest.raises(UsageError, match="between 0 and 100"):
        retention(np.ones((1, 2)), np.ones((1, 2)), percents=[101])
