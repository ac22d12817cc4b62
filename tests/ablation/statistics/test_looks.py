"""Boundaries against published ones, and the level kept when a study looks three times."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from ablation.statistics import cluster_mean, obrien_fleming_looks, verdict_at_look
from ablation.statistics.looks import EVEN, crossing_chances, spending
from interp.errors import UsageError


def test_three_looks_are_those_of_gsdesign() -> None:
    """gsDesign 3.6, `gsDesign(k = 3, test.type = 1, alpha = .025, sfu = sfLDOF)`: 3.710303, 2.511427, 1.993048."""
    found = obrien_fleming_looks()
    assert found.boundaries == pytest.approx((3.710303, 2.511427, 1.993048), abs=2e-6)
    assert found.spent[-1] == pytest.approx(0.05)
    assert found.nominal == pytest.approx(2 * norm.sf(found.boundaries))


def test_two_looks_are_those_of_lan_and_demets() -> None:
    """Lan-DeMets boundaries of O'Brien-Fleming type for two equal looks: 2.963 and 1.969 (Proschan et al. 2006)."""
    assert obrien_fleming_looks((0.5, 1.0)).boundaries == pytest.approx((2.963, 1.969), abs=6e-4)


@pytest.mark.parametrize(("constant", "looks"), [(1.977, 2), (2.004, 3)])
def test_the_integration_gives_the_level_of_the_original_boundaries(constant: float, looks: int) -> None:
    """O'Brien and Fleming's own C sqrt(K/k): C = 1.977 and 2.004 (Jennison and Turnbull 2000, table 2.3)."""
    shares = [look / looks for look in range(1, looks + 1)]
    crossed = crossing_chances([constant / np.sqrt(share) for share in shares], shares)
    assert crossed[-1] == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize(("looks", "rate"), [(2, 0.083), (3, 0.107)])
def test_testing_at_five_percent_each_time_is_wrong_more_often(looks: int, rate: float) -> None:
    """Armitage, McPherson and Rowe 1969, table 2."""
    shares = [look / looks for look in range(1, looks + 1)]
    assert crossing_chances([1.959964] * looks, shares)[-1] == pytest.approx(rate, abs=5e-4)


def test_one_look_is_the_plain_test_and_an_early_one_costs_nothing() -> None:
    assert obrien_fleming_looks((1.0,)).boundaries == pytest.approx((1.959964,), abs=1e-6)
    early = obrien_fleming_looks((0.01, 0.5, 1.0))
    assert early.boundaries[1:] == pytest.approx(obrien_fleming_looks((0.5, 1.0)).boundaries, abs=1e-6)


def test_what_is_spent_is_what_is_crossed() -> None:
    shares = (0.2, 0.7, 1.0)
    found = obrien_fleming_looks(shares, level=0.1)
    assert crossing_chances(found.boundaries, shares) == pytest.approx([spending(share, 0.1) for share in shares])
    assert list(found.spent) == sorted(found.spent)


def test_crossing_chances_are_those_of_simulated_sums() -> None:
    rng, shares = np.random.default_rng(0), np.array([0.2, 0.7, 1.0])
    steps = rng.standard_normal((200_000, 3)) * np.sqrt(np.diff(shares, prepend=0))
    z = np.abs(steps.cumsum(axis=1) / np.sqrt(shares))
    expected = [(z[:, : look + 1] > np.array([2.5, 2.2, 2.0])[: look + 1]).any(axis=1).mean() for look in range(3)]
    assert crossing_chances([2.5, 2.2, 2.0], shares.tolist()) == pytest.approx(expected, abs=0.0015)


BLOCK = 20


def simulate(runs: int, effect: float, *, tasks: int, margin: float) -> tuple[float, float]:
    """Studies of three blocks of documents: how often they show the effect, and its absence; by hand, all at once."""
    effects, absences = obrien_fleming_looks(), obrien_fleming_looks(level=0.1)
    documents = effect + np.random.default_rng(1).standard_normal((runs, tasks, 3 * BLOCK))
    ended = np.zeros(runs, dtype=np.int64)
    for look in range(3):
        seen = documents[:, :, : BLOCK * (look + 1)]
        variances = seen.var(axis=2, ddof=1) / seen.shape[2]
        mean, stderr = seen.mean(axis=(1, 2)), np.sqrt(variances.sum(axis=1)) / tasks
        freedom = variances.sum(axis=1) ** 2 / (variances**2 / (seen.shape[2] - 1)).sum(axis=1)
        shown = np.abs(mean) > t.ppf(1 - effects.nominal[look] / 2, freedom) * stderr
        absent = np.abs(mean) + t.ppf(1 - absences.nominal[look] / 2, freedom) * stderr < margin
        ended = np.where(ended == 0, np.where(shown, 1, np.where(absent, 2, 0)), ended)
    return float((ended == 1).mean()), float((ended == 2).mean())


@pytest.mark.parametrize("tasks", [1, 6])
def test_three_looks_keep_the_level(tasks: int) -> None:
    """An effect that is not there is shown in 5% of studies; one as large as the margin is called absent in 5%."""
    shown, _ = simulate(20_000, 0.0, tasks=tasks, margin=1e-3)
    assert shown == pytest.approx(0.05, abs=0.005)
    margin = 0.4 / np.sqrt(tasks)
    _, absent = simulate(20_000, margin, tasks=tasks, margin=margin)
    assert absent == pytest.approx(0.05, abs=0.006)


def test_stopping_where_absence_is_shown_only_lowers_the_level() -> None:
    shown, absent = simulate(20_000, 0.0, tasks=4, margin=0.35)
    assert shown < 0.03 and shown + absent > 0.99


def test_the_verdict_at_a_look_is_the_test_at_its_nominal_levels() -> None:
    rng, effects, absences = np.random.default_rng(2), obrien_fleming_looks(), obrien_fleming_looks(level=0.1)
    for run in range(12):
        look = run % 3
        estimate = cluster_mean(rng.normal(0.3 * (run % 2), 1, 60), np.arange(60))
        found = verdict_at_look(estimate, look, margin=0.3)
        reach = t.ppf(1 - effects.nominal[look] / 2, 59) * estimate.stderr
        assert (found.low, found.high) == pytest.approx((estimate.value - reach, estimate.value + reach))
        bound = abs(estimate.value) + t.ppf(1 - absences.nominal[look] / 2, 59) * estimate.stderr
        assert found.equivalence_bound == pytest.approx(bound)
        expected = "shown" if abs(estimate.value) > reach else "absent" if bound < 0.3 else "undecided"
        assert found.kind == expected


def test_refusals_say_why() -> None:
    for shares in ((0.25, 0.5, 0.75, 1.0), (0.5, 0.9), (0.5, 0.5, 1.0), ()):
        with pytest.raises(UsageError, match="one to 3 times"):
            obrien_fleming_looks(shares)
    with pytest.raises(UsageError, match="looks 0 to 2; got look 3"):
        verdict_at_look(cluster_mean(np.arange(9.0), np.arange(9)), 3, EVEN)
