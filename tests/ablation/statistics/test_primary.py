"""The primary: by hand, its intervals cover, and ordinary heads are called unusual as seldom as they should be."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import t

from ablation.statistics import (
    TaskDrops,
    exchangeable_p,
    kv_groups,
    mean_over_tasks,
    primary,
    rank_p_value,
    spread_controls,
    standardised_effect,
)
from ablation.statistics.intervals import cluster_mean
from ablation.statistics.standardised import fieller
from interp.errors import UsageError
from tests.ablation.statistics.grouped import GROUPS, HEADS, LAYERS, grouped_scores, some_class

BY_GROUP = kv_groups(LAYERS, HEADS, GROUPS)
EVERY = np.ones((LAYERS, HEADS), dtype=bool)


def drops(
    rng: np.random.Generator,
    *,
    tasks: int = 6,
    documents: int = 40,
    per_cluster: int = 1,
    controls: int = 39,
    effect: float = 0.75,
    skewed: bool = False,
) -> list[TaskDrops]:
    """Controls that cost .25 on average and differ by .12; documents that suffer from one set suffer from the next."""

    def noise(*shape: int) -> np.ndarray:
        drawn = rng.standard_normal(shape)
        return (np.exp(drawn) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e) if skewed else drawn

    cost = 0.25 + 0.12 * rng.standard_normal(controls)
    labels, found = np.arange(documents) // per_cluster, []
    for task in range(tasks):
        shared = 0.5 * noise(documents)[labels] + 0.5 * noise(documents)
        tested = effect + shared + 0.5 * noise(documents)
        others = cost[:, None] + 0.5 * shared + 0.5 * noise(controls, documents)
        found.append(TaskDrops(f"task {task}", tested, others, labels))
    return found


def test_the_read_out_by_hand() -> None:
    tasks = drops(np.random.default_rng(0), per_cluster=2)
    found = primary(tasks)
    means = [task.tested.mean() for task in tasks]
    controls = np.mean([task.controls.mean(axis=1) for task in tasks], axis=0)
    assert found.drop.value == pytest.approx(np.mean(means)) and found.task_drops == pytest.approx(means)
    assert found.drop == mean_over_tasks([cluster_mean(task.tested, task.clusters) for task in tasks])
    expected = t.interval(0.95, 5, loc=np.mean(means), scale=np.std(means, ddof=1) / math.sqrt(6))
    assert found.random_tasks.interval() == pytest.approx(expected)
    assert found.beyond.value == pytest.approx(np.mean(means) - controls.mean())
    assert found.effect.value == pytest.approx((np.mean(means) - controls.mean()) / controls.std(ddof=1))
    assert found.effect.low < found.effect.value < found.effect.high
    np.testing.assert_allclose(found.effect.controls, controls)
    assert (found.rank, found.n_controls, found.few_controls, found.p) == (1, 39, False, None)
    assert (found.verdict.kind, found.beyond_verdict.kind) == ("shown", "shown")
    assert found.tasks == tuple(f"task {number}" for number in range(6))


def test_the_rank_counts_controls_that_cost_as_much() -> None:
    tasks = drops(np.random.default_rng(1), effect=0.25)
    found = primary(tasks)
    controls = np.mean([task.controls.mean(axis=1) for task in tasks], axis=0)
    assert found.rank == 1 + (controls >= found.drop.value).sum() > 1
    assert found.rank / 40 == rank_p_value(found.drop.value, controls).p


def test_the_interval_of_the_effect_has_the_variance_of_documents_and_of_controls() -> None:
    """A tested drop without noise, independent controls: the variance is 1/N + effect² / (2(N - 1))."""
    rng, controls = np.random.default_rng(2), 400
    cost = rng.standard_normal(controls)
    cost = (cost - cost.mean()) / cost.std(ddof=1)
    tasks = [TaskDrops("one", np.full(30, 1.0), np.repeat(cost[:, None], 30, axis=1), np.arange(30))]
    found = standardised_effect(tasks)
    assert found.value == pytest.approx(1.0)
    reach = t.ppf(0.975, 29) * math.sqrt(1 / controls + 1 / (2 * (controls - 1)))
    assert (found.low, found.high) == pytest.approx((1 - reach, 1 + reach), abs=0.01)


def test_fieller_by_hand_and_where_it_has_no_end() -> None:
    low, high = fieller(3.0, 2.0, 0.04, 0.01, 0.002, reach=1.96)
    for ratio in (low, high):
        assert (3 - ratio * 2) ** 2 == pytest.approx(1.96**2 * (0.04 - 2 * ratio * 0.002 + ratio**2 * 0.01))
    assert fieller(3.0, 0.1, 0.04, 0.01, 0.0, reach=1.96) == (-math.inf, math.inf)


def test_a_noise_of_documents_that_all_sets_share_cancels_beyond_the_controls() -> None:
    rng = np.random.default_rng(3)
    tasks = drops(rng)
    loud = []
    for task in tasks:
        noise = 5 * rng.standard_normal(40)
        loud.append(TaskDrops(task.task, task.tested + noise, task.controls + noise, task.clusters))
    quiet, found = primary(tasks), primary(loud)
    assert found.beyond.stderr == pytest.approx(quiet.beyond.stderr)
    assert found.drop.stderr > 4 * quiet.drop.stderr


def test_one_task_and_few_controls_are_told() -> None:
    found = primary(drops(np.random.default_rng(4), tasks=1, controls=8))
    assert found.few_controls and np.isnan(found.random_tasks.interval()).all()
    assert found.effect.low < found.effect.value < found.effect.high
    same = [TaskDrops("one", np.arange(5.0), np.ones((4, 5)), np.arange(5))]
    assert np.isnan(standardised_effect(same).value)
    sets = np.eye(5, dtype=bool)[:, None]
    assert np.isnan(primary(same, tested=sets[0], controls=sets[1:]).p)  # type: ignore[arg-type]


def test_p_of_disjoint_controls_is_that_of_a_t_test() -> None:
    """Sets of one head each, all different: independent draws, for which t / sqrt(1 + 1/N) has a known distribution."""
    tested, controls = np.zeros((1, 30), dtype=bool), np.zeros((29, 1, 30), dtype=bool)
    tested[0, 0] = True
    controls[np.arange(29), 0, 1 + np.arange(29)] = True
    for effect in (0.5, 2.0, -2.5):
        expected = 2 * t.sf(abs(effect) / math.sqrt(1 + 1 / 29), 28)
        assert exchangeable_p(effect, tested, controls) == pytest.approx(expected, abs=0.012)


def test_p_knows_how_few_heads_the_controls_are_drawn_from() -> None:
    """Three tested heads of nine: controls share half their heads and differ little, far from the tested heads."""
    tested = np.zeros((4, 9), dtype=bool)
    tested[:, :3] = True
    found = spread_controls(tested, np.ones((4, 9), dtype=bool))
    freely = 2 * t.sf(2.5 / math.sqrt(1 + 1 / 39), 38)
    assert exchangeable_p(2.5, tested, found.sets) > 5 * freely


def test_p_with_groups_is_never_below_p_without() -> None:
    tested = some_class(np.random.default_rng(5))
    controls = spread_controls(tested, EVERY, groups=BY_GROUP).sets
    for effect in (1.0, 2.0, 3.5):
        assert exchangeable_p(effect, tested, controls, groups=BY_GROUP) >= exchangeable_p(effect, tested, controls)


def test_refusals_say_why() -> None:
    tasks = drops(np.random.default_rng(6), controls=4)
    with pytest.raises(UsageError, match="passes the screen; got none"):
        primary([])
    with pytest.raises(UsageError, match="3 or more"):
        primary(drops(np.random.default_rng(6), controls=2))
    with pytest.raises(UsageError, match="same controls in every task"):
        primary([*tasks, *drops(np.random.default_rng(6), controls=5)])
    with pytest.raises(UsageError, match="4 control sets, but 39 sets"):
        tested = some_class(np.random.default_rng(6))
        primary(tasks, tested=tested, controls=spread_controls(tested, EVERY).sets)
    with pytest.raises(UsageError, match=r"\[0, 1\); got 1\.0"):
        exchangeable_p(1.0, tested, tested[None].repeat(3, axis=0), share=1.0)


def coverage(runs: int, effect: float, **options: int | bool) -> tuple[float, float]:
    """How often the interval of the drop holds it, and the interval of the effect the one at this many documents."""
    rng, covered = np.random.default_rng(7), np.zeros(2)
    per_mean = math.sqrt(0.12**2 + 0.5**2 / (int(options.get("tasks", 6)) * int(options.get("documents", 40))))
    for _ in range(runs):
        found = primary(drops(rng, effect=effect, **options))  # type: ignore[arg-type]
        low, high = found.drop.interval()
        covered += [low <= effect <= high, found.effect.low <= (effect - 0.25) / per_mean <= found.effect.high]
    of_drop, of_effect = covered / runs
    return of_drop, of_effect


@pytest.mark.longest
@pytest.mark.slow
@pytest.mark.parametrize(
    ("effect", "options"),
    [
        (0.75, {}),
        (0.25, {}),
        (0.75, {"per_cluster": 4}),
        (0.75, {"skewed": True}),
        (0.75, {"tasks": 10, "documents": 20}),
    ],
)
def test_intervals_cover(effect: float, options: dict[str, int | bool]) -> None:
    of_drop, of_effect = coverage(2_000, effect, **options)
    assert 0.94 < of_drop < 0.965
    assert 0.94 < of_effect < 0.975


def unusual(runs: int, share: float, monkeypatch: pytest.MonkeyPatch, **options: object) -> Iterator[tuple[bool, bool]]:
    """Studies of heads that are all alike: whether the tested set is called unusual by p, and by its rank."""
    monkeypatch.setattr("ablation.statistics.standardised.permutation_count", lambda family: 999)
    rng = np.random.default_rng(8)
    for run in range(runs):
        if run % 40 == 0:
            tested = some_class(rng, **options)  # type: ignore[arg-type]
            controls = spread_controls(tested, EVERY, groups=BY_GROUP, candidates=8, seed=rng).sets
        effects = grouped_scores(rng, share)
        outcomes = np.array([effects[heads].sum() for heads in (tested, *controls)]) + 0.3 * rng.standard_normal(40)
        ahead = (outcomes[0] - outcomes[1:].mean()) / outcomes[1:].std(ddof=1)
        p = exchangeable_p(ahead, tested, controls, groups=BY_GROUP, seed=rng)
        yield p <= 0.05, (1 + (outcomes[1:] >= outcomes[0]).sum()) / 40 <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("share", [pytest.param(0.0, marks=pytest.mark.longest), 0.4])
def test_ordinary_heads_are_called_unusual_in_one_study_of_twenty(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By rank they are in one of eight: the controls hold no tested head and share heads with one another."""
    by_p, by_rank = np.mean(list(unusual(4_000, share, monkeypatch)), axis=0)
    assert (0.02 if share == 0 else 0.035) < by_p < 0.06  # of two p the larger one is given
    assert by_rank > 0.09
