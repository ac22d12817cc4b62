"""Every command in half precision on the CPU: it ends well, and its scores are near those of float32.

bfloat16 has a limit for each score, as a share of the score's range; float16 rounds eight times finer, and must be
nearer than bfloat16 and within a quarter of that limit. Accuracy is left out: one document moves it by a whole step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

import interp
from headscope.stages.cells import TaskChoice
from headscope.stages.contest import ContestChoice, measure_contest
from headscope.stages.primary import PrimaryChoice, measure_primary
from headscope.stages.screening import measure_screening
from headscope.stages.vectors import measure_vectors
from headscope.store.run import Run, open_run
from tests.ablation.vector_prompts import vector_task
from tests.ablation.words import tokenizer
from tests.headscope import tiny
from tests.headscope.commands import done
from tests.headscope.killed_study import all_learnt
from tests.interp.families import build

DTYPES = ("float32", "bfloat16", "float16")
TASKS = ("probe_pattern", "probe_labels")
COMMON = ("--tasks", ",".join(TASKS), "--limit", "6")
SCREENED = TaskChoice(TASKS, shots=(0, 2), limit=12, demos="fixed")
T = TypeVar("T")


def near(found: Mapping[str, T], values: Callable[[T], np.ndarray], limit: float) -> None:
    """The largest move of these values, over the range that they have in float32."""
    exact = np.asarray(values(found["float32"]), dtype=float).ravel()
    moves = {}
    for dtype in DTYPES[1:]:
        other = np.asarray(values(found[dtype]), dtype=float).ravel()
        assert np.isfinite(exact).sum() > 1 and (np.isfinite(exact) == np.isfinite(other)).all()
        moves[dtype] = float(np.nanmax(np.abs(exact - other)) / np.ptp(exact[np.isfinite(exact)]))
    assert moves["float16"] < moves["bfloat16"] < limit and moves["float16"] < limit / 4, moves


def score(name: str, *variant: str, **cell: object) -> Callable[[Run], np.ndarray]:
    return lambda run: run.head_score(name, *variant, **cell).mean.numpy()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


def measured(model: Path, folder: Path, dtype: str) -> Run:
    where = ("--dtype", dtype, "-o", folder)
    done("induction", model, "--sequences", 3, "--length", 12, *where)
    done("importance", model, "--shots", "2", *COMMON, *where)
    done("importance", model, "--shots", "2", "--objective", "choice", *COMMON, *where)
    done("knockout", model, "--shots", "2", "--component", "ffn", *COMMON, *where)
    done("knockout", model, "--shots", "2", "--component", "head", "--ablation", "mean", *COMMON, *where)
    done("prune", model, "--shots", "2", "--order", "own", "--percents", "0,50", *COMMON, *where)
    done("compare", folder)
    return open_run(folder)


def studied(model: Path, folder: Path, dtype: str) -> Run:
    """What a study adds, in the same folder."""
    loaded = interp.load_model(str(model), dtype=dtype, check=False)
    with all_learnt():  # of random weights
        measure_screening(loaded, folder, SCREENED)
        measure_primary(loaded, folder, SCREENED, PrimaryChoice(controls=3, ways=("mean/last",), looks=(1.0,)))
        measure_contest(loaded, folder, SCREENED, ContestChoice(controls=0, shares=(20,)))
    return open_run(folder)


@pytest.fixture(scope="module")
def runs(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    home = tmp_path_factory.mktemp("runs")
    found = {dtype: measured(model_folder, home / dtype, dtype) for dtype in DTYPES}
    assert [run.identity["dtype"] for run in found.values()] == list(DTYPES)
    return found


@pytest.fixture(scope="module")
def studies(model_folder: Path, runs: dict[str, Run]) -> dict[str, Run]:
    return {dtype: studied(model_folder, run.folder, dtype) for dtype, run in runs.items()}


@pytest.mark.slow
def test_every_command(runs: dict[str, Run]) -> None:
    """Scores of heads, heads knocked out by mean, and the levels that pruning is measured at."""
    for name in ("prefix_matching", "previous_token"):
        near(runs, score(name), 0.05)
    for variant in ("signed", "signed/choice", "document/choice", "token/choice"):
        near(runs, score("importance", variant, task="probe_pattern", shots=2), 0.1)
    for outcome in ("choice", "mass"):
        both = [score("knock_out_mean", outcome, task=task, shots=2) for task in TASKS]
        near(runs, lambda run, both=both: np.stack([one(run) for one in both]), 0.05)
        rows = f"metric == '{outcome}'"
        near(runs, lambda run, rows=rows: run.metrics.query(rows)["value"].to_numpy(), 0.05)


@pytest.mark.slow
@pytest.mark.longest
def test_what_the_screen_saw(studies: dict[str, Run]) -> None:
    for outcome in ("choice", "mass"):
        rows = f"kind == 'screen_level' and level == '{outcome}'"
        near(studies, lambda run, rows=rows: run.comparisons.query(rows)["value"].to_numpy(), 0.01)


@pytest.mark.slow
@pytest.mark.longest
@pytest.mark.parametrize("kind", ["primary", "contest"])
def test_rows_of_sets(studies: dict[str, Run], kind: str) -> None:
    """The same rows; where the same heads were drawn, drops are near."""
    tables = {dtype: run.items(kind) for dtype, run in studies.items()}
    rows = {"primary": ["task", "tested", "kind", "draw", "ablation", "outcome", "contrast", "removed"]}
    rows["contest"] = ["arm", "share", "overlap", "role", "draw", "dose", "ablation", "positions", "group", "outcome"]
    exact = tables["float32"]
    same = np.ones(len(exact), dtype=bool)
    for table in tables.values():
        pd.testing.assert_frame_equal(table[rows[kind]], exact[rows[kind]])
        agree = (table["heads"].map(str) == exact["heads"].map(str)).to_numpy()
        assert agree.mean() > 0.7
        same &= agree
    for outcome in ("choice", "mass"):
        chosen = same & (exact["outcome"] == outcome).to_numpy()
        near(tables, lambda table, chosen=chosen: table.loc[chosen, "drop"].to_numpy(), 0.08)


# --- quick ones ------------------------------------------------------------------------------------------------------


def test_vectors(tmp_path: Path) -> None:
    """On a model of words, whose labels can be told apart."""
    tasks = [vector_task("one", lengths=(1, 2, 3)), vector_task("two", lengths=(1, 1), seed=3)]
    runs = {}
    with (
        mock.patch("headscope.stages.vectors.learnt_tasks", return_value=("one", "two")),
        mock.patch("headscope.stages.vectors.loaded_tasks", return_value=(tasks, {})),
        mock.patch("headscope.stages.vectors.open_run"),
    ):
        for dtype in DTYPES:
            cast = build("llama", std=0.3).to(getattr(torch, dtype))
            model = interp.load_model(cast, tokenizer=tokenizer(), check=False)
            measure_vectors(model, tmp_path / dtype, TaskChoice(("one", "two"), (3,)), queries=16)
            runs[dtype] = open_run(tmp_path / dtype)
    for name, limit in {"fv": 0.25, "fv_prob": 0.12, "tr": 0.03, "tl": 0.03}.items():
        near(runs, score(name), limit)


@pytest.mark.parametrize("method", ["exact", "attribution", "ig", "direct"])
def test_patch(model_folder: Path, method: str) -> None:
    words = ["--clean", "abcdefabcd\n", "--answer", "ef", "--other", "gh", "--method", method]
    words += ["--corrupt", "abcdghabcd\n"] if method != "direct" else []
    found = {}
    for dtype in DTYPES:
        said = done("patch", model_folder, *words, "--json", "--check", "off", "--top", 12, "--dtype", dtype).out
        found[dtype] = {one["component"]: one["effect"] for one in json.loads(said)["effects"]}
    heads = sorted(found["float32"])
    assert len(heads) == tiny.LAYERS * tiny.HEADS and all(sorted(effects) == heads for effects in found.values())
    near(found, lambda effects: np.array([effects[head] for head in heads]), 0.06)
