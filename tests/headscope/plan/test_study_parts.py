"""What a model, or its scores, can't give is left out of a study, which says so and ends with a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import transformers

import interp
from headscope.plan import budget
from headscope.plan.names import STAGES
from headscope.plan.study import NO_FFNS, run_stages, silent, study
from headscope.plan.study_plan import StudyPlan
from headscope.stages import export as exporting
from headscope.stages.cells import TaskChoice
from headscope.stages.knock_out import measure_knock_out
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.store.comparisons import Kind
from headscope.store.manifest import Stage
from headscope.store.run import Run
from headscope.store.snapshot import chosen
from headscope.store.writer import open_stage
from interp.errors import UsageError
from tests.headscope import killed_study
from tests.induction.tokenizers import opt_like, pair_merges

TASKS = "probe_antonyms,probe_pattern"
FEW = replace(killed_study.BUDGET, draws=1, controls=1, percents=(0, 50), grid=((0, 50), (0, 50)), demo_seeds=1)


def model(**options: Any) -> interp.HookedModel:
    """A random Mistral that reads any text."""
    tokenizer = opt_like(pair_merges("abcdefghijklmnopqrst"))
    config = transformers.MistralConfig(
        **{
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "max_position_embeddings": 2048,
            "sliding_window": None,
            "vocab_size": len(tokenizer),
            "bos_token_id": 2,
            "eos_token_id": 2,
            **options,
        }
    )
    torch.manual_seed(0)
    hf = transformers.MistralForCausalLM(config)
    for parameter in hf.parameters():
        parameter.data.add_(torch.randn(parameter.shape) * 0.15)
    return interp.load_model(hf, tokenizer=tokenizer, check=False)


def without_ffns(found: interp.HookedModel) -> interp.HookedModel:
    """The same model, its FFNs in no place that the layout knows."""
    return replace(found, layout=replace(found.layout, ffn=None, ffn_out=None))


@pytest.fixture
def few() -> Any:
    with mock.patch.dict(budget.NAMED, {"small": FEW}):
        yield


def left_out(run: Run) -> list[str]:
    return list(next(stage for stage in run.stages if stage.command == "study").record["left_out"])


@pytest.mark.longest
@pytest.mark.slow
def test_a_model_without_ffns(few: None, tmp_path: Path) -> None:
    run = study(without_ffns(model()), out=tmp_path / "run", tasks=TASKS, shots="2", limit=4)
    assert NO_FFNS in left_out(run)
    commands = [stage.command for stage in run.stages]
    assert "prune --component head" in commands and not [name for name in commands if "ffn" in name or "both" in name]
    assert all(stage.finished for stage in run.stages) and (run.folder / "report.html").is_file()
    assert len(run.metrics) and not len(chosen(run.comparisons, kind=Kind.FFN_NEEDED))


def test_heads_without_a_prefix_score_and_no_heads_left_for_controls(few: None, tmp_path: Path) -> None:
    """A window shorter than the blocks, and one head in all: the primary question can't be asked, all else can."""
    found = model(sliding_window=8, num_attention_heads=1, num_key_value_heads=1, num_hidden_layers=1)
    run = study(found, out=tmp_path / "run", tasks=TASKS, shots="0,2", limit=20)
    (told,) = (line for line in left_out(run) if line.startswith("no primary: "))
    assert "there is no head to test" in told
    assert all(stage.finished for stage in run.stages) and (run.folder / "report.html").is_file()


def test_a_refused_part_closes_its_own_stage_and_no_interrupted_one(tmp_path: Path) -> None:
    found, folder, plan = model(), tmp_path / "run", StudyPlan(("probe_pattern",), (2,), FEW)
    earlier = Stage("prune --component head", "by hand")
    open_stage(found, folder, earlier)  # killed: never finished

    def refuse(*_: Any) -> None:
        open_stage(found, folder, Stage("importance", "begun and refused"))
        raise UsageError("no such scores")

    ran = {name: mock.Mock() for name in STAGES} | {"importance": refuse}
    with mock.patch.dict("headscope.plan.study.RUNNERS", ran):
        run = run_stages(found, folder, Stage("study", "few"), plan, None, silent)
    finished = {stage.command: bool(stage.finished) for stage in run.stages}
    assert finished == {"prune --component head": False, "study": True, "importance": True}
    (begun,) = (stage for stage in run.stages if stage.command == "importance")
    assert begun.record["left_out"] == ["no such scores"] and "no importance: no such scores" in left_out(run)


def test_removing_ffns_that_are_not_there_is_refused_before_the_folder_is_bound(tmp_path: Path) -> None:
    found, choice = without_ffns(model()), TaskChoice(("probe_pattern",), (1,), limit=4)
    calls = (
        lambda: measure_knock_out(found, tmp_path / "run", choice, component="ffn"),
        lambda: measure_pruning(found, tmp_path / "run", choice, PruneChoice("ffn")),
        lambda: measure_pruning(found, tmp_path / "run", choice, PruneChoice("both")),
        lambda: exporting.export_pruned(found, tmp_path / "run", tmp_path / "out", component="ffn"),
    )
    for call in calls:
        with pytest.raises(UsageError, match="has no FFN that headscope can place, so there is none to remove"):
            call()
    assert not (tmp_path / "run").exists() and not (tmp_path / "out").exists()
