"""A folder whose documents were changed between two commands: one id must not mean two texts in one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from ablation.names import COPIES
from ablation.references import mean_of
from ablation.tasks import load_task
from headscope.stages.cells import TaskChoice
from headscope.stages.evaluation import replacement_for
from headscope.stages.importance import measure_importance
from headscope.stages.knock_out import measure_knock_out
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.store.manifest import SOURCES
from headscope.store.run import open_run
from interp.errors import StoreError, UsageError
from tests.headscope.sums import YAML, last_row_mended, rows, write, write_sums
from tests.headscope.tiny_model import tiny_model
from tests.refusals.case import contents

PRUNE = PruneChoice(percents=(0, 50))
Change = Callable[[Path], Any]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_sums(tmp_path / "data")


@pytest.fixture(scope="module")
def model() -> interp.HookedModel:
    return tiny_model()


def choice(data: Path, **values: Any) -> TaskChoice:
    return replace(TaskChoice(("sums",), shots=(0,), limit=4, data=str(data.parent)), **values)


def other_wording(data: Path) -> None:
    (data / "task.yaml").write_text(YAML.replace("{{question}}", "What is {{question}}"))


def rows_appended(data: Path) -> None:
    write(data / "train.jsonl", rows(0, 31))


# Other limits, shots, seeds and stages: whatever a command takes of the rows, they must be the same rows.
ASKED: dict[str, Change] = {
    "by choice": lambda given: measure_importance(*given, objective="choice"),
    "knock-outs": lambda given: measure_knock_out(*given, component="head"),
    "of more documents": lambda given: measure_knock_out(*given[:2], replace(given[2], limit=8), component="ffn"),
    "of other shots": lambda given: measure_importance(*given[:2], replace(given[2], shots=(1,))),
    "with another seed": lambda given: measure_knock_out(*given[:2], replace(given[2], seed=3), component="head"),
}


@pytest.mark.parametrize("change", [last_row_mended, other_wording, rows_appended])
@pytest.mark.parametrize("asked", ASKED)
def test_other_documents_under_the_same_name_are_refused(
    model: interp.HookedModel, data: Path, tmp_path: Path, asked: str, change: Change
) -> None:
    given: Any = (model, tmp_path / "run", choice(data))
    measure_importance(*given)
    before = contents(tmp_path / "run")
    change(data)
    with pytest.raises(StoreError, match=r"of other documents or prompts of sums, train: .* with -o\.$"):
        ASKED[asked](given)
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("asked", ASKED)
def test_the_same_documents_are_taken_at_any_limit_and_seed(
    model: interp.HookedModel, data: Path, tmp_path: Path, asked: str
) -> None:
    given: Any = (model, tmp_path / "run", choice(data))
    measure_importance(*given)
    ASKED[asked](given)


def test_demonstrations_of_other_rows_are_refused(model: interp.HookedModel, data: Path, tmp_path: Path) -> None:
    """The validation documents are the same: those that are shown in front of them are not."""
    given: Any = (model, tmp_path / "run", choice(data, shots=(0, 1)))
    measure_importance(*given)
    rest = {name: value for name, value in given[2].__dict__.items() if name != "shots"}
    last_row_mended(data)
    measure_pruning(*given[:2], TaskChoice(**rest, shots=(0,)), PRUNE)  # shows none, and evaluates no training row
    with pytest.raises(StoreError, match="of sums, demonstrations:"):
        measure_pruning(*given, PRUNE)


def test_a_command_may_be_run_again_on_mended_documents_where_no_other_has_read_them(
    model: interp.HookedModel, data: Path, tmp_path: Path
) -> None:
    given: Any = (model, tmp_path / "run", choice(data))
    measure_importance(*given)
    last_row_mended(data)
    measure_importance(*given)
    measure_knock_out(*given, component="head")
    last, other = (stage.record[SOURCES] for stage in open_run(tmp_path / "run").stages)
    assert last == other and set(last) == {"sums, train"}


@pytest.mark.parametrize("copies", [4, 5])
def test_a_few_documents_of_both_splits_do_not_stand_in_and_many_are_refused(
    model: interp.HookedModel, data: Path, tmp_path: Path, copies: int
) -> None:
    write(data / "train.jsonl", rows(0, 64))
    write(data / "validation.jsonl", [*rows(0, copies), *rows(100, 64 - copies)])
    given = choice(data, limit=None)
    if copies > COPIES:
        with pytest.raises(UsageError, match=r"^5 of 64 reference documents of sums are copies of evaluated ones"):
            measure_knock_out(model, tmp_path / "run", given, component="ffn", ablation="mean")
        return
    stands_in = replacement_for(model, given, given.tasks("train")[0], "mean")
    rest = load_task("sums", data=data.parent).select(range(copies, 64)).token_documents(model)
    torch.testing.assert_close(stands_in.made.z_rest, mean_of(model, rest).z_rest)  # type: ignore[union-attr]


def test_a_run_of_before_that_notes_no_sources_is_read(model: interp.HookedModel, data: Path, tmp_path: Path) -> None:
    given: Any = (model, tmp_path / "run", choice(data))
    measure_importance(*given)
    manifest = open_run(tmp_path / "run").manifest
    (stage,) = manifest.stages
    older = replace(stage, record={name: value for name, value in stage.record.items() if name != SOURCES})
    replace(manifest, stages=(older,)).write(tmp_path / "run")
    measure_knock_out(*given, component="head")
    assert [SOURCES in stage.record for stage in open_run(tmp_path / "run").stages] == [False, True]
