"""One curve is of one ranking: pruned again by another one of the same name, the earlier rows go, and that is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import interp
from headscope.stages.cells import TaskChoice
from headscope.stages.importance import measure_importance
from headscope.stages.pruning import PruneChoice, measure_pruning, replaced
from headscope.store.run import open_run
from tests.headscope.tiny_model import tiny_model

TASKS = ("probe_pattern", "probe_labels", "probe_capitals")
CHOICE = TaskChoice(TASKS, shots=(0,), limit=4)
FEW = replace(CHOICE, names=TASKS[:2])
STEPS = {20: (0, 20, 50), 30: (0, 30, 60)}


@pytest.fixture(scope="module")
def model() -> interp.HookedModel:
    return tiny_model()


def pruned(
    model: interp.HookedModel, folder: Path, choice: TaskChoice, first: int, order: str, **more: Any
) -> list[str]:
    """What the command says that it took away."""
    prune = PruneChoice(orders=(order,), percents=STEPS[first], **more)
    measure_pruning(model, folder, choice, prune)
    return replaced(folder, prune.stage(choice))


def rows(folder: Path, task: str, order: str) -> pd.DataFrame:
    found = open_run(folder).metrics
    return found[(found["task"] == task) & (found["order"] == order)].reset_index(drop=True)


def steps(folder: Path, task: str, order: str) -> set[float]:
    return set(rows(folder, task, order)["percent_heads"])


@pytest.fixture
def folder(model: interp.HookedModel, tmp_path: Path) -> Path:
    measure_importance(model, tmp_path / "run", CHOICE)
    return tmp_path / "run"


def test_an_aggregate_over_other_tasks_replaces_the_earlier_one(model: interp.HookedModel, folder: Path) -> None:
    assert pruned(model, folder, FEW, 20, "aggregate") == []
    told = pruned(model, folder, CHOICE, 30, "aggregate")
    assert told == [
        f"aggregate of {task}, 0 shots, by zero, at 20%, 50%: by another ranking than this command's"
        for task in TASKS[:2]
    ]
    for task in TASKS:
        assert steps(folder, task, "aggregate") == {0, 30, 60}
    later = {task: rows(folder, task, "aggregate") for task in TASKS}
    assert len(pruned(model, folder, FEW, 20, "aggregate")) == 2  # and back again
    assert steps(folder, TASKS[0], "aggregate") == {0, 20, 50} and steps(folder, TASKS[2], "aggregate") == {0, 30, 60}
    pruned(model, folder, CHOICE, 30, "aggregate")
    for task in TASKS:
        pd.testing.assert_frame_equal(rows(folder, task, "aggregate"), later[task])


@pytest.mark.parametrize("order", ["own", "layer_matched", "transfer"])
def test_steps_by_the_same_ranking_are_one_curve(model: interp.HookedModel, folder: Path, order: str) -> None:
    """An own order, one drawn from it, and each other task's: no further task changes them."""
    name = TASKS[0] if order == "transfer" else order
    assert pruned(model, folder, FEW, 20, order, draws=3) == []
    assert pruned(model, folder, CHOICE, 30, order, draws=2) == []
    assert steps(folder, TASKS[1], name) == {0, 20, 30, 50, 60}


def test_a_score_that_was_measured_anew_is_another_ranking(model: interp.HookedModel, folder: Path) -> None:
    """Ranked by another folder's importance: own orders, and all draws of those that are drawn from them, go."""
    other = folder.parent / "other"
    measure_importance(model, other, replace(CHOICE, limit=12, seed=3))
    for order in ("own", "layer_matched"):
        pruned(model, folder, FEW, 20, order, draws=3)
        prune = PruneChoice(orders=(order,), percents=STEPS[30], draws=2)
        measure_pruning(model, folder, FEW, prune, rankings=other)
        assert steps(folder, TASKS[0], order) == {0, 30, 60}
        assert len(replaced(folder, prune.stage(FEW))) == 2
    assert set(rows(folder, TASKS[0], "layer_matched")["order_seed"]) == {0, 1}
