"""Power against published sample sizes, against simulation, and against itself read backwards."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ablation.statistics import (
    cluster_mean,
    documents_for,
    documents_for_equivalence,
    equivalence_bound,
    mean_over_tasks,
    planned_estimate,
    power_of,
    smallest_effect,
)
from interp.errors import UsageError

UNIT = planned_estimate(1.0, clusters=40, documents=40)


@pytest.mark.parametrize(("effect", "documents"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_sample_sizes_of_the_one_sample_t_test(effect: float, documents: int) -> None:
    """Cohen's small, medium and large effect, two-sided .05, power .8: what G*Power 3.1 gives (Faul et al. 2007)."""
    assert documents_for(effect, UNIT) == documents


def test_smallest_effect_and_documents_are_each_others_inverse() -> None:
    for documents in (10, 40, 333):
        effect = smallest_effect(UNIT, documents=documents)
        assert power_of(effect, UNIT, documents=documents) == pytest.approx(0.8)
        assert documents_for(effect * (1 + 1e-6), UNIT) == documents
    assert smallest_effect(UNIT) == smallest_effect(UNIT, documents=40)


def test_power_of_nothing_is_the_level() -> None:
    assert power_of(0.0, UNIT) == pytest.approx(0.05)
    assert power_of(0.0, UNIT, level=0.2) == pytest.approx(0.2)
    assert power_of(10.0, UNIT) == pytest.approx(1.0)


def test_the_power_of_a_clustered_mean_is_what_simulation_finds() -> None:
    """Three documents a cluster that share half their variance; planned from the clusters' deviation alone."""
    rng, clusters, effect = np.random.default_rng(0), 30, 0.4
    deviation = math.sqrt(0.5 + 0.5 / 3)
    plan = planned_estimate(deviation, clusters=clusters, documents=90)
    labels, found = np.repeat(np.arange(clusters), 3), []
    for _ in range(1_500):
        values = effect + math.sqrt(0.5) * (rng.standard_normal(clusters)[labels] + rng.standard_normal(90))
        low, high = cluster_mean(values, labels).interval()
        found.append(not low <= 0 <= high)
    assert power_of(effect, plan) == pytest.approx(np.mean(found), abs=0.03)


def test_tasks_of_a_screen_are_planned_together() -> None:
    """Six tasks show together what one shows on six times the documents, but for the degrees of freedom."""
    together = mean_over_tasks([planned_estimate(1.0, clusters=40, documents=40)] * 6)
    assert together.n_items == 240
    assert smallest_effect(together) == pytest.approx(smallest_effect(UNIT, documents=240), rel=0.002)
    assert documents_for(0.1, together) == pytest.approx(documents_for(0.1, UNIT), abs=2)


def test_equivalence_by_hand_and_by_simulation() -> None:
    """Schuirmann's two tests: the bound is |mean| + t(.95) x stderr."""
    values = np.random.default_rng(1).normal(0.1, 1.0, 50)
    found = cluster_mean(values, np.arange(50))
    assert equivalence_bound(found) == pytest.approx(abs(values.mean()) + 1.676551 * values.std(ddof=1) / math.sqrt(50))
    documents = documents_for_equivalence(0.3, UNIT)
    assert documents == pytest.approx((1.6449 + 1.2816) ** 2 / 0.3**2, abs=3)
    rng, shown = np.random.default_rng(2), []
    for _ in range(1_500):
        sample = cluster_mean(rng.standard_normal(int(documents)), np.arange(int(documents)))
        shown.append(equivalence_bound(sample) < 0.3)
    assert np.mean(shown) == pytest.approx(0.8, abs=0.035)


def test_an_effect_near_the_margin_takes_more_documents_and_beyond_it_no_number_does() -> None:
    needed = [documents_for_equivalence(0.3, UNIT, effect=effect) for effect in (0.0, 0.1, 0.2, 0.29)]
    assert needed == sorted(needed)
    assert documents_for_equivalence(0.3, UNIT, effect=0.3) == math.inf
    assert documents_for(0.0, UNIT) == math.inf
    assert documents_for(1e-9, UNIT) == math.inf


def test_refusals_say_why() -> None:
    with pytest.raises(UsageError, match="fewer than two clusters"):
        smallest_effect(planned_estimate(1.0, clusters=10, documents=100), documents=15)
    with pytest.raises(UsageError, match=r"got -1\.0, 10 clusters and 10 documents"):
        planned_estimate(-1.0, clusters=10, documents=10)
    with pytest.raises(UsageError, match=r"between the level \(0.05\) and 1; got 0.05"):
        smallest_effect(UNIT, power=0.05)
