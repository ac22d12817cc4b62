"""The contest's rows on a tiny model, from the drops of its sets (Method 5)."""

from __future__ import annotations

import numpy as np
import pytest

from ablation.contest import (
    ALL_TASKS,
    FUNCTION,
    INDUCTION,
    KEPT,
    LEFT_OUT,
    contest_sets,
    contest_task,
    matches,
    removals,
)
from ablation.statistics.kv_groups import kv_groups
from headscope.comparison.contest import contest_rows
from headscope.store.comparisons import ContestLevel, Kind
from tests.ablation.documents import SmallTask, documents
from tests.interp.families import load


def test_the_rivals_are_compared_as_they_are_and_without_what_both_hold() -> None:
    """Both sets hold 0.1: alone, each has one head of the second layer, beside controls of that layer."""
    model, task = load("llama"), SmallTask(tuple(documents(6)))
    grid = (model.n_layers, model.n_heads)
    vectors = np.zeros(grid)
    vectors[0, 1], vectors[1, 3] = 2, 1
    rankings = {INDUCTION: np.arange(float(np.prod(grid))).reshape(grid), FUNCTION: vectors}
    exists = np.ones(grid, dtype=bool)
    sets = contest_sets(rankings, ((0, 1), (1, 2)), exists, controls=3, shares=(), doses=())
    wanted = removals(sets, ways=(("zero", "all"),), controlled=(("zero", "all"),))
    found = contest_task(model, task, wanted, {"zero": None})
    rows = list(contest_rows([found], wanted, kv_groups(*grid, model.n_kv_heads)))
    ahead = {row["level"]: row for row in rows if row["kind"] == Kind.CONTEST_AHEAD and row["b"] == ALL_TASKS}
    for overlap, heads in ((KEPT, {INDUCTION: 2, FUNCTION: 2}), (LEFT_OUT, {INDUCTION: 1, FUNCTION: 1})):
        beyond = {}
        for match in matches(wanted):
            if match.tested.heads.overlap == overlap:
                assert len(match.tested.heads.heads) == heads[match.tested.heads.arm]
                own = found.drop(match.tested, "choice").mean()
                controls = [found.drop(control, "choice").mean() for control in match.controls]
                beyond[match.tested.heads.arm] = own - np.mean(controls)
        row = ahead[str(ContestLevel("choice", "zero", "all", "class", overlap))]
        assert row["a"] == FUNCTION and row["value"] == pytest.approx(beyond[FUNCTION] - beyond[INDUCTION])
