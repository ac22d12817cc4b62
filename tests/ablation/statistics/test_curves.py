"""Pruning curves: areas with closed forms, the removable share, and tasks at chance."""

from __future__ import annotations

import numpy as np
import pytest

from ablation.statistics import TaskChange, area_under_curve, chance_check, removable_share, removable_verdict
from interp.errors import UsageError

PERCENTS = tuple(range(0, 100, 10))


def curve(accuracies: list[float], n: int) -> np.ndarray:
    """Items right in a fixed order, so that a lower accuracy loses items and gains none."""
    return np.stack([(np.arange(n) < round(accuracy * n)).astype(float) for accuracy in accuracies])


def test_area_of_known_shapes() -> None:
    labels, chance = np.arange(100), np.full(100, 0.25)
    flat = area_under_curve(curve([0.75] * 10, 100), chance, labels, percents=PERCENTS)
    assert flat.value == pytest.approx(1.0)
    assert flat.ci_high - flat.ci_low == pytest.approx(0.0, abs=1e-9)
    at_once = area_under_curve(curve([0.75] + [0.25] * 9, 100), chance, labels, percents=PERCENTS)
    assert at_once.value == pytest.approx(5 / 90)
    line = curve(list(np.linspace(0.75, 0.25, 10)), 1800)
    falling = area_under_curve(line, np.full(1800, 0.25), np.arange(1800), percents=PERCENTS)
    assert falling.value == pytest.approx(0.5, abs=1e-3)
    assert not falling.check.at_chance


def test_area_equals_the_trapezoid_of_the_normalised_means() -> None:
    rng = np.random.default_rng(0)
    metric = (rng.random((10, 60)) < np.linspace(0.9, 0.3, 10)[:, None]).astype(float)
    chance = 1 / rng.integers(2, 5, 60)
    found = area_under_curve(metric, chance, np.arange(60) // 3, percents=PERCENTS)
    normalised = (metric.mean(axis=1) - chance.mean()) / (metric[0].mean() - chance.mean())
    by_hand = sum((normalised[i] + normalised[i + 1]) / 2 * 10 for i in range(9)) / 90
    assert found.value == pytest.approx(by_hand)
    assert found.ci_low < found.value < found.ci_high


def test_interval_of_the_area_covers() -> None:
    rng = np.random.default_rng(1)
    probabilities = np.linspace(0.9, 0.3, 10)
    truth = np.trapezoid((probabilities - 0.25) / 0.65, dx=10) / 90
    covered = []
    for _ in range(300):
        skill = rng.random(40).repeat(3)[None]
        metric = (0.5 * skill + 0.5 * rng.random((10, 120)) < _thresholds(probabilities)[:, None]).astype(float)
        found = area_under_curve(metric, np.full(120, 0.25), np.arange(120) // 3, percents=PERCENTS)
        covered.append(found.ci_low <= truth <= found.ci_high)
    assert 0.90 <= np.mean(covered) <= 0.985


def _thresholds(probabilities: np.ndarray) -> np.ndarray:
    """Quantiles of the mean of two uniform variables (a triangle on 0..1)."""
    return np.where(probabilities < 0.5, np.sqrt(probabilities / 2), 1 - np.sqrt((1 - probabilities) / 2))


def test_at_chance() -> None:
    chance = np.full(200, 0.5)
    good, poor = curve([0.8], 200)[0], curve([0.52], 200)[0]
    assert not chance_check(good, chance, np.arange(200)).at_chance
    assert chance_check(poor, chance, np.arange(200)).at_chance
    assert chance_check(good, chance, np.arange(200), majority=0.79).at_chance
    three_right = chance_check(np.ones(3), np.full(3, 0.5), np.arange(3))
    assert three_right.metric == 1.0
    assert three_right.at_chance


def test_area_is_undefined_where_the_full_model_is_not_above_chance() -> None:
    found = area_under_curve(curve([0.4] * 10, 100), np.full(100, 0.5), np.arange(100), percents=PERCENTS)
    assert np.isnan([found.value, found.ci_low, found.ci_high]).all()
    assert found.check.at_chance


def test_removable_share_stops_at_the_first_failure() -> None:
    accuracies = [0.8, 0.8, 0.8, 0.7, 0.8, 0.8, 0.2, 0.2, 0.2, 0.2]
    found = removable_share(curve(accuracies, 1000), np.arange(1000), percents=PERCENTS, outcome="metric")
    assert found.percent == 20
    np.testing.assert_allclose(found.difference, np.array(accuracies) - 0.8)
    assert found.margin == 0.02
    assert found.lower_bound[0] == 0.0
    assert (found.lower_bound[1:] < found.difference[1:]).all()


def test_small_tasks_are_not_rewarded() -> None:
    unchanged = [0.8] * 10
    small = removable_share(curve(unchanged, 40), np.arange(40), percents=PERCENTS, outcome="metric")
    large = removable_share(curve(unchanged, 400), np.arange(400), percents=PERCENTS, outcome="metric")
    in_five = removable_share(curve(unchanged, 400), np.arange(400) % 5, percents=PERCENTS, outcome="metric")
    assert (small.percent, large.percent, in_five.percent) == (0, 90, 0)


def test_log_likelihood_margin() -> None:
    base = np.random.default_rng(2).normal(-3, 2, 500)
    drops = np.array([0.0, 0.01, 0.03, 0.049, 0.08])
    values = base - drops[:, None]
    found = removable_share(values, np.arange(500), percents=[0, 10, 20, 30, 40], outcome="log_likelihood")
    assert found.percent == 30
    np.testing.assert_allclose(found.lower_bound, -drops, atol=1e-9)
    noisy = values + np.random.default_rng(3).normal(0, 1, values.shape) * (drops[:, None] > 0)
    wide = removable_share(noisy, np.arange(500), percents=[0, 10, 20, 30, 40], outcome="log_likelihood")
    assert wide.percent == 0


@pytest.mark.parametrize(("loss", "percent"), [(0.049, 20), (0.05, 10), (0.051, 10), (-0.1, 20)])
def test_a_loss_as_large_as_the_margin_is_not_free(loss: float, percent: int) -> None:
    """Every document loses as much, so that the bound is the loss itself: only less than .05 nats may go."""
    values = np.stack([np.zeros(64), np.zeros(64), np.full(64, -loss)])
    found = removable_share(values, np.arange(64), percents=(0, 10, 20), outcome="log_likelihood")
    assert found.lower_bound[2] == pytest.approx(-loss)
    assert found.percent == percent
    verdict = removable_verdict([TaskChange(values, np.arange(64))], percents=(0, 10, 20), outcome="choice")
    assert verdict.shown == percent
    assert verdict.refuted == (20 if loss > 0.05 else None)


def test_refusals_say_why() -> None:
    labels = np.arange(50)
    with pytest.raises(UsageError, match="ascending from 0"):
        removable_share(curve([0.8, 0.7], 50), labels, percents=[10, 20], outcome="metric")
    with pytest.raises(UsageError, match="got 3 rows for percentages"):
        removable_share(curve([0.8] * 3, 50), labels, percents=[0, 10], outcome="metric")
    with pytest.raises(UsageError, match="between 0"):
        removable_share(-curve([0.8, 0.7], 50), labels, percents=[0, 10], outcome="metric")
