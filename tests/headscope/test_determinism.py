"""What may change without changing a number, and by how much it may where it does: docs/reliability.md tells both.

The same seed gives the same bytes. Which tasks are named first changes no value of a task. Threads, and how many tokens
are run at once, change the order in which floats are added: the tolerances below, of float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

import induction
from ablation.engine.likelihood import log_likelihoods
from ablation.tasks import load_task
from headscope.stages.cells import TaskChoice
from headscope.stages.comparison import compare_rankings
from headscope.stages.importance import measure_importance
from headscope.stages.induction import measure_induction
from headscope.stages.knock_out import measure_knock_out
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.store.run import Run, open_run
from tests.headscope.commands import tables
from tests.headscope.faults import contents
from tests.headscope.tiny_model import tiny_model

SCORE_TOLERANCE = 1e-5  # of a score, relative to the largest of its kind
LIKELIHOOD_TOLERANCE = 1e-4  # nats
CHOICE = TaskChoice(("probe_pattern", "probe_labels"), shots=(2,), limit=6)
PRUNE = PruneChoice("head", ("own", "random"), percents=(0, 50), draws=2)
ROWS = ["score", "variant", "task", "shots", "layer", "head"]


def measured(folder: Path, choice: TaskChoice = CHOICE) -> Run:
    """Scores, importance, knock-outs, pruning, comparison."""
    model = tiny_model()
    measure_induction(model, folder, sequences=3, length=12)
    measure_importance(model, folder, choice)
    measure_knock_out(model, folder, choice, component="head")
    measure_pruning(model, folder, choice, PRUNE)
    compare_rankings(folder)
    return open_run(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with threads(1):
        return measured(tmp_path_factory.mktemp("determinism") / "run")


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    """Of every table, item table and unit; another seed gives others."""
    with threads(1):
        again = measured(tmp_path / "again")
        other = measured(tmp_path / "other", replace(CHOICE, seed=1))
    assert contents(again.folder) == contents(run.folder)
    names = tables(run.folder).keys()
    assert {"head_scores.parquet", "metrics.parquet", "comparisons.parquet"} <= names and len(names) > 8
    differ = {name for name in names if tables(other.folder).get(name) != tables(run.folder)[name]}
    assert {"head_scores.parquet", "metrics.parquet", "comparisons.parquet"} <= differ


@pytest.mark.slow
def test_the_order_of_tasks_changes_no_value_of_a_task(run: Run, tmp_path: Path) -> None:
    with threads(1):
        turned = measured(tmp_path / "turned", replace(CHOICE, names=CHOICE.names[::-1]))
    for name, keys in (("head_scores", ROWS), ("metrics", None)):
        one, other = (ordered(getattr(each, name), keys) for each in (run, turned))
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    units = [{name: whole for name, whole in contents(each.folder).items() if "unit" in name} for each in (run, turned)]
    assert units[0] == units[1] and units[0]
    for name in run.item_names:
        assert (run.folder / f"items/{name}.parquet").read_bytes() == (
            turned.folder / f"items/{name}.parquet"
        ).read_bytes()


def ordered(frame: pd.DataFrame, keys: list[str] | None) -> pd.DataFrame:
    return frame.sort_values(keys or list(frame.columns), ignore_index=True)


@pytest.mark.slow
def test_threads_change_scores_within_the_tolerance(run: Run, tmp_path: Path) -> None:
    with threads(2):
        two = measured(tmp_path / "two")
    close_scores(run, two)
    one, other = (each.metrics["value"].to_numpy() for each in (run, two))
    np.testing.assert_allclose(other, one, rtol=0, atol=LIKELIHOOD_TOLERANCE)


def close_scores(one: Run, other: Run) -> None:
    """Relative to the largest of the same score, whose parts it was added up from."""
    tables_of = [ordered(each.head_scores, ROWS).set_index(ROWS) for each in (one, other)]
    assert tables_of[0].index.equals(tables_of[1].index)
    for name, rows in tables_of[0].groupby(["score", "variant", "task", "shots"]):
        wanted, found = rows["mean"].to_numpy(), tables_of[1].loc[rows.index, "mean"].to_numpy()
        largest = np.nan_to_num(np.abs(wanted)).max()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=SCORE_TOLERANCE * largest, err_msg=str(name))


@pytest.mark.parametrize("budget", [64, 1 << 14])
def test_how_many_tokens_are_run_at_once_changes_scores_within_the_tolerance(budget: int) -> None:
    model = tiny_model()
    sequences = induction.repeated_sequences(model, sequences=4, length=12)
    usual, other = (induction.induction_scores(model, sequences, **at) for at in ({}, {"token_budget": budget}))
    assert len(usual.scores) == len(other.scores) > 5
    for wanted, found in zip(usual.scores, other.scores, strict=True):
        largest = float(wanted.mean.abs().nan_to_num().max())
        torch.testing.assert_close(found.mean, wanted.mean, rtol=0, atol=SCORE_TOLERANCE * largest, equal_nan=True)


@pytest.mark.parametrize("budget", [64, 1 << 14])
def test_how_many_tokens_are_run_at_once_changes_likelihoods_within_the_tolerance(budget: int) -> None:
    model = tiny_model()
    documents = list(load_task("probe_labels", shots=2, limit=12).token_documents(model))
    without = torch.ones(model.n_layers, model.n_heads)
    without[1, 2] = 0
    for heads in (None, without):
        usual, other = (log_likelihoods(model, documents, heads=heads, token_budget=at) for at in (None, budget))
        for wanted, found in zip(usual, other, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=LIKELIHOOD_TOLERANCE)


def test_how_documents_are_cut_into_units_changes_scores_within_the_tolerance(run: Run, tmp_path: Path) -> None:
    """Batches of knock-outs and of importance are parts of a unit."""
    with (
        threads(1),
        mock.patch.dict("headscope.stages.knock_out.SHARDS", {"head": 3}),
        mock.patch("headscope.stages.importance.shards", lambda task: [task.select([n]) for n in range(6)]),
    ):
        close_scores(run, measured(tmp_path / "single"))
