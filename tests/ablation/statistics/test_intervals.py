"""Intervals by cluster: textbook cases, coverage, and small tasks that must not be rewarded."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import beta, binom, multinomial, norm, sem, t

from ablation.statistics import cluster_mean, cluster_ratio
from ablation.statistics.intervals import PAIRED_LOSS, PROPORTION
from interp.errors import UsageError


def test_single_items_give_the_ordinary_standard_error() -> None:
    values = np.random.default_rng(0).standard_normal(37)
    found = cluster_mean(values, np.arange(37))
    assert (found.value, found.stderr) == pytest.approx((values.mean(), sem(values)))
    expected = t.interval(0.95, 36, loc=values.mean(), scale=sem(values))
    assert found.interval() == pytest.approx(expected)
    assert found.lower_bound() == pytest.approx(t.ppf(0.05, 36, loc=values.mean(), scale=sem(values)))


def test_copies_of_an_item_add_nothing() -> None:
    values = np.random.default_rng(1).standard_normal(20)
    once = cluster_mean(values, np.arange(20))
    copied = cluster_mean(np.repeat(values, 7), np.repeat(np.arange(20), 7) * -3)
    assert (copied.value, copied.stderr) == pytest.approx((once.value, once.stderr))
    assert (copied.n_items, copied.n_clusters) == (140, 20)
    treated_alone = cluster_mean(np.repeat(values, 7), np.arange(140))
    assert treated_alone.stderr < 0.5 * once.stderr


def test_interval_of_a_clustered_mean_covers() -> None:
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(500):
        sizes = rng.integers(1, 9, 40)
        labels = np.repeat(np.arange(40), sizes)
        values = rng.standard_normal(40)[labels] + rng.standard_normal(labels.size)
        low, high = cluster_mean(values, labels).interval()
        covered.append(low <= 0 <= high)
    assert 0.92 <= np.mean(covered) <= 0.975


def test_ratio_covers_its_truth() -> None:
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(500):
        below = 1 + rng.random(80)
        above = 0.7 * below + 0.3 * rng.standard_normal(80)
        low, high = cluster_ratio(above, below, np.arange(80)).interval()
        covered.append(low <= 0.7 <= high)
    assert 0.925 <= np.mean(covered) <= 0.975
    assert np.isnan(cluster_ratio(np.ones(4), np.zeros(4), np.arange(4)).value)


@pytest.mark.parametrize(
    ("better", "worse", "n"), [(0.02, 0.04, 60), (0.05, 0.05, 60), (0.0, 0.04, 100), (0.0, 0.02, 170)]
)
def test_lower_bound_of_a_paired_difference_holds(better: float, worse: float, n: int) -> None:
    """P(bound > truth), summed over every table that can come up, stays near 5% at most."""
    wrong = 0.0
    for gains, losses in itertools.product(range(16 if better else 1), range(16)):
        values = np.repeat([1.0, -1.0, 0.0], [gains, losses, n - gains - losses])
        bound = cluster_mean(values, np.arange(n), pseudo=PAIRED_LOSS).lower_bound()
        chances = (better, worse, 1 - better - worse)
        wrong += (bound > better - worse) * multinomial.pmf((gains, losses, n - gains - losses), n, chances)
    assert wrong < 0.055


@pytest.mark.parametrize(("p", "n"), [(0.5, 40), (0.9, 40), (0.97, 60)])
def test_lower_bound_of_a_proportion_holds(p: float, n: int) -> None:
    labels, right = np.arange(n), np.arange(n + 1)
    bounds = [cluster_mean((labels < x).astype(float), labels, pseudo=PROPORTION).lower_bound() for x in right]
    assert binom.pmf(right, n, p)[np.array(bounds) > p].sum() < 0.055


def test_no_change_in_few_items_is_no_proof() -> None:
    few = cluster_mean(np.zeros(10), np.arange(10), pseudo=PAIRED_LOSS)
    many = cluster_mean(np.zeros(400), np.arange(400), pseudo=PAIRED_LOSS)
    assert few.value == many.value == 0.0
    assert few.lower_bound() < -0.2 < -0.02 < many.lower_bound() < 0
    copies = cluster_mean(np.zeros(400), np.arange(400) % 10, pseudo=PAIRED_LOSS)
    assert copies.lower_bound() == pytest.approx(few.lower_bound())


@pytest.mark.parametrize(("worse", "n"), [(0, 200), (1, 100), (3, 150), (10, 400)])
def test_losses_alone_give_wilsons_bound(worse: int, n: int) -> None:
    found = cluster_mean(-(np.arange(n) < worse).astype(float), np.arange(n), pseudo=PAIRED_LOSS)
    z, share = norm.ppf(0.95), worse / n
    wilson = (share + z**2 / 2 / n + z * np.sqrt(share * (1 - share) / n + z**2 / 4 / n**2)) / (1 + z**2 / n)
    assert found.value == pytest.approx(-share)
    assert -found.lower_bound() == pytest.approx(wilson, rel=0.25)
    exact = beta.ppf(0.95, worse + 1, n - worse)
    assert -found.lower_bound() == pytest.approx(exact, rel=0.12)


def test_refusals_say_why() -> None:
    with pytest.raises(UsageError, match="two clusters or more; got 1"):
        cluster_mean(np.ones(3), np.zeros(3, dtype=np.int64))
    with pytest.raises(UsageError, match="1 of 2 values"):
        cluster_mean(np.array([1.0, np.nan]), np.arange(2))
