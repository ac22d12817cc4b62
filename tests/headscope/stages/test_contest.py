"""Function vectors, label heads and the contest on a tiny model, beside what the library's functions give."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

import interp
from ablation.contest import ABSTRACTIVE, ALL_TASKS, EXTRACTIVE, INDUCTION, NEGATIVE
from ablation.evaluation import evaluate
from ablation.function_vector import FunctionVector
from ablation.function_vectors import function_vectors
from ablation.gains import Conditions
from ablation.names import PATCH_RECHECKED, RECHECKED
from ablation.replacement import At
from headscope.figures.catalogue import draw
from headscope.figures.contest import contest_dots
from headscope.findings.contest import named_sets, sentences, table_rows
from headscope.findings.evidence import Evidence
from headscope.findings.page import page_of
from headscope.stages.cells import Progress, TaskChoice, title_of
from headscope.stages.contest import ContestChoice, _Contest, measure_contest
from headscope.stages.evaluation import StoredEvaluations, replacement_for, way_of
from headscope.stages.induction import measure_induction
from headscope.stages.primary import PrimaryChoice, conditions_of, measure_primary
from headscope.stages.screening import learnt_tasks, measure_screening
from headscope.stages.vectors import Found, measure_vectors, vector_choice
from headscope.store.comparisons import ContestLevel, Kind, level_of
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.snapshot import chosen
from headscope.store.writer import open_stage
from induction.sequences import candidates_of
from interp.errors import HeadscopeError, UsageError
from interp.masks import HeadMask
from tests.ablation.vector_prompts import vector_task
from tests.ablation.words import tokenizer
from tests.headscope.commands import command, done, refused, units
from tests.headscope.tiny_model import tiny_model
from tests.interp.families import build
from tests.interp.overflowing import overflow_on
from tests.interp.saved import write_config

TASKS = ("probe_pattern", "probe_labels")
CHOICE = TaskChoice(TASKS, shots=(0, 2), limit=24, demos="fixed")
CONTEST = ContestChoice(controls=3, shares=(20,))


@pytest.fixture(scope="module")
def model() -> interp.HookedModel:
    return tiny_model()


@pytest.fixture(scope="module")
def passed() -> Iterator[None]:
    with (
        mock.patch("headscope.stages.vectors.learnt_tasks", return_value=TASKS),
        mock.patch("headscope.stages.contest.learnt_tasks", return_value=TASKS),
    ):
        yield


@pytest.fixture(scope="module")
def run(model: interp.HookedModel, passed: None, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose screen let both tasks pass, with function vectors and a contest."""
    folder = tmp_path_factory.mktemp("contest") / "run"
    measure_induction(model, folder, sequences=3, length=12)
    measure_screening(model, folder, replace(CHOICE, limit=None))
    measure_vectors(model, folder, vector_choice(CHOICE), queries=15)
    measure_contest(model, folder, CHOICE, CONTEST)
    return open_run(folder)


def test_every_stage_says_how_many_rows_had_no_label(run: Run) -> None:
    stages = {stage.command: stage.record for stage in run.stages}
    assert [stages[name]["unlabelled"] for name in ("screen", "vectors", "contest")] == [{}, {}, {}]


# --- vectors ---------------------------------------------------------------------------------------------------------


def test_vectors_are_what_one_call_gives(model: interp.HookedModel, run: Run) -> None:
    wanted = function_vectors(model, TASKS, queries=15)
    for name, scores in (("fv", wanted.scores), ("fv_prob", wanted.prob)):
        stored = run.head_score(name)
        for part in ("mean", "ci_low", "ci_high", "p", "p_family", "per_item"):
            torch.testing.assert_close(getattr(stored, part), getattr(scores, part), equal_nan=True, atol=1e-6, rtol=0)
    (stage,) = (stage for stage in run.stages if stage.command == "vectors")
    assert stage.record["running_check"] == PATCH_RECHECKED
    assert stage.record["fv_heads"] == [f"{head.layer}.{head.head}" for head in wanted.heads]
    wide = [[float(end[head.layer, head.head]) for end in wanted.over_tasks] for head in wanted.heads]
    np.testing.assert_allclose(np.reshape(stage.record["fv_over_tasks"], (-1, 2)), np.reshape(wide, (-1, 2)), atol=1e-4)
    items = run.items("head-fv")
    assert len(items) == 30 and set(items["task"]) == set(TASKS)


def test_a_functions_vector_is_in_the_run_and_belongs_to_its_model(model: interp.HookedModel, run: Run) -> None:
    wanted = function_vectors(model, TASKS, queries=15)
    path = run.vector_path("probe_labels/animals are A")
    vector = FunctionVector.load(path, model)
    made = wanted.vector(len(vector.heads), function="probe_labels/animals are A")
    torch.testing.assert_close(vector.value(model), made.value(model))
    assert len(list(path.parent.iterdir())) == len(wanted.means) == 4
    with pytest.raises(UsageError, match="a vector means nothing in another model"):
        FunctionVector.load(path, interp.load_model(build("llama"), tokenizer=tokenizer(), check=False))
    raised = chosen(run.comparisons, kind=Kind.VECTOR_RAISE)
    assert len(raised) == 2 and set(raised["n"]) == {20}
    assert {level_of(Kind.VECTOR_RAISE, level).unit for level in raised["level"]} == {"block"}
    (stage,) = (stage for stage in run.stages if stage.command == "vectors")
    ends = chosen(run.comparisons, kind=Kind.VECTOR_BEYOND)["p"] * (1 + stage.record["vector_controls"])
    np.testing.assert_allclose(ends, ends.round(), atol=1e-9)


def test_tasks_without_labels_to_tell_apart_say_so(run: Run) -> None:
    (stage,) = (stage for stage in run.stages if stage.command == "vectors")
    assert "begin with the same token" in stage.record["without"]["probe_labels, labels"]
    assert "tr" not in set(run.head_scores["score"])


def test_label_heads_over_tasks_are_those_of_all_their_documents(tmp_path: Path) -> None:
    from ablation.label_heads import label_pieces
    from headscope.stages import vectors

    model = interp.load_model(build("llama"), tokenizer=tokenizer(), check=False)
    tasks = [vector_task("one", lengths=(1, 2, 3)), vector_task("two", lengths=(1, 1), seed=3)]
    with (
        mock.patch("headscope.stages.vectors.learnt_tasks", return_value=("one", "two")),
        mock.patch("headscope.stages.vectors.loaded_tasks", return_value=(tasks, {})),
        mock.patch("headscope.stages.vectors.open_run"),
    ):
        found = vectors.measure_vectors(model, tmp_path / "run", TaskChoice(("one", "two"), (3,)), queries=16)
    run = open_run(tmp_path / "run")
    pieces = [label_pieces(model, task.mean) for task in tasks]
    for name in ("tr", "tl", "tr_share"):
        items = torch.cat([part.items[name] for part in pieces])
        torch.testing.assert_close(run.head_score(name).per_item, items)
        torch.testing.assert_close(run.head_score(name).mean, items.mean(0))
    assert isinstance(found, Found) and found.labels is not None
    null = (pieces[0].null_sums["tr"] + pieces[1].null_sums["tr"]) / len(items)
    larger = (null >= run.head_score("tr").mean).sum(0)
    torch.testing.assert_close(run.head_score("tr").p, ((1 + larger) / (1 + len(null))).float())


def test_what_overflows_ends_the_stage_and_nothing_of_it_is_stored(tmp_path: Path) -> None:
    """In label heads too, which leave a task out for other reasons."""
    from headscope.stages.vectors import _Vectors

    model = interp.load_model(build("llama", dtype=torch.float16), tokenizer=tokenizer(), check=False)
    task = vector_task("one", lengths=(1, 2, 3))
    rare = task.mean.token_documents(model)[0].context[1]
    work = _Vectors(overflow_on(model, rare), open_stage(model, tmp_path / "run", Stage("vectors", {})), 0, Progress(0))
    for score in (lambda: work.label_heads([task], {}), lambda: work.function_vectors([task], {}, 3)):
        with pytest.raises(HeadscopeError, match=r"document one/mean/0 of head 1\.0 is no finite number.* float16"):
            score()
    assert len(work.run.units) == 0 and open_run(tmp_path / "run").head_scores.empty


def test_label_heads_ranked_by_other_tokens_are_another_unit(tmp_path: Path) -> None:
    from headscope.stages.vectors import _Vectors

    model = interp.load_model(build("llama"), tokenizer=tokenizer(), check=False)
    writer = open_stage(model, tmp_path / "run", Stage("vectors", {}))
    work = _Vectors(model, writer, 0, Progress(0))
    for ranked in (None, range(40), range(40), range(39, -1, -1)):
        work.pieces(vector_task("one", lengths=(1, 2, 3)), ranked)
    assert len(writer.units) == 3


def test_too_few_queries_and_no_task_end_in_words(model: interp.HookedModel, tmp_path: Path) -> None:
    measure_induction(model, tmp_path, sequences=3, length=12)
    with pytest.raises(UsageError, match="need 15 usable queries a task, and 9 are asked for"):
        measure_vectors(model, tmp_path, vector_choice(CHOICE), queries=9)
    with mock.patch("headscope.stages.vectors.learnt_tasks", return_value=()):
        assert measure_vectors(model, tmp_path, vector_choice(CHOICE), queries=15).vectors is None
    with mock.patch("headscope.stages.contest.learnt_tasks", return_value=()):
        assert measure_contest(model, tmp_path, CHOICE, CONTEST).empty
    reasons = {stage.command: stage.record.get("reason") for stage in open_run(tmp_path).stages}
    assert reasons["vectors"] == reasons["contest"] == "no task passed the screen"


# --- the contest -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", ["all", "last"])
def test_a_drop_is_that_of_the_library(model: interp.HookedModel, run: Run, positions: str) -> None:
    """The induction arm removed by mean: pooled over tasks, and each group by itself."""
    table = run.items("contest")
    rows = chosen(
        table, arm=INDUCTION, role="tested", share="class", ablation="mean", positions=positions, overlap="kept"
    )
    heads = [tuple(map(int, name.split("."))) for name in rows["heads"].iloc[0].split(",")]
    drops = {}
    for name in TASKS:
        task = conditions_of(name, CHOICE).few
        stand_in = replacement_for(model, CHOICE, task, "mean", part="rest")
        stand_in = At("last", stand_in) if positions == "last" else stand_in
        mask = HeadMask.keep_all(model.n_layers, model.n_heads).without(heads)
        full, removed = evaluate(model, task), evaluate(model, task, heads=mask, replacement=stand_in)
        drops[name] = {o: full.outcome(o).minus(removed.outcome(o)).mean for o in ("choice", "mass", "metric")}
    groups = {EXTRACTIVE: TASKS[:1], ABSTRACTIVE: TASKS[1:], ALL_TASKS: TASKS}
    for group, names in groups.items():
        for outcome in ("choice", "mass", "metric"):
            wanted = np.mean([drops[name][outcome] for name in names])
            level = ContestLevel(outcome, "mean", positions, "class", "kept")
            (row,) = chosen(run.comparisons, kind=Kind.CONTEST_DROP, a=INDUCTION, b=group, level=level).itertuples()
            assert row.value == pytest.approx(wanted, abs=1e-5) and row.n == len(names)
            (stored,) = chosen(rows, group=group, outcome=outcome)["drop"]
            assert stored == pytest.approx(wanted, abs=1e-5)


def test_beyond_ahead_and_rank_come_from_the_stored_sets(run: Run) -> None:
    table = chosen(
        run.items("contest"), share="class", overlap="kept", ablation="mean", positions="all", outcome="choice"
    )
    level = ContestLevel("choice", "mean", "all", "class", "kept")
    beyond = {}
    for arm in (INDUCTION, "function vectors", "random", "importance"):
        rows = chosen(table, arm=arm, group=ALL_TASKS)
        own = float(rows[rows["role"] == "tested"]["drop"].iloc[0])
        controls = rows[rows["role"] == "control"]["drop"].to_numpy()
        assert len(controls) == 3
        beyond[arm] = own - controls.mean()
        at = {"a": arm, "b": ALL_TASKS, "level": level}
        assert chosen(run.comparisons, kind=Kind.CONTEST_BEYOND, **at)["value"].iloc[0] == pytest.approx(beyond[arm])
        rank = chosen(run.comparisons, kind=Kind.CONTEST_RANK, **at)["value"].iloc[0]
        assert rank == 1 + (controls >= own).sum()
    lowest = chosen(run.comparisons, a=NEGATIVE)
    assert len(lowest) and set(lowest["kind"]) == {Kind.CONTEST_DROP}, "not matched to the induction heads' controls"
    ahead = chosen(run.comparisons, kind=Kind.CONTEST_AHEAD, a="function vectors", b=ALL_TASKS, level=level)
    assert ahead["value"].iloc[0] == pytest.approx(beyond["function vectors"] - beyond[INDUCTION])


def test_importance_to_the_choice_is_the_librarys(model: interp.HookedModel, run: Run) -> None:
    from ablation.importance import head_importance
    from ablation.tasks import load_task

    options = {"shots": 2, "limit": 12, "split": "train", "demos": "fixed", "part": "rest"}
    tables = []
    for name in TASKS:
        task = load_task(name, **options)
        lengths = [len(d.context) + len(d.target) - 1 for d in task.token_documents(model)]
        signed = head_importance(model, task, positions="signed", objective="choice")
        tables.append(signed.mean.double() * sum(lengths) / len(lengths))
    best = torch.stack(tables).mean(0).flatten().argmax()
    (stage,) = (stage for stage in run.stages if stage.command == "contest")
    assert stage.record["sets"]["importance, class, kept"] == [f"{best // 4}.{best % 4}"]
    assert stage.record["running_check"] == f"{RECHECKED}; {PATCH_RECHECKED}"
    assert "names of few tokens" in stage.record["missing_arms"]["concept"]
    assert any("no controls of sets removed by zero" in line for line in stage.record["left_out"])


@pytest.mark.parametrize("arm", ["concept", "importance"])
def test_an_arm_is_left_out_for_a_reason_and_not_for_broken_numbers(
    model: interp.HookedModel, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arm: str
) -> None:
    def rankings(error: HeadscopeError) -> dict[str, np.ndarray]:
        folder = tmp_path / type(error).__name__
        shutil.copytree(run.folder, folder)
        for name, effect in {"concept": None, "importance": None, arm: error}.items():
            monkeypatch.setattr(_Contest, name, mock.Mock(side_effect=effect, return_value=np.zeros((2, 4))))
        with open_stage(model, folder, Stage("contest by hand", {})) as writer:
            return _Contest(model, writer, CHOICE).rankings(TASKS)

    assert {"concept", "importance"} - set(rankings(UsageError("has none"))) == {arm}
    with pytest.raises(HeadscopeError, match="no finite number"):
        rankings(HeadscopeError("the log-likelihood is no finite number"))


def test_the_same_again_computes_nothing(model: interp.HookedModel, passed: None, run: Run) -> None:
    before = units(run.folder)
    with (
        mock.patch("ablation.engine.likelihood.log_likelihoods", side_effect=AssertionError("run again")),
        mock.patch("ablation.last_position.without_at_last", side_effect=AssertionError("run again")),
        mock.patch.object(
            sys.modules["ablation.function_vectors"], "task_effects", side_effect=AssertionError("run again")
        ),
    ):
        rows = measure_contest(model, run.folder, CHOICE, CONTEST)
        measure_vectors(model, run.folder, vector_choice(CHOICE), queries=15)
    assert units(run.folder) == before
    assert len(rows) == len(run.comparisons[run.comparisons["kind"].str.startswith("contest_")])


def test_a_task_without_documents_is_left_out_and_the_others_are_the_primarys(
    model: interp.HookedModel, run: Run, tmp_path: Path
) -> None:
    """Documents need a choice to make under both conditions; one task's refusal does not end the stage."""
    shutil.copytree(run.folder, tmp_path / "run")

    def some(name: str, choice: TaskChoice) -> Conditions:
        if name == TASKS[1]:
            raise UsageError("the screen saw all passages")
        return conditions_of(name, choice)

    def common(model: interp.HookedModel, found: Conditions) -> tuple[Conditions, tuple[str, ...]]:
        return Conditions(**{name: task.select(range(3)) for name, task in found.tasks.items()}), ("no choice",)

    with (
        mock.patch("headscope.stages.primary.conditions_of", side_effect=some),
        mock.patch("headscope.stages.primary.with_common_choices", side_effect=common),
        mock.patch("headscope.stages.contest.learnt_tasks", return_value=TASKS),
    ):
        measure_contest(model, tmp_path / "run", CHOICE, CONTEST)
    (stage,) = (stage for stage in open_run(tmp_path / "run").stages if stage.command == "contest")
    assert stage.record["without_references"] == {TASKS[1]: "the screen saw all passages"}
    kept = conditions_of(TASKS[0], CHOICE).few.select(range(3))
    assert stage.record["documents"] == {title_of(kept): kept.fingerprint[:16]}


def test_the_primary_and_the_contest_run_what_both_ask_once(
    model: interp.HookedModel, run: Run, tmp_path: Path
) -> None:
    """What both remove is one unit in both; sets of the contest alone take a task's documents together."""
    shutil.copytree(run.folder, tmp_path / "run")
    for unit in (tmp_path / "run" / "units").iterdir():
        unit.unlink()
    own, ran = StoredEvaluations._run, []

    def noted(self: Any, model: Any, shard: Any, masks: Any, replacement: Any) -> Any:
        way = "whole" if masks["heads"] is None else way_of(replacement)[0]
        ran.append((shard.task.shots, len(shard.documents), way))
        return own(self, model, shard, masks, replacement)

    with (
        mock.patch.object(StoredEvaluations, "_run", noted),
        mock.patch("headscope.stages.contest.learnt_tasks", return_value=TASKS),
        mock.patch("headscope.stages.primary.learnt_tasks", return_value=TASKS),
    ):
        primary = PrimaryChoice(controls=3, ways=(), looks=(1.0,))
        measure_primary(model, tmp_path / "run", CHOICE, primary)
        assert set(ran) == {(shots, size, way) for shots in (0, 2) for size in (20, 4) for way in ("whole", "mean")}
        ran.clear()
        measure_contest(model, tmp_path / "run", CHOICE, CONTEST)
    assert set(ran) == {(2, 24, "mean"), (2, 24, "zero"), (2, 20, "zero"), (2, 4, "zero")}


def test_concept_prompts_are_drawn_from_the_runs_own_tokens(
    model: interp.HookedModel, run: Run, tmp_path: Path
) -> None:
    """As the induction stage draws them: by its counts, not by the model's tokenizer."""
    drawn = []

    def keep(model: interp.HookedModel, **options: Any) -> None:
        drawn.append(options)
        raise UsageError("enough")

    measure_induction(model, tmp_path, sequences=3, length=12, counts="uniform")
    with (
        mock.patch("induction.entity_prompts", side_effect=keep),
        mock.patch("induction.entities.fitting", return_value={"length": 24, "prompts": 40}) as fitting,
        mock.patch("headscope.stages.contest.learnt_tasks", return_value=TASKS[:1]),
    ):
        with pytest.raises(UsageError, match="enough"):
            measure_induction(model, tmp_path / "other", also=("concept",), counts="uniform")
        measure_contest(model, tmp_path, replace(CHOICE, names=TASKS[:1], limit=20), replace(CONTEST, controls=0))
    stage, contest = drawn
    own = candidates_of(model, "uniform").ids
    assert torch.equal(stage["candidates"].ids, own)
    assert torch.equal(contest["candidates"].ids, own) and contest["seed"] == stage["seed"]
    assert contest["length"] == stage["length"] == 24
    assert torch.equal(fitting.call_args.kwargs["candidates"].ids, own)
    (told,) = (stage for stage in open_run(tmp_path).stages if stage.command == "contest")
    assert told.record["fitted_prompts"] == {"concept": {"length": 24}}
    assert not torch.equal(own, candidates_of(model).ids)


def test_it_is_said_and_drawn(run: Run) -> None:
    named = named_sets(Evidence(run))
    lines = list(sentences(run.comparisons, named=named))
    assert len(lines) >= 4 and all(line.endswith(".") and "nan" not in line for line in lines)
    assert lines[0].startswith("On 1 extractive task") and lines[1].startswith("On 1 abstractive task")
    (part,) = (part for part in page_of(run) if part.name == "contest")
    assert lines[2].startswith("The ") and "score (" in lines[2]
    assert "induction heads) against as many induction heads" in lines[2]
    assert part.sentences == tuple(sentences(run.comparisons, ahead=False, named=named)) == (*lines[:2], *lines[3:])
    assert {row[0] for row in part.table.rows} >= {"induction", "random", "importance"}
    assert all(len(cell.split()) <= 12 for row in part.table.rows for cell in row)
    table = table_rows(run.comparisons)
    assert {line["group"] for line in table} == {EXTRACTIVE, ABSTRACTIVE, ALL_TASKS}
    first = next(
        line for line in table if (line["arm"], line["group"], line["positions"]) == (INDUCTION, ALL_TASKS, "all")
    )
    assert first["rank"].endswith(" of 4")
    figure = draw(run, "contest", positions="last", group=ALL_TASKS)
    tested = [one for one in figure.data if one.name.startswith("tested")]
    controls = [one for one in figure.data if "control sets" in one.name]
    assert [len(one.x) for one in controls] == [3 * (len(one.x) - 1) for one in tested], "the lowest heads have none"
    assert list(tested[0].x) == sorted(tested[0].x, reverse=True) and "importance" in figure.layout.yaxis.ticktext
    bare = contest_dots(run.comparisons, pd.DataFrame(), positions="last")
    full = contest_dots(run.comparisons, run.items("contest"), positions="last")
    assert [(dot.name, dot.value) for dot in bare] == [(dot.name, dot.value) for dot in full]
    np.testing.assert_allclose([dot.reach for dot in bare], [dot.reach for dot in full], atol=1e-6)


# --- what a person types ---------------------------------------------------------------------------------------------


def test_a_screen_comes_first_and_names_its_tasks(run: Run, tmp_path: Path) -> None:
    write_config(tmp_path / "my model", model_type="llama")
    for name in ("vectors", "contest"):
        into = shlex.join(["--only", "screen", "-o", str(tmp_path / "n one")])
        refused(command(name, "-o", tmp_path / "n one"), "holds no screen", f"`headscope study smollm2-135m {into}`")
        refused(command(name, tmp_path / "my model", "-o", tmp_path / "n one"), f"'{tmp_path / 'my model'}' {into}`")
    with pytest.raises(
        UsageError, match=r"did not see probe_french.*`headscope study MODEL --only screen --tasks probe_french -o"
    ):
        learnt_tasks(run, ("probe_pattern", "probe_french"))
    refused(command("contest", "-o", run.folder, "--shares", "0,5"), "a share of heads is 1 to 100 percent, got 0")
    refused(command("contest", "-o", run.folder, "--shares", "5%"), "'5%' is not a value of --shares")
    with pytest.raises(UsageError, match="3 control sets or more, got 2"):
        ContestChoice(controls=2)


def test_both_commands_print_what_they_found(model: interp.HookedModel, passed: None, run: Run) -> None:
    """On the run as it is: every unit is read."""
    same = {"out": ("-o", run.folder), "tasks": ("--tasks", ",".join(TASKS))}
    flags = [word for pair in same.values() for word in pair]
    with mock.patch("headscope.cli.options.load", return_value=model):
        vectors = done("vectors", *flags, "--queries", 15, "--top", 3)
        contest = done("contest", *flags, "--shots", 2, "--limit", 24, "--controls", 3, "--shares", 20)
        numbers = json.loads(
            done("contest", *flags, "--shots", 2, "--limit", 24, "--controls", 3, "--shares", 20, "--json").out
        )
    assert "function-vector heads:" in vectors.out and "left out: probe_labels, labels" in vectors.out
    assert "without each kind of head" in contest.out and "no arm concept:" in contest.out
    assert (
        numbers["sentences"] == list(sentences(run.comparisons, named=named_sets(Evidence(run))))
        and numbers["sets"]["induction, class, kept"]
    )
