"""Pruning: each step is an evaluation with the order's lowest components removed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import t

from ablation import orders
from ablation.evaluation import evaluate
from ablation.importance import importance
from ablation.pruning import GRID, gain_change, prune, removable_gain
from ablation.references import make_replacement
from ablation.replacement import Deferred
from interp.errors import UsageError
from interp.masks import FFNMask, HeadMask
from interp.scores import Ranking
from tests.ablation.documents import SmallTask, documents
from tests.interp.families import load

COLUMNS = [
    "task",
    "shots",
    "demo_seed",
    "component",
    "order",
    "order_seed",
    "ablation",
    "percent_heads",
    "percent_ffns",
    "removed_heads",
    "removed_ffns",
    "metric",
    "value",
    "stderr",
    "n",
]
TASK = SmallTask(tuple(documents(12)))


def test_steps_are_evaluations_under_the_orders_masks() -> None:
    model = load("gpt2")
    scores = importance(model, TASK).heads()
    found = prune(model, TASK, scores, component="head", percents=(0, 25, 60))
    assert [step.removed_heads for step in found.steps] == [0, 2, 4]
    for step in found.steps:
        mask = scores.ranking().mask(step.percent_heads)
        assert isinstance(mask, HeadMask)
        expected = evaluate(model, TASK, heads=mask)
        np.testing.assert_allclose(step.evaluation.gold_log_likelihoods, expected.gold_log_likelihoods, atol=1e-6)
        assert step.evaluation.metric == expected.metric


def test_rows_are_those_of_the_metrics_table() -> None:
    model = load("gpt2")
    order = orders.random_orders(importance(model, TASK).ffns(), n=1, seed=7)[0]
    frame = prune(model, TASK, order, percents=(0, 50)).to_frame()
    assert list(frame.columns) == COLUMNS and len(frame) == 4
    assert set(frame["metric"]) == {"acc", "log_likelihood"}
    assert frame["order"].unique().tolist() == ["random"] and frame["order_seed"].unique().tolist() == [7]
    assert frame["percent_heads"].eq(0).all() and frame["removed_ffns"].tolist() == [0, 0, 1, 1]
    assert frame["n"].eq(12).all() and frame["stderr"].notna().all()


def test_an_order_of_nothing_prunes_nothing_and_says_so() -> None:
    """Half of no FFNs removed would pass for half of the FFNs removed without harm."""
    model = load("gpt2")
    bare = replace(model, layout=replace(model.layout, ffn_out=None))
    found = importance(bare, TASK)
    for order in (found.ffns(), orders.random_orders(found.ffns(), n=1)[0]):
        with pytest.raises(UsageError, match=r"no FFN has a score in the order .*there is nothing to remove"):
            prune(bare, TASK, order, component="ffn", percents=(0, 50))
    with pytest.raises(UsageError, match="no FFN has a score"):
        prune(bare, TASK, (found.heads(), found.ffns()), component="both", percents=((0, 0), (25, 50)))
    assert prune(bare, TASK, found.heads(), percents=(0, 50)).steps[1].removed_heads == 4


def test_the_joint_grid_removes_both() -> None:
    model = load("gpt2")
    found = importance(model, TASK)
    grid = ((0, 0), (25, 0), (25, 50))
    pruned = prune(model, TASK, (found.heads(), found.ffns()), component="both", percents=grid)
    assert [(step.removed_heads, step.removed_ffns) for step in pruned.steps] == [(0, 0), (2, 0), (2, 1)]
    masks = found.heads().ranking().mask(25), found.ffns().ranking().mask(50)
    assert isinstance(masks[0], HeadMask) and isinstance(masks[1], FFNMask)
    expected = evaluate(model, TASK, heads=masks[0], ffns=masks[1]).gold_log_likelihoods
    np.testing.assert_allclose(pruned.steps[2].evaluation.gold_log_likelihoods, expected, atol=1e-6)
    assert len(GRID) == 48 and GRID[0] == (0, 0) and GRID[-1] == (70, 50)
    with pytest.raises(UsageError, match="no single curve"):
        pruned.area()


def test_the_full_model_is_evaluated_once() -> None:
    model = load("gpt2")
    scores = importance(model, TASK).heads()
    full = evaluate(model, TASK)
    pruned = prune(model, TASK, scores, percents=(0, 5, 50), full=full)
    assert pruned.steps[0].evaluation is full and pruned.steps[1].evaluation is full  # floor(5% of 8) = 0
    assert pruned.steps[2].evaluation is not full


def test_every_outcome_by_step_and_item() -> None:
    model = load("gpt2")
    pruned = prune(model, TASK, importance(model, TASK).heads(), percents=(0, 50, 90))
    for outcome in ("metric", "choice", "mass", "sum", "log_likelihood"):
        expected = [step.evaluation.outcome(outcome).values for step in pruned.steps]
        np.testing.assert_array_equal(pruned.values(outcome), expected)
    frame = pruned.to_frame(["choice", "mass", "sum"])
    means = frame.pivot(index="percent_heads", columns="metric", values="value")
    np.testing.assert_allclose(means["mass"] + means["choice"], means["sum"])
    assert list(frame.columns) == COLUMNS and frame["stderr"].notna().all()


def test_curves_are_summarised_by_cluster() -> None:
    model = load("gpt2")
    pruned = prune(model, TASK, importance(model, TASK).heads(), percents=(0, 50, 90))
    verdict = pruned.removable("choice")
    choice = pruned.values("choice")
    np.testing.assert_allclose(verdict.difference, (choice - choice[0]).mean(1))
    assert verdict.n_clusters == 12 and verdict.margin == 0.05 and verdict.outcome == "choice"
    error = (choice[1] - choice[0]).std(ddof=1) / np.sqrt(12)
    assert verdict.lower_bound[1] == pytest.approx((choice[1] - choice[0]).mean() - t.ppf(0.95, 11) * error)
    assert pruned.removable("metric").margin == 0.02
    assert pruned.area().check.chance == pytest.approx(1 / 3)
    with pytest.raises(UsageError, match="removable_gain"):
        pruned.removable("kept")


def test_percentages_need_not_be_whole() -> None:
    model = load("gpt2")
    scores = importance(model, TASK).heads()
    pruned = prune(model, TASK, scores, percents=(0, 12.5, 90))
    assert pruned.removable().percents.tolist() == [0, 12.5, 90]
    metric = pruned.metric().mean(1) - pruned.chance
    if metric[0] > 0:
        wanted = np.trapezoid(metric, x=[0, 12.5, 90]) / 90 / metric[0]
        assert pruned.area().value == pytest.approx(wanted)
    with pytest.raises(UsageError, match="ascending from 0"):
        prune(model, TASK, scores, percents=(0.5, 90)).removable()


@pytest.mark.parametrize("percents", ["0,10", 10, ("10",), (True,), (None,), ((1, 2, 3),)])
def test_percents_that_are_no_numbers_are_refused(percents: Any) -> None:
    model, task = load("llama"), SmallTask(tuple(documents()))
    order = orders.by_scores(importance(model, task).heads())
    with pytest.raises(UsageError, match="percents of 'head' are numbers"):
        prune(model, task, order, percents=percents)
    both = (order, orders.by_scores(importance(model, task).ffns()))
    with pytest.raises(UsageError, match="percents of 'both' are pairs"):
        prune(model, task, both, component="both", percents=percents)


def choosing(gain: float) -> Any:
    """An evaluator whose full model gains so much choice from two demonstrations, and loses a tenth of it a head."""

    def stands_in(model: Any, task: Any, *, heads: Any, **options: Any) -> Any:
        found = evaluate(model, task)
        rows = []
        for place, document in enumerate(task.documents):
            more = gain * (1 - 0.1 * len(heads.removed())) + 0.01 * (-1) ** place if task.shots else 0.0
            odds = math.exp(more) / 3
            row = [math.log((1 - odds) / 2)] * 3
            row[document.gold] = math.log(odds)
            rows.append(row)
        return replace(found, log_likelihoods=rows)

    return stands_in


def test_what_is_kept_of_the_choice_gain_is_of_both_prompts() -> None:
    model, few, none = load("gpt2"), replace(TASK, shots=2), TASK
    scores, gain = importance(model, TASK).heads(), 0.5
    found = [prune(model, one, scores, percents=(0, 12.5, 50), evaluate=choosing(gain)) for one in (few, none)]
    change = gain_change(*found)
    np.testing.assert_allclose(change.change.mean(1), [0, -0.1 * gain, -0.4 * gain], atol=1e-9)
    assert change.gain is not None and change.gain.mean() == pytest.approx(gain)
    verdict = removable_gain(*found)
    assert verdict.kept == pytest.approx([1, 0.9, 0.6]) and verdict.shown == 0 and verdict.refuted == 12.5
    lighter = [prune(model, one, scores, percents=(0, 5, 50), evaluate=choosing(gain)) for one in (few, none)]
    assert removable_gain(*lighter).shown == 5  # floor(5% of 8): nothing is removed
    with pytest.raises(UsageError, match="by one order on one task"):
        gain_change(found[0], lighter[1])


def test_kv_groups_are_pruned_whole() -> None:
    model = load("llama")
    found = importance(model, TASK)
    groups = found.kv_groups()
    pruned = prune(model, TASK, groups, unit="group", percents=(0, 25, 50))
    assert pruned.component == "kv_group" and [step.removed_heads for step in pruned.steps] == [0, 1, 2]
    lowest = groups.ranking().order[:2].tolist()
    mask = orders.without_groups(model, [(place // 2, place % 2) for place in lowest])
    expected = evaluate(model, TASK, heads=mask)
    np.testing.assert_allclose(pruned.values("choice")[2], expected.choice, atol=1e-6)
    both = prune(model, TASK, (groups, found.ffns()), component="both", percents=((0, 0), (25, 50)))
    assert [(step.removed_heads, step.removed_ffns) for step in both.steps] == [(0, 0), (1, 1)]
    assert prune(model, TASK, found.heads(), unit="head", percents=(0, 25)).component == "head"
    for order, unit in ((found.heads(), "group"), (groups, "head")):
        with pytest.raises(UsageError, match=r"rank kv groups by importance\(\.\.\.\)\.kv_groups"):
            prune(model, TASK, order, unit=unit)
    with pytest.raises(UsageError, match="head, group"):
        prune(model, TASK, found.heads(), unit="layer")
    single = load("gpt2")  # every head is a group of its own
    assert prune(single, TASK, importance(single, TASK).heads(), unit="group", percents=(0, 25)).component == "head"


def test_mean_ablation_needs_reference_documents_and_then_differs_from_zero() -> None:
    model = load("gpt2")
    scores = importance(model, TASK).heads()
    with pytest.raises(UsageError, match="at least 64"):
        prune(model, TASK, scores, percents=(0, 50), ablation="mean")
    with pytest.raises(UsageError, match="at once"):
        prune(model, TASK, scores, percents=(0, 50), ablation="mean", references=documents(64))
    mean = prune(model, TASK, scores, percents=(0, 50), ablation="mean", references=documents(64, name="r", seed=1))
    zero = prune(model, TASK, scores, percents=(0, 50))
    assert mean.ablation == "mean" and zero.ablation == "zero"
    assert not np.allclose(mean.gold_log_likelihoods()[1], zero.gold_log_likelihoods()[1])


def test_progress_counts_steps() -> None:
    told: list[tuple[int, int]] = []
    model = load("gpt2")
    prune(model, TASK, importance(model, TASK).heads(), percents=(0, 50), progress=lambda *pair: told.append(pair))
    assert told == [(1, 2), (2, 2)]


def test_stored_evaluations_take_the_place_of_runs() -> None:
    model = load("gpt2")
    scores, stored = importance(model, TASK).heads(), {}

    def keep(model: Any, task: Any, *, heads: Any, ffns: Any, replacement: Any) -> Any:
        key = tuple(heads.removed())
        if key not in stored:
            stored[key] = evaluate(model, task, heads=heads, ffns=ffns, replacement=replacement)
        return stored[key]

    first = prune(model, TASK, scores, percents=(0, 50), evaluate=keep)
    again = prune(model, TASK, scores, percents=(0, 50), evaluate=keep)
    assert len(stored) == 2
    assert [a.evaluation is b.evaluation for a, b in zip(first.steps, again.steps, strict=True)] == [True, True]


def test_a_deferred_replacement_is_made_once_and_is_the_same() -> None:
    model, made = load("gpt2"), []
    scores = importance(model, TASK).heads()
    references = documents(64, name="r", seed=1)

    def make() -> Any:
        made.append(make_replacement(model, "mean", references))
        return made[-1]

    found = [
        prune(model, TASK, scores, percents=(0, 25, 50), replacement=way)
        for way in (Deferred("mean", make), make_replacement(model, "mean", references))
    ]
    np.testing.assert_array_equal(*(one.gold_log_likelihoods() for one in found))
    assert len(made) == 1 and {one.ablation for one in found} == {"mean"}


def test_an_order_of_another_model_or_kind_is_refused() -> None:
    model, other = load("gpt2"), load("gpt2", seed=1)
    found = importance(model, TASK)
    with pytest.raises(UsageError, match="on another model"):
        prune(other, TASK, found.heads(), component="head")
    with pytest.raises(UsageError, match="of another model"):
        prune(model, TASK, Ranking("head", "own", torch.rand(3, 4)))
    with pytest.raises(UsageError, match="component 'ffn'"):
        prune(model, TASK, found.heads(), component="ffn")
    with pytest.raises(UsageError, match="pair"):
        prune(model, TASK, (found.ffns(), found.heads()), component="both")
    with pytest.raises(UsageError, match="pairs"):
        prune(model, TASK, (found.heads(), found.ffns()), component="both", percents=(0, 10))
