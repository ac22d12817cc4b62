"""What pruning curves come to: against a computation by hand in numpy and SciPy (Method 4)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablation.statistics.curves import area_under_curve, chance_check
from ablation.statistics.intervals import cluster_numbers
from ablation.statistics.verdict import KEPT_SHARE, MARGINS, TaskChange, removable_verdict
from headscope.comparison.pruning_task import JUDGED, KEPT, Curve, has_gain, summary_rows
from headscope.comparison.pruning_tasks import POOLED, above_chance, by_order, mean_change, stale, together_rows
from headscope.stages.pruning import PruneChoice
from headscope.store.comparisons import frame
from headscope.store.manifest import Stage
from headscope.store.run import open_run
from headscope.store.writer import begin_stage
from interp.errors import UsageError

PERCENTS = (0, 20, 40, 60)
STEPS = tuple((percent, 0) for percent in PERCENTS)
CHANCE = 0.25


def curve(
    task: str = "copa",
    order: str = "own",
    *,
    n: int = 40,
    loss: tuple[float, ...] = (0, 0, 0.1, 0.3),
    seed: int = 0,
    order_seed: int = 0,
    start: float = 0.9,
    size: int = 1,
    shots: int = 5,
    majority: float = 0.3,
    gain: float | None = None,
) -> Curve:
    """Right answers that turn wrong at the given rates; `size` documents a cluster; gain: of the demonstrations."""
    draw = np.random.default_rng(seed)
    base, broken = draw.random(n) < start, draw.random(n)
    metric = np.stack([(base & ~(broken < lost)).astype(float) for lost in loss])
    gold = -1.0 - draw.random((1, n)) - np.array(loss)[:, None] * (1 + draw.random((1, n)))
    labels = tuple(f"{task}/c{place // size}" for place in range(n))
    return made(task, order, metric, gold, labels, order_seed, shots, majority, gain)


def made(
    task: str,
    order: str,
    metric: np.ndarray,
    choice: np.ndarray,
    labels: tuple[str, ...],
    order_seed: int = 0,
    shots: int = 5,
    majority: float = 0.3,
    gain: float | None = None,
) -> Curve:
    numbers = cluster_numbers(labels)
    changes = {
        name: TaskChange(values - values[0], numbers) for name, values in (("metric", metric), ("choice", choice))
    }
    if gain is not None:
        whole = gain + 0.1 * np.random.default_rng(7).standard_normal(len(labels))
        changes["kept"] = replace(changes["choice"], gain=whole)
    return judged(
        Curve(task, shots, order, order_seed, STEPS, PERCENTS, None, None, metric, labels, changes, {}), majority
    )


def judged(one: Curve, majority: float = 0.3) -> Curve:
    """With the check, the area and the verdicts of what it holds."""
    if len(set(one.clusters)) < 2:
        return one
    chances: Any = (one.metric[0], np.full(one.metric.shape[1], CHANCE), one.labels)
    check = chance_check(*chances, majority=majority)
    if one.percents is None:
        return replace(one, check=check)
    area = area_under_curve(one.metric, *chances[1:], percents=one.percents, majority=majority)
    names: Any = [name for name in one.changes if name in JUDGED and (name != KEPT or has_gain([one.changes[KEPT]]))]
    verdicts = {name: removable_verdict([one.changes[name]], percents=one.percents, outcome=name) for name in names}
    return replace(one, check=check, area=area, verdicts=verdicts)


def rows_of(curves: list[Curve], **values: Any) -> list[dict[str, Any]]:
    found = summary_rows(curves, component="head", ablation="zero")
    return [row for row in found if all(row[name] == value for name, value in values.items())]


def clustered(values: np.ndarray, clusters: tuple[str, ...]) -> tuple[float, float, int]:
    """Mean over items, its standard error by cluster from the textbook formula, number of clusters."""
    names = sorted(set(clusters))
    sums = np.array([values[np.array(clusters) == name].sum() for name in names])
    sizes = np.array([clusters.count(name) for name in names])
    mean, count = values.mean(), len(names)
    residuals = sums - mean * sizes
    return mean, math.sqrt(count / (count - 1) * (residuals**2).sum()) / sizes.sum(), count


def test_the_area_is_the_trapezoid_of_the_share_above_chance() -> None:
    one = curve()
    (row,) = rows_of([one], kind="pruning_area")
    mean = one.metric.mean(axis=1)
    expected = np.trapezoid((mean - CHANCE) / (mean[0] - CHANCE), x=PERCENTS) / PERCENTS[-1]
    assert row["value"] == pytest.approx(expected) and row["level"] == "head/zero" and row["shots"] == 5
    assert row["ci_low"] < row["value"] < row["ci_high"]


@pytest.mark.parametrize("size", [1, 4])
def test_the_removable_share_by_choice_is_where_the_bound_leaves_the_margin(size: int) -> None:
    one = curve(loss=(0, 0.001, 0.02, 0.3), size=size)
    bounds = []
    for step in one.changes["choice"].change:
        mean, error, count = clustered(step, one.clusters)
        bounds.append(mean - stats.t.ppf(0.95, count - 1) * error)
    assert bounds[1] > -0.05 and bounds[3] < -0.05
    expected = 40 if bounds[2] > -0.05 else 20
    (row,) = rows_of([one], kind="removable_choice")
    assert row["value"] == expected


def test_every_smaller_share_must_be_removable_too() -> None:
    one = curve()
    change = np.zeros((4, 40)) - np.array([0, 1, 0, 0])[:, None]
    changed = judged(replace(one, changes={"choice": TaskChange(change, one.labels)}))
    (row,) = rows_of([changed], kind="removable_choice")
    assert row["value"] == 0
    assert not rows_of([changed], kind="not_removable_choice") and not rows_of([changed], kind="removable_metric")


def test_too_few_documents_are_said_to_be_too_few() -> None:
    """An unchanged metric is removable at every step with 200 clusters of documents, and at none with 100."""
    for n, share in ((100, 0), (200, 60)):
        one = curve(n=n, loss=(0, 0, 0, 0))
        (bound,) = rows_of([one], kind="unchanged_bound")
        (row,) = rows_of([one], kind="removable_metric")
        assert row["value"] == share
        assert (bound["value"] > -0.02) == bool(share) and bound["n"] == n


def test_clusters_are_the_unit() -> None:
    """Four copies of every document change no interval."""
    one = curve(n=30)
    changes = {
        name: TaskChange(np.repeat(held.change, 4, axis=1), np.repeat(held.clusters, 4))
        for name, held in one.changes.items()
    }
    metric, labels = np.repeat(one.metric, 4, axis=1), tuple(np.repeat(one.clusters, 4))
    copies = judged(replace(one, metric=metric, clusters=labels, changes=changes))
    for kind in ("pruning_area", "full_metric", "removable_choice", "unchanged_bound"):
        (first,), (second,) = (rows_of([each], kind=kind) for each in (one, copies))
        for name in ("value", "ci_low", "ci_high"):
            assert first[name] == pytest.approx(second[name], nan_ok=True), (kind, name)


def test_the_full_model_is_at_chance_unless_its_bound_is_above_chance_and_the_majority() -> None:
    """The bound is Wilson's, one-sided."""
    for start, majority in ((0.9, 0.3), (0.3, 0.3), (0.9, 0.85)):
        one = curve(start=start, majority=majority)
        right, n = one.metric[0].sum(), 40
        bound = stats.binomtest(int(right), n, alternative="greater").proportion_ci(0.95, method="wilson").low
        (full,), (flag,) = rows_of([one], kind="full_metric"), rows_of([one], kind="at_chance")
        assert full["value"] == pytest.approx(right / n) and full["n"] == n
        assert full["ci_low"] == pytest.approx(bound, abs=0.01)
        assert flag["value"] == float(not full["ci_low"] > max(CHANCE, majority))
        assert (flag["ci_low"], flag["ci_high"]) == (CHANCE, majority)


def test_random_orders_give_their_median_and_the_own_order_its_rank_among_them() -> None:
    own = curve(loss=(0, 0, 0.05, 0.1), n=100)
    drawn = [curve(order="random", loss=(0, 0.1, 0.3, 0.5), n=100, seed=k, order_seed=k) for k in range(4)]
    areas = [next(iter(rows_of([one], kind="pruning_area")))["value"] for one in drawn]
    found = {row["b"]: row for row in rows_of([own, *drawn], kind="pruning_area")}
    assert found["random"]["value"] == pytest.approx(np.median(areas)) and found["random"]["n"] == 4
    assert found["random"]["ci_low"] == pytest.approx(np.quantile(areas, 0.05))
    assert found["own"]["value"] > max(areas) and found["own"]["p"] == pytest.approx(1 / 5)
    assert math.isnan(found["random"]["p"])


def test_three_verdicts_and_the_documents_that_decide() -> None:
    """By SciPy: harmless to 20%, not removable at 60%, and 40% between, which some number of documents would settle."""
    draw = np.random.default_rng(1)
    change = np.array([0.0, 0.0, -0.03, -0.4])[:, None] + 0.1 * draw.standard_normal((4, 60))
    change[:2] = 0.01 * draw.standard_normal((2, 60))
    change[0] = 0
    one = judged(replace(curve(n=60), changes={"choice": TaskChange(change, np.arange(60))}))
    reach = [stats.t.ppf(0.95, 59) * step.std(ddof=1) / math.sqrt(60) for step in change]
    lower, upper = change.mean(axis=1) - reach, change.mean(axis=1) + reach
    assert lower[1] > -0.05 and lower[2] < -0.05 < upper[2] and upper[3] < -0.05
    found = {row["kind"]: row for row in rows_of([one]) if row["kind"].endswith("_choice")}
    assert found["removable_choice"]["value"] == 20 and found["not_removable_choice"]["value"] == 60
    deciding = found["deciding_choice"]
    assert deciding["n"] == 60 < deciding["value"] < math.inf
    drawn = [replace(one, order="random", order_seed=k) for k in range(3)]
    kinds = {row["kind"] for row in rows_of(drawn)}
    assert "removable_choice" in kinds and not {"not_removable_choice", "deciding_choice"} & kinds


def test_what_is_kept_is_judged_by_the_gain_and_a_task_without_one_is_not() -> None:
    one = curve(loss=(0, 0, 0.3, 0.9), n=200, gain=2.0)
    change, gain = one.changes["kept"].change, one.changes["kept"].gain
    assert gain is not None
    beyond = change + (1 - KEPT_SHARE) * gain  # gain(p) - .95 gain(0)
    errors = beyond.std(axis=1, ddof=1) / math.sqrt(200)
    lower = beyond.mean(axis=1) - stats.t.ppf(0.95, 199) * errors
    expected = max(percent for place, percent in enumerate(PERCENTS) if (lower[1 : place + 1] > 0).all())
    (row,) = rows_of([one], kind="removable_kept")
    assert row["value"] == expected == 20
    assert not rows_of([curve(gain=-0.5)], kind="removable_kept")


def test_one_cluster_has_no_interval_and_no_claim() -> None:
    one = curve(n=3, size=3)
    assert {row["kind"] for row in rows_of([one])} == {"full_metric"}
    assert above_chance([one]) == []


# ---- tasks together -------------------------------------------------------------------------------------------------


def together(curves: list[Curve], **values: Any) -> list[dict[str, Any]]:
    found = together_rows(curves, component="head", ablation="zero")
    return [row for row in found if all(row[name] == value for name, value in values.items())]


def test_tasks_count_alike_however_many_documents_they_have() -> None:
    tasks = [curve("copa", n=30, seed=1), curve("rte", n=90, seed=2)]
    changes = [(one.metric - one.metric[0]).mean(axis=1) for one in tasks]
    for place, percent in enumerate(PERCENTS[1:], start=1):
        (row,) = together(tasks, kind="pruned_metric", level=f"head/zero/p={percent}")
        assert row["a"] == POOLED and row["b"] == "own" and row["n"] == 2
        assert row["value"] == pytest.approx((changes[0][place] + changes[1][place]) / 2)


def test_the_interval_of_the_mean_adds_the_tasks_variances() -> None:
    """With many clusters the ratio's variance is that of a mean of independent tasks about the common mean."""
    tasks = [curve("copa", n=400, seed=1), curve("rte", n=400, seed=2)]
    (row,) = together(tasks, kind="pruned_choice", level="head/zero/p=60")
    errors = [clustered(one.changes["choice"].change[3], one.clusters)[1] for one in tasks]
    expected = 1.96 * math.sqrt(sum(error**2 for error in errors)) / 2
    assert (row["ci_high"] - row["ci_low"]) / 2 == pytest.approx(expected, rel=0.02)


def test_how_far_tasks_are_apart_is_no_part_of_the_interval() -> None:
    """Two tasks that lose .4 and nothing, each without noise: the mean of these tasks is known exactly."""
    clusters = np.arange(40) // 2
    tasks = [TaskChange(np.full((1, 40), change), clusters) for change in (-0.4, 0.0)]
    (found,) = mean_change(tasks)
    assert (found.value, found.stderr) == (pytest.approx(-0.2), pytest.approx(0, abs=1e-12))
    assert found.interval() == pytest.approx((-0.2, -0.2))


@pytest.mark.parametrize("sizes", [(8,) * 10, (5, 30, 12), (6,), (4, 50)])
def test_the_interval_holds_the_mean_of_these_tasks_as_often_as_it_says(sizes: tuple[int, ...]) -> None:
    """Tasks that differ much more than their documents do, two documents a cluster, clusters of unlike noise."""
    draw, held, times = np.random.default_rng(5), 0, 1000
    means = np.linspace(-0.6, 0.1, len(sizes))
    for _ in range(times):
        tasks = []
        for place, count in enumerate(sizes):
            noise = 0.1 * (1 + place % 3) * draw.standard_normal(count)
            items = np.repeat(means[place] + noise, 2) + 0.05 * draw.standard_normal(2 * count)
            tasks.append(TaskChange(items[None], np.arange(2 * count) // 2))
        low, high = mean_change(tasks)[0].interval()
        held += low <= means.mean() <= high
    assert 0.93 <= held / times <= 0.975


def test_tasks_at_chance_are_left_out_and_none_is_none() -> None:
    good, poor = curve("copa"), curve("rte", start=0.25, loss=(0, 1, 1, 1))
    (both, out, kept, *rest), (_, _, *alone) = together([poor, good]), together([good])
    assert (out["b"], out["value"]) == ("copa", 1) and (kept["b"], kept["value"], kept["n"]) == ("rte", 0, 40)
    assert rest == alone and (both["kind"], both["value"], both["n"]) == ("pooled_tasks", 1, 2)
    (none, _) = together([poor])
    assert (none["kind"], none["value"], none["n"]) == ("pooled_tasks", 0, 1)


def test_ten_tasks_show_together_what_none_shows_alone() -> None:
    tasks = [curve(f"task{k}", n=60, loss=(0, 0, 0, 0.5), seed=k) for k in range(10)]
    assert all(rows_of([one], kind="removable_metric")[0]["value"] == 0 for one in tasks)
    (row,) = together(tasks, kind="removable_metric")
    assert row["value"] == 40 and row["a"] == POOLED and row["level"] == "head/zero"
    few, many = (together(part, kind="unchanged_bound")[0]["value"] for part in (tasks[:2], tasks))
    assert few < -0.02 < many
    (row,) = together(tasks[:2], kind="removable_metric")  # nothing changes at 40%, and 120 documents can't show it
    assert row["value"] == 0


def test_transfer_is_the_mean_over_the_other_tasks_orders() -> None:
    tasks = ("copa", "rte", "cb")
    pairs = [(task, order) for task in tasks for order in tasks if task != order]
    curves = [curve(task, order, seed=place) for place, (task, order) in enumerate(pairs)]
    curves += [curve(task, task, loss=(0, 1, 1, 1)) for task in tasks]  # a task's own name is no transfer
    (row,) = together(curves, kind="pruned_metric", b="transfer", level="head/zero/p=40")
    mean = np.mean([(one.metric[2] - one.metric[0]).mean() for one in curves if one.order != one.task])
    assert row["value"] == pytest.approx(mean) and row["n"] == 3


def test_transfer_is_from_all_other_tasks_those_at_chance_too() -> None:
    """Whose own curve is no part of any mean, and whose name is no order over tasks."""
    good, poor = ("copa", "rte"), "cb"
    pairs = [("copa", "own"), ("rte", "own"), ("copa", "rte"), ("copa", poor), ("rte", "copa"), ("rte", poor)]
    curves = [curve(task, order, seed=place) for place, (task, order) in enumerate(pairs)]
    curves += [curve(poor, order, start=0.25, loss=(0, 1, 1, 1)) for order in ("own", *good)]
    found = together(curves, kind="pruned_metric", level="head/zero/p=60")
    assert {row["b"] for row in found} == {"own", "transfer"}
    changes = [(one.metric[3] - one.metric[0]).mean() for one in curves if one.task != poor and one.order != "own"]
    (row,) = [row for row in found if row["b"] == "transfer"]
    assert len(changes) == 4 and row["value"] == pytest.approx(np.mean(changes)) and row["n"] == 2


def test_one_other_tasks_order_is_no_transfer() -> None:
    """Asked for by name: for the tasks whose name it is not it is one ranking of several."""
    curves = [curve(task, order) for task in ("copa", "rte", "cb") for order in ("own", "copa")]
    assert {row["b"] for row in together(curves, kind="pruned_metric")} == {"own"}
    poor = [judged(replace(one, metric=0 * one.metric)) if one.task == "copa" else one for one in curves]
    assert {row["b"] for row in together(poor, kind="pruned_metric")} == {"own"}


# ---- one pruning after another --------------------------------------------------------------------------------------


def kept(folder: Path, *calls: list[Curve]) -> pd.DataFrame:
    """The rows over tasks after these prunings in one folder."""
    for curves in calls:
        with begin_stage(folder, {"source": "drawn"}, Stage("prune", "x")) as run:
            run.add_comparisons(frame(together(curves)), without=stale)
    rows = open_run(folder).comparisons
    assert (rows["a"] == POOLED).all()
    return rows


def test_rows_over_other_tasks_are_gone_when_other_tasks_are_pruned(tmp_path: Path) -> None:
    """The random order of the first two tasks must not stand beside the own order of one of them and a third."""
    first = [curve(task, order) for task in ("copa", "rte") for order in ("own", "random")]
    second = [curve(task) for task in ("copa", "cb", "wic")]
    rows = kept(tmp_path / "run", first, second)
    pd.testing.assert_frame_equal(rows, kept(tmp_path / "second", second))
    assert set(rows.loc[rows["kind"] == "pruned_metric", "n"]) == {3} and "random" not in set(rows["b"])


def test_another_order_of_the_same_tasks_is_added(tmp_path: Path) -> None:
    parts = [[curve(task, order) for task in ("copa", "rte")] for order in ("own", "random")]
    rows = kept(tmp_path / "run", *parts)
    pd.testing.assert_frame_equal(rows, kept(tmp_path / "once", [*parts[0], *parts[1]]))
    assert {"own", "random"} <= set(rows["b"])


def test_an_order_on_another_grid_leaves_no_step_of_the_first(tmp_path: Path) -> None:
    coarse = [
        judged(
            replace(
                one,
                steps=one.steps[::3],
                percents=one.percents[::3],
                metric=one.metric[::3],
                changes={name: replace(held, change=held.change[::3]) for name, held in one.changes.items()},
            )
        )
        for one in (curve("copa"), curve("rte"))
        if one.percents
    ]
    rows = kept(tmp_path / "run", [curve("copa"), curve("rte")], coarse)
    assert set(rows.loc[rows["kind"] == "pruned_metric", "level"]) == {"head/zero/p=60"}


def test_other_shots_and_other_documents(tmp_path: Path) -> None:
    """Shots have rows of their own; the same tasks with other clusters of documents are another set."""
    rows = kept(
        tmp_path / "run",
        [curve(shots=0)],
        [curve("rte", shots=5), curve("rte", "random", shots=5)],
        [curve("rte", shots=5, n=60)],
    )
    found = rows[rows["kind"] == "pruned_metric"]
    assert set(zip(found["shots"], found["b"], strict=True)) == {(0, "own"), (5, "own")}
    assert set(rows.loc[rows["kind"] == "pooled_task", "b"]) == {"copa", "rte"}


def test_an_order_that_a_task_lacks_is_not_averaged() -> None:
    curves = [curve("copa"), curve("rte"), curve("copa", "signed")]
    assert {row["b"] for row in together(curves)} == {"own", "full model", "copa", "rte"}  # and the tasks themselves
    assert set(by_order(curves, ("copa", "rte"))) == {"own"}


def test_random_orders_together_give_median_and_band_over_draws() -> None:
    drawn = [
        curve(task, "random", seed=10 * k + place, order_seed=k) for k in range(5) for place, task in enumerate("ab")
    ]
    (row,) = together(drawn, kind="pruned_metric", level="head/zero/p=60")
    losses = [(one.order_seed, (one.metric[3] - one.metric[0]).mean()) for one in drawn]
    means = [np.mean([loss for seed, loss in losses if seed == k]) for k in range(5)]
    assert row["value"] == pytest.approx(np.median(means))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])))


def test_the_joint_grid_has_changes_but_no_curve() -> None:
    one = replace(curve(), steps=((0, 0), (20, 0), (0, 10), (20, 10)), percents=None, area=None, verdicts={})
    assert list(summary_rows([one], component="both", ablation="zero")) == []
    every = together_rows([one], component="both", ablation="zero")
    found = [row for row in every if row["b"] == "own"]
    assert {row["kind"] for row in found} == {"pruned_metric", "pruned_choice"}  # no row of shares
    assert [row["level"] for row in found[:3]] == ["both/zero/h=20,f=0", "both/zero/h=0,f=10", "both/zero/h=20,f=10"]


def test_shots_are_kept_apart() -> None:
    curves = [curve(shots=0), curve(shots=5, loss=(0, 0.5, 0.5, 0.5))]
    found = {row["shots"]: row["value"] for row in together(curves, kind="pruned_metric", level="head/zero/p=20")}
    assert found[0] == 0 and found[5] < -0.2


def test_the_margins_are_those_of_the_method() -> None:
    assert MARGINS == {"metric": 0.02, "choice": 0.05, "kept": 0.0} and KEPT_SHARE == 0.95


def test_screened_tasks_are_all_summed_up_and_others_only_above_chance() -> None:
    poor = [curve("copa", start=0.2), curve("rte")]
    found = {
        screened: list(together_rows(poor, component="head", ablation="zero", screened=screened))
        for screened in (True, False)
    }
    pooled = {
        key: {row["b"]: row["value"] for row in rows if row["kind"] == "pooled_task"} for key, rows in found.items()
    }
    assert pooled == {True: {"copa": 1, "rte": 1}, False: {"copa": 0, "rte": 1}}


def test_a_task_without_an_outcome_is_left_out_of_it_alone() -> None:
    """Where contexts differ there is no mass; the gain of the full model stands beside what is kept of it."""
    one, other = curve("copa", gain=2.0), curve("winogrande", gain=1.0)
    one = replace(one, changes={**one.changes, "mass": one.changes["choice"]})
    found = together([one, other])
    assert {row["n"] for row in found if row["kind"] == "pruned_mass"} == {1}
    assert {row["n"] for row in found if row["kind"] == "pruned_choice"} == {2}
    (gain,) = [row for row in found if row["kind"] == "pruned_kept" and row["b"] == "full model"]
    gains = [held.changes["kept"].gain for held in (one, other)]
    assert gain["value"] == pytest.approx(np.mean([part.mean() for part in gains if part is not None]))
    assert gain["level"] == "head/zero" and gain["n"] == 2


def test_removing_everything_is_no_step_of_a_curve() -> None:
    with pytest.raises(UsageError, match=r"stay below 100; got \[0, 100\]"):
        PruneChoice(percents=(0, 100))
