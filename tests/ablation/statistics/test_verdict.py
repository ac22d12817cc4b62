"""Three verdicts: known answers, claims that are wrong in one study of twenty at most, documents that do decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, sem, t

from ablation.statistics import TaskChange, cluster_mean, effect_verdict, removable_share, removable_verdict
from interp.errors import UsageError

STEPS = (0, 5, 10, 20, 30, 50, 70)


def changes(drops: list[float], n: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """The full model first; everywhere else the drop and the noise of documents."""
    values = -np.array(drops)[:, None] + noise * rng.standard_normal((len(drops), n))
    values[0] = 0.0
    return values


def test_choice_by_hand() -> None:
    rng = np.random.default_rng(0)
    values = changes([0, 0.0, 0.01, 0.05, 0.2, 1.0, 2.0], 60, 0.1, rng)
    found = removable_verdict([TaskChange(values, np.arange(60))], percents=STEPS, outcome="choice")
    reach = t.ppf(0.95, 59) * np.array([sem(row) for row in values[1:]])
    np.testing.assert_allclose(found.lower_bound[1:], values[1:].mean(axis=1) - reach)
    np.testing.assert_allclose(found.upper_bound[1:], values[1:].mean(axis=1) + reach)
    assert (found.shown, found.refuted, found.undecided) == (10.0, 30.0, (20.0,))
    assert found.documents_next == found.documents[3] > 60
    assert np.isnan(found.documents[[0, 1, 2, 4, 5, 6]]).all()
    assert (found.margin, found.n_items, found.n_clusters, found.n_tasks) == (0.05, 60, 60, 1)


def test_a_clear_answer_leaves_nothing_undecided() -> None:
    found = removable_verdict(
        [TaskChange(changes([0, 0.0, 0.0, 1.0], 80, 0.05, np.random.default_rng(1)), np.arange(80))],
        percents=(0, 10, 20, 30),
        outcome="choice",
    )
    assert (found.shown, found.refuted, found.undecided, found.documents_next) == (20.0, 30.0, (), None)


def test_shown_is_the_removable_share() -> None:
    rng = np.random.default_rng(2)
    for n in (40, 400, 2_000):
        right = (rng.random((len(STEPS), n)) < np.array([0.8, 0.8, 0.79, 0.78, 0.7, 0.5, 0.3])[:, None]).astype(float)
        clusters = np.arange(n) // 2
        found = removable_verdict([TaskChange(right - right[0], clusters)], percents=STEPS, outcome="metric")
        share = removable_share(right, clusters, percents=STEPS, outcome="metric")
        assert found.shown == share.percent
        np.testing.assert_allclose(found.lower_bound, share.lower_bound)
        np.testing.assert_allclose(found.difference, share.difference)


def test_few_documents_in_which_nothing_changed_decide_nothing() -> None:
    """The documents that would do are those at which Wilson's bound passes the margin, z²/.02 - z² = 133, and a few."""
    few = TaskChange(np.zeros((2, 50)), np.arange(50))
    found = removable_verdict([few], percents=(0, 10), outcome="metric")
    assert (found.shown, found.refuted, found.undecided) == (0.0, None, (10.0,))
    needed = int(found.documents[1])
    assert norm.ppf(0.95) ** 2 * (1 / 0.02 - 1) < needed < 180
    for documents, shown in ((needed, 10.0), (needed - 2, 0.0)):
        again = TaskChange(np.zeros((2, documents)), np.arange(documents))
        assert removable_verdict([again], percents=(0, 10), outcome="metric").shown == shown


def test_a_metric_that_always_gets_worse_is_refuted_though_it_shows_no_variance() -> None:
    worse = TaskChange(np.stack([np.zeros(30), -np.ones(30)]), np.arange(30))
    found = removable_verdict([worse], percents=(0, 10), outcome="metric")
    assert (found.shown, found.refuted) == (0.0, 10.0)
    assert -1 < found.upper_bound[1] < -0.75


def test_bounds_of_a_metric_mirror_each_other() -> None:
    change = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], (2, 60), p=[0.1, 0.8, 0.1])
    change[0] = 0.0
    up, down = (
        removable_verdict([TaskChange(sign * change, np.arange(60))], percents=(0, 10), outcome="metric")
        for sign in (1, -1)
    )
    np.testing.assert_allclose(up.upper_bound, -down.lower_bound)


def test_kept_share_of_the_choice_gain() -> None:
    """gain(p) - .95 gain(0), by hand; half the gain gone is refuted, a hundredth of it gone is shown to be harmless."""
    rng = np.random.default_rng(4)
    gain = 2 + 0.5 * rng.standard_normal(90)
    lost = np.array([0, 0.01, 0.5])[:, None] * gain + 0.02 * rng.standard_normal((3, 90))
    lost[0] = 0.0
    found = removable_verdict([TaskChange(-lost, np.arange(90), gain)], percents=(0, 10, 20), outcome="kept")
    beyond = (gain - lost) - 0.95 * gain
    np.testing.assert_allclose(found.difference, beyond.mean(axis=1))
    np.testing.assert_allclose(found.lower_bound[1], cluster_mean(beyond[1], np.arange(90)).lower_bound())
    assert found.kept is not None
    np.testing.assert_allclose(found.kept, 1 - lost.mean(axis=1) / gain.mean())
    assert (found.shown, found.refuted) == (10.0, 20.0)


def test_tasks_count_alike_and_decide_together_what_none_decides_alone() -> None:
    rng = np.random.default_rng(5)
    tasks = [TaskChange(changes([0, 0.0], n, 0.4, rng), np.arange(n)) for n in (40, 40, 60, 80, 40, 40)]
    alone = [removable_verdict([task], percents=(0, 10), outcome="choice") for task in tasks]
    together = removable_verdict(tasks, percents=(0, 10), outcome="choice")
    assert together.difference[1] == pytest.approx(np.mean([one.difference[1] for one in alone]))
    assert sum(one.shown > 0 for one in alone) < 3
    assert together.shown == 10.0
    assert (together.n_tasks, together.n_items) == (6, 300)


def test_copies_of_documents_decide_nothing() -> None:
    once = changes([0, 0.01], 40, 0.2, np.random.default_rng(6))
    copied = TaskChange(np.repeat(once, 5, axis=1), np.repeat(np.arange(40), 5))
    found = removable_verdict([copied], percents=(0, 10), outcome="choice")
    alone = removable_verdict([TaskChange(once, np.arange(40))], percents=(0, 10), outcome="choice")
    np.testing.assert_allclose(found.lower_bound, alone.lower_bound)
    assert found.documents[1] == pytest.approx(5 * alone.documents[1], rel=0.02)


@pytest.mark.slow
def test_claims_are_wrong_in_one_study_of_twenty() -> None:
    """All steps up to 10% cost exactly the margin, all behind it too: both claims are wrong wherever they are made."""
    rng, wrong = np.random.default_rng(7), np.zeros(2)
    for _ in range(400):
        base = 0.3 * rng.standard_normal(40)  # documents that suffer from one step suffer from the next
        values = -0.05 + base + 0.3 * rng.standard_normal((7, 40))
        values[0] = 0.0
        found = removable_verdict([TaskChange(values, np.arange(40))], percents=STEPS, outcome="choice")
        wrong += [found.shown > 0, found.refuted is not None]
    assert (wrong / 400 < 0.08).all()


def test_the_documents_that_would_decide_do_decide_four_times_in_five() -> None:
    rng = np.random.default_rng(8)
    first = changes([0, 0.0], 30, 0.25, rng)
    first[1] += 0.005 - first[1].mean()
    needed = removable_verdict([TaskChange(first, np.arange(30))], percents=(0, 10), outcome="choice").documents[1]
    deviation, decided = first[1].std(ddof=1), []
    for _ in range(250):
        again = np.stack([np.zeros(int(needed)), 0.005 + deviation * rng.standard_normal(int(needed))])
        decided.append(
            removable_verdict([TaskChange(again, np.arange(int(needed)))], percents=(0, 10), outcome="choice").shown
        )
    assert np.mean(np.array(decided) == 10) == pytest.approx(0.8, abs=0.07)


def test_an_estimate_on_the_margin_is_decided_by_no_number() -> None:
    values = np.stack([np.zeros(40), -0.05 + np.tile([0.1, -0.1], 20)])
    found = removable_verdict([TaskChange(values, np.arange(40))], percents=(0, 10), outcome="choice")
    assert found.documents_next == math.inf


def test_effects_shown_absent_and_undecided() -> None:
    rng = np.random.default_rng(9)
    large, none, wide = (cluster_mean(rng.normal(m, s, 50), np.arange(50)) for m, s in ((1, 1), (0, 0.05), (0.1, 1)))
    shown, absent, undecided = (effect_verdict(estimate, margin=0.05) for estimate in (large, none, wide))
    assert (shown.kind, absent.kind, undecided.kind) == ("shown", "absent", "undecided")
    assert (shown.documents, absent.documents) == (None, None)
    assert undecided.documents is not None and undecided.documents > 50
    assert (shown.low, shown.high) == large.interval()
    assert absent.within_margin and absent.equivalence_bound < 0.05
    assert absent.equivalence_bound == pytest.approx(max(abs(bound) for bound in none.interval(0.9)))


def test_a_small_effect_may_be_shown_and_lie_within_the_margin() -> None:
    found = effect_verdict(cluster_mean(np.random.default_rng(10).normal(0.02, 0.02, 60), np.arange(60)))
    assert (found.kind, found.within_margin, found.documents) == ("shown", True, None)


def test_the_documents_of_an_effect_are_the_cheaper_of_showing_it_and_of_showing_it_absent() -> None:
    near_zero = cluster_mean(0.001 + 0.3 * np.tile([1.0, -1.0], 20), np.arange(40))
    large = cluster_mean(0.2 + np.tile([1.0, -1.0], 20), np.arange(40))
    by_absence, by_effect = (effect_verdict(estimate, margin=0.05).documents for estimate in (near_zero, large))
    assert by_absence == pytest.approx((1.645 + 1.2816) ** 2 * 0.0923 / 0.05**2, rel=0.05)
    assert by_effect == pytest.approx((1.96 + 0.8416) ** 2 * 1.0256 / 0.2**2, rel=0.03)


def test_a_single_cluster_has_no_verdict() -> None:
    from ablation.statistics import ClusterEstimate

    found = effect_verdict(ClusterEstimate(0.3, math.nan, 0.3, 8, 1))
    assert (found.kind, found.documents) == ("undecided", math.inf)


def test_refusals_say_why() -> None:
    task = TaskChange(np.zeros((2, 10)), np.arange(10))
    with pytest.raises(UsageError, match="needs the full model's gain"):
        removable_verdict([task], percents=(0, 10), outcome="kept")
    with pytest.raises(UsageError, match=r"bring -1\.000 nats of choice"):
        removable_verdict([TaskChange(task.change, task.clusters, -np.ones(10))], percents=(0, 10), outcome="kept")
    with pytest.raises(UsageError, match="at least one task; got none"):
        removable_verdict([], percents=(0, 10), outcome="choice")
    with pytest.raises(UsageError, match="Give shares, not points"):
        removable_verdict([TaskChange(100 * np.ones((2, 10)), np.arange(10))], percents=(0, 10), outcome="metric")
    with pytest.raises(UsageError, match=r"margin above 0; got 0\.0"):
        effect_verdict(cluster_mean(np.arange(5.0), np.arange(5)), margin=0.0)
