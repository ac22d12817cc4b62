"""The screen and the primary question on a tiny model, beside what the library's functions give in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import stats

import induction
import interp
from ablation.causal import causal_check
from ablation.gains import Conditions
from ablation.screening import load_screen, screen
from ablation.statistics import holm
from ablation.statistics.looks import EVEN
from ablation.statistics.primary import primary
from headscope.findings.answer import lost
from headscope.findings.answer import section as answer
from headscope.findings.evidence import Evidence
from headscope.findings.reading import left_out
from headscope.stages.cells import TaskChoice
from headscope.stages.evaluation import replacement_for
from headscope.stages.induction import measure_induction
from headscope.stages.primary import (
    Look,
    PrimaryChoice,
    asked_before,
    conditions_of,
    heads_of_class,
    looks_at,
    measure_primary,
    sets_of,
    with_references,
)
from headscope.stages.repeat_loss import RepeatLoss
from headscope.stages.screening import measure_screening
from headscope.store.comparisons import CausalLevel, Kind
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.snapshot import chosen
from headscope.store.units import UnitStore
from headscope.store.writer import begin_stage
from induction import Candidates
from interp.errors import UsageError
from interp.masks import HeadMask
from tests.headscope.commands import units
from tests.headscope.tiny_model import tiny_model

TASKS = ("probe_pattern", "probe_labels")
CHOICE = TaskChoice(TASKS, shots=(0, 2), limit=24, demos="fixed")
PRIMARY = PrimaryChoice(controls=3, ways=("zero",), looks=(1.0,))


@pytest.fixture(scope="module")
def model() -> interp.HookedModel:
    return tiny_model()


@pytest.fixture(scope="module")
def run(model: interp.HookedModel, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose screen let both tasks pass, and that asked the primary question."""
    folder = tmp_path_factory.mktemp("primary") / "run"
    measure_induction(model, folder, sequences=3, length=12)
    measure_screening(model, folder, replace(CHOICE, limit=None))
    with mock.patch("headscope.stages.primary.learnt_tasks", return_value=TASKS):
        measure_primary(model, folder, CHOICE, PRIMARY)
    return open_run(folder)


def test_the_question_says_how_many_rows_had_no_label(run: Run) -> None:
    assert run.stages[-1].record["unlabelled"] == {}


def test_the_screen_is_what_one_call_gives(model: interp.HookedModel, run: Run) -> None:
    found = screen(model, load_screen(TASKS, shots=2, demos="fixed"))
    rows = chosen(run.comparisons, kind=Kind.SCREEN)
    for task in found.tasks:
        for one in task.rows():
            (row,) = chosen(rows, a=task.task, b=one["contrast"], level=one["outcome"]).itertuples(index=False)
            assert row.value == pytest.approx(one["value"], abs=1e-5) and row.n == one["clusters"]
            assert row.ci_low == pytest.approx(one["lower_bound"], abs=1e-5)
    passes = chosen(run.comparisons, kind=Kind.SCREEN_PASSES).set_index("a")["value"]
    assert {task for task, value in passes.items() if value} == set(found.learnt)
    (stage,) = (stage for stage in run.stages if stage.command == "screen")
    assert stage.record["sentence"] == found.sentence


def test_the_primary_is_what_the_library_gives_for_the_same_sets(model: interp.HookedModel, run: Run) -> None:
    name, heads = heads_of_class(run)
    sets = sets_of(model, name, heads, PRIMARY, CHOICE.seed)
    assert len(sets) == 4 and all(not set(heads) & set(one.heads) for one in sets[1:])
    checks = []
    for task in TASKS:
        one = conditions_of(task, CHOICE)
        means = tuple(
            replacement_for(model, CHOICE, part, "mean", seed=CHOICE.seed, part="rest") for part in (one.few, one.none)
        )
        checks.append(causal_check(model, one.few, one.none, sets, replacements={"mean": means}))
    for outcome in ("choice", "mass", "metric", "margin", "per_token"):
        tests = [next(test for test in check.tests(outcome) if test.control == "group_matched") for check in checks]
        wanted = primary([check.task_drops(test) for check, test in zip(checks, tests, strict=True)])
        level = CausalLevel(outcome, "mean")
        (drop,) = chosen(run.comparisons, kind=Kind.PRIMARY_DROP, level=level).itertuples(index=False)
        (beyond,) = chosen(run.comparisons, kind=Kind.PRIMARY_BEYOND, level=level).itertuples(index=False)
        (rank,) = chosen(run.comparisons, kind=Kind.PRIMARY_RANK, level=level).itertuples(index=False)
        np.testing.assert_allclose(
            [drop.value, *wanted.drop.interval()], [wanted.drop.value, drop.ci_low, drop.ci_high], atol=1e-5
        )
        assert beyond.value == pytest.approx(wanted.beyond.value, abs=1e-5)
        assert (rank.value, rank.n) == (wanted.rank, 3)


def test_the_question_is_written_down_with_its_sets_and_looks(run: Run) -> None:
    (stage,) = (stage for stage in run.stages if stage.command == "primary")
    assert (
        all(task in stage.record["question"] for task in TASKS) and "mean at all positions" in stage.record["question"]
    )
    assert len(stage.record["hash"]) == 64 and stage.record["earlier"] == []
    looks = stage.record["looks"]
    assert [look["share"] for look in looks] == [1.0] and looks[0]["documents"] == 48
    zero = chosen(run.comparisons, kind=Kind.PRIMARY_DROP, level=CausalLevel("choice", "zero"))
    assert len(zero) == 1
    effects = chosen(run.comparisons, kind=Kind.PRIMARY_EFFECT)
    first = effects[effects["level"] == "choice/mean"]
    related = effects["level"].str.startswith(("margin", "per_token"))  # in no family of tests
    assert first["p_holm"].isna().all() and effects[related]["p_holm"].isna().all() and related.sum() >= 4
    second = effects[~related & (effects["level"] != "choice/mean")]
    np.testing.assert_allclose(second["p_holm"], holm(second["p"].to_numpy(dtype=float)), atol=1e-6)


def test_the_same_question_again_computes_nothing(model: interp.HookedModel, run: Run) -> None:
    before = units(run.folder)
    with (
        mock.patch("headscope.stages.primary.learnt_tasks", return_value=TASKS),
        mock.patch("ablation.engine.likelihood.log_likelihoods", side_effect=AssertionError("run again")),
    ):
        again = measure_primary(model, run.folder, CHOICE, PRIMARY)
    assert units(run.folder) == before
    stored = run.comparisons
    for row in again.itertuples(index=False):
        (held,) = chosen(stored, kind=row.kind, a=row.a, b=row.b, level=row.level).itertuples(index=False)
        np.testing.assert_equal(held.value, row.value)


def test_what_repeats_are_worth_without_the_heads_is_measured_once(model: interp.HookedModel, run: Run) -> None:
    """By the library: a few repeated sequences with the heads gated to zero."""
    from induction.in_context import repeat_scores

    _, heads = heads_of_class(run)
    sequences = induction.repeated_sequences(model, length=25, sequences=8, seed=CHOICE.seed)
    rows = chosen(run.comparisons, kind=Kind.PRIMARY_REPEATS).set_index("a")
    assert set(rows["level"]) == {"repeats/zero"}
    for name, gone in (("full model", ()), (next(iter(set(rows.index) - {"full model"})), heads)):
        with model.gates(heads=HeadMask.keep_all(model.n_layers, model.n_heads).without(gone)):
            wanted = float(repeat_scores(model, sequences).mean())
        assert rows.loc[name, "value"] == pytest.approx(wanted, abs=1e-4) and rows.loc[name, "n"] == len(gone)


def test_a_task_that_can_not_be_screened_does_not_pass_and_stops_nothing(
    model: interp.HookedModel, tmp_path: Path
) -> None:
    def load(names: tuple[str, ...], **options: object) -> object:
        if names == TASKS[:1]:
            raise UsageError("probe_pattern has 2 train documents: too few to keep some for a screen.")
        return load_screen(names, **options)  # type: ignore[arg-type]

    with mock.patch("headscope.stages.screening.load_screen", side_effect=load):
        found = measure_screening(model, tmp_path / "run", replace(CHOICE, limit=None))
    assert [task.task for task in found.tasks] == list(TASKS) and found.tasks[0].shots_of is None
    record = open_run(tmp_path / "run").stages[-1].record
    assert record["reasons"][TASKS[0]].startswith("probe_pattern has 2 train documents")
    assert "too few to keep some for a screen" in record["sentence"]
    with mock.patch("headscope.stages.screening.load_screen", side_effect=UsageError("none")):
        assert measure_screening(model, tmp_path / "none", replace(CHOICE, limit=None)).learnt == ()
    with pytest.raises(UsageError, match="a screen of 4 documents a task can show nothing"):
        measure_screening(model, tmp_path / "few", replace(CHOICE, limit=4))


def test_documents_without_a_choice_are_left_out_of_the_question(model: interp.HookedModel) -> None:
    """A task that has no others is told with the reason."""
    one = conditions_of(TASKS[0], CHOICE)
    broken = [replace(d, continuations=(d.continuations[0],) * len(d.continuations)) for d in one.few.documents]
    whole = one.few.documents

    def conditions(*kept: int) -> Conditions:
        documents = tuple(whole[n] if n in kept else broken[n] for n in range(len(whole)))
        return replace(one, few=replace(one.few, documents=documents))

    for kept in ((0, 3, 7), ()):
        with mock.patch("headscope.stages.primary.conditions_of", return_value=conditions(*kept)):
            found, without = with_references(model, TASKS[:1], CHOICE)
        if kept:
            (left,) = found
            ids = [whole[n].id for n in kept]
            assert [d.id for d in left.few.documents] == [d.id for d in left.none.documents] == ids and not without
        else:
            assert not found and "no 2 independent documents with a choice to make (two of" in without[TASKS[0]]


def test_repeats_of_other_tokens_are_another_unit(model: interp.HookedModel, tmp_path: Path) -> None:
    store, whole = UnitStore(tmp_path), HeadMask.keep_all(model.n_layers, model.n_heads)
    pools = [Candidates(torch.arange(start, start + 60), "uniform", 60) for start in (3, 3, 9)]
    first, again, other = (RepeatLoss(model, store, candidates=pool)(whole) for pool in pools)
    assert first == again != other and len(store) == 2


def test_a_look_that_decides_is_the_last(model: interp.HookedModel, run: Run, tmp_path: Path) -> None:
    """Its documents are the first of those at the end, and the rows are made of no others."""
    answers = iter([{"decided": True, "documents": 40, "look": 1, "kind": "shown", "value": 1, "low": 0, "high": 2}])
    measure_induction(model, tmp_path, sequences=3, length=12)
    with (
        mock.patch("headscope.stages.primary.learnt_tasks", return_value=TASKS),
        mock.patch("headscope.stages.primary.decided", side_effect=lambda *_: next(answers)),
    ):
        rows = measure_primary(model, tmp_path, CHOICE, replace(PRIMARY, looks=(0.5, 1.0), ways=()))
    assert set(chosen(rows, kind=Kind.PRIMARY_TASK)["n"]) == {20}
    assert set(chosen(run.comparisons, kind=Kind.PRIMARY_TASK)["n"]) == {24}


def test_a_document_is_counted_at_the_look_that_runs_it(model: interp.HookedModel, tmp_path: Path) -> None:
    """Two looks, of 40 and of 48 documents: the second runs 8 more under every set."""
    undecided = {"decided": False, "documents": 40, "kind": "undecided", "value": 1, "low": 0, "high": 2}
    looked = iter([{**undecided, "look": 1}, {**undecided, "look": 2}])
    told: list[tuple[int, int]] = []
    measure_induction(model, tmp_path, sequences=3, length=12)
    with (
        mock.patch("headscope.stages.primary.learnt_tasks", return_value=TASKS),
        mock.patch("headscope.stages.primary.decided", side_effect=lambda *_: next(looked)),
    ):
        one_way = replace(PRIMARY, looks=(0.5, 1.0), ways=())
        measure_primary(model, tmp_path, CHOICE, one_way, progress=lambda done, total, _: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told) and told[-1] == (48 * 4, 48 * 4)
    (stage,) = (stage for stage in open_run(tmp_path).stages if stage.command == "primary")
    assert stage.record["planned_looks"] == [40 / 48, 1.0]


def test_a_question_asked_after_others_says_so(tmp_path: Path) -> None:
    """What was evaluated for them is read again, so that it was not written down before."""
    assert asked_before(run_with(tmp_path / "one", "a" * 64), "a" * 64) == []
    folder = tmp_path / "more"
    for mark, before in (("a", []), ("b", ["a"]), ("c", ["a", "b"]), ("a", ["b", "c"])):
        if before:
            assert asked_before(open_run(folder), mark * 64) == [other * 64 for other in before]
        run_with(folder, mark * 64, earlier=[other * 64 for other in before])
    told = [*left_out(open_run(folder).manifest), *left_out(open_run(tmp_path / "one").manifest)]
    assert (
        "before it ran, but after 2 other wordings of it (bbbbbbbbbbbb and cccccccccccc), whose runs are used"
        in told[0]
    )
    assert "before anything was evaluated" in told[1] and "before anything was evaluated" not in told[0]


def run_with(folder: Path, mark: str, *, earlier: Sequence[str] = ()) -> Run:
    with begin_stage(folder, {"source": "tiny"}, Stage("primary", "")) as writer:
        writer.record(hash=mark, earlier=list(earlier))
    return open_run(folder)


def test_looks_are_at_whole_shards_and_none_twice() -> None:
    assert looks_at([40], EVEN) == [Look((20,), 0.5), Look((40,), 1.0)]
    assert looks_at([40, 25], EVEN) == [Look((20, 20), 40 / 65), Look((40, 25), 1.0)]
    assert [look.counts for look in looks_at([120], EVEN)] == [(40,), (80,), (120,)]
    assert looks_at([12], EVEN) == [Look((12,), 1.0)]


def test_the_running_check_is_recorded_when_all_has_run(model: interp.HookedModel, run: Run, tmp_path: Path) -> None:
    for command in ("screen", "primary"):
        (stage,) = (stage for stage in run.stages if stage.command == command)
        assert stage.record["running_check"].endswith("agreed with one computed by itself")
    (screened,) = (stage for stage in run.stages if stage.command == "screen")
    assert screened.record["choices"] == {
        one.few.name: sorted({len(document.continuations) for document in one.few.documents})
        for one in load_screen(TASKS, shots=2, demos="fixed")
    }
    measure_induction(model, tmp_path, sequences=3, length=12)
    with (
        mock.patch("headscope.stages.primary.learnt_tasks", return_value=TASKS),
        mock.patch("headscope.stages.primary.repeat_rows", side_effect=RuntimeError("stopped")),
        pytest.raises(RuntimeError, match="stopped"),
    ):
        measure_primary(model, tmp_path, CHOICE, replace(PRIMARY, ways=()))
    (stage,) = (stage for stage in open_run(tmp_path).stages if stage.command == "primary")
    assert stage.record["question"] and "running_check" not in stage.record


def test_no_screen_is_a_sentence_and_no_learnt_task_ends_well(model: interp.HookedModel, tmp_path: Path) -> None:
    measure_induction(model, tmp_path, sequences=3, length=12)
    with pytest.raises(UsageError, match="holds no screen"):
        measure_primary(model, tmp_path, CHOICE, PRIMARY)
    with mock.patch("headscope.stages.primary.learnt_tasks", return_value=()):
        assert measure_primary(model, tmp_path, CHOICE, PRIMARY).empty
    assert any("was not asked: no task passed the screen" in line for line in lost(Evidence(open_run(tmp_path))))
    with mock.patch("headscope.stages.primary.learnt_tasks", return_value=TASKS):
        measure_induction(model, tmp_path / "few", sequences=3, length=12)
        assert measure_primary(model, tmp_path / "few", CHOICE, replace(PRIMARY, controls=2)).empty
    told = next(lost(Evidence(open_run(tmp_path / "few"))))
    assert "has 2 control sets" in told and "it takes 3" in told


def test_the_answer_is_one_sentence_a_question(run: Run) -> None:
    lines = answer(Evidence(run)).sentences
    assert len(lines) == 3 and all(line.endswith(".") for line in lines)


def test_every_control_set_has_a_row_and_their_median_is_the_bands(run: Run) -> None:
    for level in {row.level for row in chosen(run.comparisons, kind=Kind.PRIMARY_CONTROLS).itertuples()}:
        controls = chosen(run.comparisons, kind=Kind.PRIMARY_CONTROL, level=level)
        (band,) = chosen(run.comparisons, kind=Kind.PRIMARY_CONTROLS, level=level).itertuples(index=False)
        assert [str(b) for b in controls["b"]] == [f"group_matched/{draw}" for draw in range(3)]
        assert band.value == pytest.approx(controls["value"].median())
        outcome, _, way = level.partition("/")
        sets = chosen(run.items("primary"), kind="group_matched", ablation=way, outcome=outcome, contrast="gain")
        pooled = sets.groupby("draw")["drop"].mean()
        np.testing.assert_allclose(np.sort(controls["value"]), np.sort(pooled), atol=1e-6)


def test_a_task_that_fails_the_screen_says_how_many_documents_would_let_it_pass(
    model: interp.HookedModel, run: Run
) -> None:
    """As many as leave a gain of this size, with 80% power, a one-sided bound above 0."""
    passes = chosen(run.comparisons, kind=Kind.SCREEN_PASSES)
    needed = chosen(run.comparisons, kind=Kind.SCREEN_DOCUMENTS)
    assert set(needed["a"]) == set(passes[passes["value"] == 0]["a"])
    found = {task.task: task.estimate() for task in screen(model, load_screen(TASKS, shots=2, demos="fixed")).tasks}
    for row in needed.itertuples(index=False):
        gain = found[row.a]
        if gain.value <= 0:
            assert np.isinf(row.value)
            continue
        apart = (stats.norm.ppf(0.95) + stats.norm.ppf(0.8)) * gain.stderr / gain.value
        assert row.value == pytest.approx(gain.n_items * apart**2, rel=0.1, abs=4)
