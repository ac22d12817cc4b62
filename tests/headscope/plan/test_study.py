"""headscope study: its stages on a tiny model, its budget, what it leaves out, and a process that is killed.

Tests of the one whole study are slow ones; test_study_parts.py runs studies with parts missing by default.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from scipy import stats

import ablation
import interp
from headscope.findings.page import page_of
from headscope.findings.reading import left_out
from headscope.plan import budget
from headscope.plan.budget import (
    DOCUMENTS,
    LEAST,
    MEDIUM,
    OVER,
    PAPER,
    SMALL,
    TIERS,
    Budget,
    fitted,
    parse_budget,
    primary_cost,
    restored,
    with_primary,
)
from headscope.plan.cost import CellTokens, study_cost
from headscope.plan.hours import Subject, fitted_budget
from headscope.plan.names import DECIDING, TAIL
from headscope.plan.runners import heads_to_knock_out
from headscope.plan.study import STAGES, fitted_to_learnt, run_part, shots_of, silent, study
from headscope.plan.study_plan import StudyPlan
from headscope.stages.cells import TaskChoice, fingerprints
from headscope.stages.evaluation import reference_task
from headscope.stages.knock_out import measure_knock_out
from headscope.stages.screening import seen_tasks
from headscope.store.manifest import Manifest, Stage
from headscope.store.run import Run, open_run
from headscope.store.scores import label
from headscope.store.units import UnitStore
from headscope.store.writer import begin_stage
from interp.errors import StoreError, UsageError
from tests.headscope import killed_study, processes, tiny
from tests.headscope.commands import done, tables, units

NAMES = tuple(killed_study.TASKS.split(","))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(model_folder: Path) -> interp.HookedModel:
    return interp.load_model(str(model_folder), check=False)


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    with mock.patch.dict(budget.NAMED, {"small": killed_study.BUDGET}):
        yield


@pytest.fixture(scope="module")
def arguments(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("runs")
    return (
        "study",
        model_folder,
        "--tasks",
        killed_study.TASKS,
        "--shots",
        killed_study.SHOTS,
        "-o",
        folder / "tiny",
        "--publish",
        folder / "published",
    )


@pytest.fixture(scope="module")
def said(small: None, arguments: tuple[object, ...]) -> str:
    with killed_study.all_learnt():
        return done(*arguments).out


@pytest.fixture(scope="module")
def run(said: str, arguments: tuple[object, ...]) -> Run:
    return open_run(str(arguments[7]))


@pytest.mark.slow
def test_all_stages_are_run_in_the_papers_order(run: Run) -> None:
    commands = [stage.command for stage in run.stages]
    assert commands == [
        "study",
        "induction",
        "screen",
        "primary",
        "vectors",
        "contest",
        *["importance"] * 4,
        *["knockout --component ffn"] * 3,
        *["knockout --component head"] * 2,  # by mean, some by zero
        *["prune --component head"] * 2,
        *["prune --component ffn"] * 2,
        "prune --component both",
        "compare",
    ]
    assert all(stage.finished for stage in run.stages)
    assert (run.folder / "report.html").is_file()
    assert {
        "cross_task",
        "cross_task_choice",
        "cross_shot",
        "induction_importance_descriptive",
        "knock_out_spearman",
        "ffn_needed",
        "pruning_area",
        "removable_choice",
        "pruned_kept",
        "primary_drop",
        "primary_repeats",
        "vector_raise",
        "contest_drop",
    } <= set(run.comparisons["kind"])


@pytest.mark.slow
def test_heads_are_ranked_on_train_and_tasks_evaluated_on_validation(run: Run) -> None:
    """None of them on a document that the screen saw."""
    plan = StudyPlan(NAMES, (0, 2), killed_study.BUDGET, part="rest")
    splits = {"importance": (plan.ranked, "train"), "prune": (plan.evaluated, "validation")}
    knocked = {"train": plan.knocked, "validation": plan.knocked_once}
    compared = 0
    for stage in run.stages:
        command = stage.command.split()[0]
        if command == "knockout" and "ffn" in stage.command:
            split = str(stage.options.get("split", "train"))
            choice = knocked[split]
        elif command == "prune" or (command == "importance" and not {"labels", "ablation"} & {*stage.options}):
            choice, split = splits[command]
        else:
            continue
        compared += 1
        assert stage.record["documents"] == fingerprints(choice.tasks(split)), stage.command
    assert compared == 2 + 3 + 5


@pytest.mark.parametrize("name", NAMES)
def test_what_follows_the_screen_sees_none_of_its_documents(name: str) -> None:
    """Nor any that shares a passage or an item with one, in no split, and not as demonstrations or stand-ins."""
    plan = StudyPlan(NAMES, (0, 2), killed_study.BUDGET, part="rest")
    screened = {d.cluster for d in ablation.load_task(name, shots=2, split="train", part="screen").documents}
    assert screened and plan.ranked.part == "rest" and plan.screened.part == "all"
    for choice, split in ((plan.ranked, "train"), (plan.knocked, "train"), (plan.evaluated, "validation")):
        for task in replace(choice, names=(name,)).tasks(split):
            stands_in = reference_task(choice, task, 64)
            for documents in (task.documents, stands_in.documents):
                assert not screened & {document.cluster for document in documents}


@pytest.mark.slow
def test_pruned_models_are_run_on_draws_that_share_the_documents_out(run: Run) -> None:
    plan = StudyPlan(NAMES, (0, 2), killed_study.BUDGET, part="rest")
    (few,) = replace(plan.evaluated, names=NAMES[:1]).tasks("validation")
    draws = [ablation.load_task(NAMES[0], shots=2, limit=8, seed=seed, demos=few.demos, part="rest") for seed in (0, 1)]
    assert plan.evaluated.demo_seeds == 2
    for place, document in enumerate(few.documents):
        assert document == draws[place % 2].documents[place]
    full = run.metrics.query(
        f"task == '{NAMES[0]}' and percent_heads == 0 and percent_ffns == 0 and metric == 'choice'"
    )
    assert full["n"].eq(8).all() and full["value"].nunique() == 1


@pytest.mark.slow
def test_what_is_kept_of_the_gain_is_that_of_two_prunings(run: Run, model: interp.HookedModel) -> None:
    """The own order of 2 shots, on both prompts, by the library alone."""
    plan = StudyPlan(NAMES, (0, 2), killed_study.BUDGET, part="rest")
    task, percents = NAMES[0], list(killed_study.BUDGET.percents)
    (few,) = replace(plan.evaluated, names=(task,)).tasks("validation")
    none = replace(plan.evaluated, names=(task,)).task(task, 0, "validation")
    order = run.head_score("importance", "token", task=task, shots=2)
    prunings = [ablation.prune(model, part, order, percents=percents) for part in (few, none)]
    gains = prunings[0].values("choice") - prunings[1].values("choice")
    rows = run.metrics.query(f"task == '{task}' and component == 'head' and order == 'own' and metric == 'choice_gain'")
    rows = rows[rows["ablation"] == "zero"]
    np.testing.assert_allclose(rows.sort_values("percent_heads")["value"], gains.mean(axis=1), atol=1e-5)
    if gains[0].mean() > 0:
        verdict = ablation.removable_gain(*prunings)
        (found,) = run.comparisons.query(
            f"kind == 'removable_kept' and a == '{task}' and b == 'own' and level == 'head/zero'"
        )["value"]
        assert found == verdict.shown


@pytest.mark.slow
def test_every_head_is_knocked_out_where_that_is_affordable(run: Run) -> None:
    for task in NAMES:
        score = run.head_score("knock_out_mean", "choice", task=task, shots=2)
        assert not score.mean.isnan().any()
        part = run.comparisons.query(
            f"kind == 'knock_out_spearman' and a == '{task}' and b == 'importance/signed/choice'"
        )
        (row,) = part[part["level"] == "knock_out_mean/choice"].itertuples(index=False)
        cost = run.items(f"head-{label('knock_out_mean', 'choice', task, 2)}")
        estimated = run.items(f"head-{label('importance', 'signed/choice', task, 2)}")
        estimated = estimated[estimated["document"].isin(cost["document"])]
        assert len(estimated) == len(cost) == killed_study.BUDGET.knockout_documents
        heads = [f"{layer}.{head}" for layer, head in np.ndindex(*score.mean.shape)]
        wanted = stats.spearmanr(estimated[heads].sum(), cost[heads].sum()).statistic
        assert row.value == pytest.approx(float(wanted), abs=1e-5)
        assert row.n == len(heads)


@pytest.mark.slow
def test_a_sample_of_heads_is_spread_over_the_score_where_all_are_too_dear(
    run: Run, model: interp.HookedModel, tmp_path: Path
) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    plan = StudyPlan(NAMES, (0, 2), killed_study.BUDGET, part="rest")
    with mock.patch("headscope.plan.cost.heads_knocked_out", return_value=8):
        heads = heads_to_knock_out(model, tmp_path / "run", plan)
    assert heads is not None and len(set(heads)) == 8
    measure_knock_out(model, tmp_path / "run", plan.knocked_once, component="head", ablation="mean", heads=heads)
    after = open_run(tmp_path / "run")
    sample = after.head_score("knock_out_mean_sample", "choice", task=NAMES[0], shots=2).mean
    whole = after.head_score("knock_out_mean", "choice", task=NAMES[0], shots=2).mean
    assert {tuple(place) for place in (~sample.isnan()).nonzero().tolist()} == set(heads)
    np.testing.assert_allclose(sample[~sample.isnan()], whole[~sample.isnan()], atol=1e-5)


@pytest.mark.slow
def test_which_ffns_are_needed_is_a_bound_over_tasks_on_validation_documents(
    run: Run, model: interp.HookedModel
) -> None:
    """By the library's knock-out of one task at a time, and the textbook's variance of a mean of means."""
    plan = StudyPlan(NAMES, (0, 2), killed_study.BUDGET, part="rest")
    costs = []
    for task in plan.knocked_once.tasks("validation"):
        knocked = ablation.knock_out(model, task, component="ffn")
        costs.append(knocked.differences(outcome="choice").numpy())
    means = [part.mean(axis=0) for part in costs]
    errors = [part.std(axis=0, ddof=1) / np.sqrt(len(part)) for part in costs]
    for layer in range(3):
        (row,) = run.comparisons.query(
            f"kind == 'ffn_needed' and b == '{layer}' and level == 'choice/zero'"
        ).itertuples(index=False)
        assert row.value == pytest.approx(np.mean([mean[layer] for mean in means]), abs=1e-5) and row.n == 2
        error = np.sqrt(sum(error[layer] ** 2 for error in errors)) / 2
        freedom = (sum(e[layer] ** 2 for e in errors) ** 2) / sum(e[layer] ** 4 / 7 for e in errors)
        assert row.value - row.ci_low == pytest.approx(stats.t.ppf(0.95, freedom) * error, rel=1e-3)
        assert row.p == pytest.approx(stats.t.sf((row.value - 0.05) / error, freedom), rel=1e-2)


@pytest.mark.slow
def test_it_says_what_was_found_and_where(said: str, run: Run) -> None:
    lines = said.splitlines()
    answer = next(section for section in page_of(run) if section.name == "answer")
    assert lines[: len(answer.sentences)] == [f"- {sentence}" for sentence in answer.sentences] and answer.sentences
    assert lines[-1] == f"report: {run.folder / 'report.html'}"
    assert not any("Not finished" in line or "nan" in line.split() for line in lines)


@pytest.mark.slow
def test_the_page_is_made_of_what_is_published_beside_it(run: Run, arguments: tuple[object, ...]) -> None:
    home = Path(str(arguments[-1]))
    page = (home / "README.md").read_text(encoding="utf-8")
    published = open_run(home / "tiny")
    assert published.comparisons.equals(run.comparisons) and published.metrics.equals(run.metrics)
    assert page_of(published) == page_of(run)
    for section in page_of(published):
        assert all(sentence in page for sentence in section.sentences)
        assert all(
            f"](tiny/{name}.svg)" in page and (home / "tiny" / f"{name}.svg").is_file() for name in section.figures
        )


@pytest.mark.longest
@pytest.mark.slow
def test_the_same_study_again_computes_nothing_and_changes_nothing(
    run: Run, small: None, arguments: tuple[object, ...], said: str
) -> None:
    before, held = tables(run.folder), units(run.folder)
    again = mock.patch.object(UnitStore, "put", side_effect=AssertionError("a finished unit was computed again"))
    with killed_study.all_learnt(), again:
        assert done(*arguments).out == said
    assert tables(run.folder) == before and units(run.folder) == held


@pytest.mark.slow
def test_one_stage_again_leaves_the_study_finished(run: Run, small: None, arguments: tuple[object, ...]) -> None:
    before = tables(run.folder)
    done(*arguments, "--only", "report")
    assert all(stage.finished for stage in run.stages) and tables(run.folder) == before


@pytest.mark.slow
def test_another_budget_in_the_same_folder_is_refused(run: Run, small: None, model: interp.HookedModel) -> None:
    with pytest.raises(StoreError, match=r"budget small.*budget paper"):
        study(model, out=run.folder, tasks=killed_study.TASKS, shots=killed_study.SHOTS, budget="paper")


@pytest.mark.slow
def test_other_tasks_pruned_in_the_same_folder_leave_no_row_over_the_first(
    run: Run, model: interp.HookedModel, tmp_path: Path
) -> None:
    """The rows over tasks are all over those of the last pruning; what it computed is found again."""
    from headscope.stages.pruning import PruneChoice, measure_pruning
    from headscope.store.comparisons import POOLED

    folder = tmp_path / "copy"
    shutil.copytree(run.folder, folder)
    plan, budget = StudyPlan(NAMES[:1], (0, 2), killed_study.BUDGET, part="rest"), killed_study.BUDGET
    how: dict[str, Any] = {"draws": budget.draws, "ffn_ranking": "knock_out", "screened": True}
    choice = PruneChoice("head", ("own",), percents=budget.percents, **how)
    measure_pruning(model, folder, plan.evaluated, choice)
    rows = open_run(folder).comparisons.query(f"a == '{POOLED}' and kind == 'pooled_task'")
    assert set(rows[rows["level"] == "head/zero"]["b"]) == {NAMES[0]}
    assert set(rows[rows["level"] == "ffn/zero"]["b"]) == set(NAMES)


# ---- budgets --------------------------------------------------------------------------------------------------------


def test_budgets_by_name_and_by_hours() -> None:
    assert parse_budget("small") is budget.NAMED["small"] and parse_budget("paper") is PAPER
    assert parse_budget("2") == parse_budget("2h") == 2.0 and parse_budget("0.5") == 0.5
    for text in ("", "huge", "0", "-1", "inf", "nan", "1e999"):
        with pytest.raises(UsageError, match="is no budget"):
            parse_budget(text)


COUNTS = {"importance": "rank_documents", "knockout": "knockout_documents", "prune": "prune_documents"}


def costs_of(*primary: float, tail: float = 100.0) -> list[dict[str, float]]:
    """One tier a cost of the primary: 10 in front of it, `tail` behind vectors and contest, which cost 4 and 6."""
    parts = {"importance": 0.2, "knockout FFNs": 0.2, "knockout heads": 0.1, "prune heads": 0.5}
    front = {"induction": 5.0, "screen": 5.0, "vectors": 4.0, "contest": 6.0}
    return [{**front, "primary": cost, **{name: share * tail for name, share in parts.items()}} for cost in primary]


def price_of(tiers: Sequence[Budget], costs: Sequence[dict[str, float]]) -> Callable[[Budget], dict[str, float]]:
    """The costs of the tiers, by documents."""

    def price(asked: Budget) -> dict[str, float]:
        ((tier, cost),) = ((tier, cost) for tier, cost in zip(tiers, costs, strict=True) if tier.name == asked.name)
        grown = {"primary": primary_cost(asked, tier, cost)}
        for part in cost:
            if count := COUNTS.get(part.split()[0]):
                grown[part] = cost[part] * getattr(asked, count) / getattr(tier, count)
        return cost | grown

    return price


def test_hours_go_to_the_primary_question_first() -> None:
    """Half of what is left of 10; in blocks of 20 documents; fewer ways of removing before fewer than 40 documents."""
    cost = costs_of(100.0)[0]  # small: 40 documents, three ways
    for tokens, documents, ways in ((2010.0, 200, 2), (410.0, 80, 2), (210.0, 40, 2), (209.0, 40, 1), (77.0, 40, 0)):
        asked = with_primary(SMALL, cost, tokens)
        assert (asked.primary_documents, len(asked.primary_ways)) == (documents, ways), tokens
    more = with_primary(SMALL, cost, 60.0)  # 33 in place of its 25
    assert (more.primary_documents, more.primary_ways) == (40, ())
    least = with_primary(SMALL, cost, 12.0)
    assert (least.primary_documents, least.primary_ways) == (20, ())
    assert primary_cost(least, SMALL, cost) == pytest.approx(100 * 20 / 40 / 3)


def test_what_the_primary_leaves_buys_structure_and_then_documents() -> None:
    costs = [*costs_of(400.0, tail=1e4), *costs_of(200.0, tail=1e3), *costs_of(100.0, tail=100.0)]
    tiers = (PAPER, MEDIUM, SMALL)
    rich = fitted(1200.0, price_of(tiers, costs), tiers)
    assert rich.name == "medium" and rich.prune_documents == int(64 * (1200 - 10 - 400 - 10) / 1000)
    assert not rich.without
    assert rich.primary_documents == 200, "half of 1190 would buy more than the paper's"
    assert fitted(250.0, price_of(tiers, costs), tiers).name == "small"


def test_a_budget_that_ends_cuts_the_stages_from_behind() -> None:
    """Each with the fewest documents it takes; what decides is never cut."""
    price = price_of((SMALL,), costs_of(100.0, tail=120.0))
    cut = [fitted(tokens, price, (SMALL,)).without for tokens in (300.0, 87.0, 67.0, 55.0, 49.0, 11.0)]
    assert cut == [TAIL[place:] for place in (5, 4, 3, 2, 1, 0)]
    assert {*DECIDING, *TAIL} == {*STAGES} - {"compare", "report"} and not {*DECIDING} & {*TAIL}
    assert "no time for: prune" in fitted(87.0, price, (SMALL,)).left_out()


def test_where_nothing_else_is_reached_the_primary_question_gets_all() -> None:
    for vectors, found in ((1e4, (40, SMALL.primary_ways)), (4.0, (60, ()))):
        costs = [{**costs_of(100.0)[0], "vectors": vectors}]
        chosen = fitted(111.0, price_of((SMALL,), costs), (SMALL,))
        assert (chosen.primary_documents, chosen.primary_ways) == found
        assert (chosen.without == TAIL) == (vectors > 4)


@pytest.mark.parametrize("heads", [16, 270])
@pytest.mark.parametrize("tokens", [1e6, 3e6, 6e6, 1e7])
def test_hours_pay_for_every_stage_of_the_study_they_buy(tokens: float, heads: int) -> None:
    """By the price that `headscope plan` tells; what is cut costs nothing."""
    cells = [CellTokens(task, shots, 20 + 15.0 * shots, 6.0, 15.0 * shots) for task in "abc" for shots in (0, 5)]
    chosen = fitted(tokens, lambda asked: study_cost(asked, cells, 4, heads))
    cost = study_cost(chosen, cells, 4, heads)
    assert {name.split()[0] for name in cost} == {*DECIDING, *TAIL}
    assert sum(value for name, value in cost.items() if name.split()[0] not in chosen.without) <= OVER * tokens


def test_stages_that_the_budget_does_not_reach_are_run_when_asked_for(tmp_path: Path) -> None:
    plan = StudyPlan(NAMES, (0, 2), replace(SMALL, without=TAIL))
    ran: list[str] = []
    runners = {name: lambda *_, name=name: ran.append(name) for name in STAGES}
    with (
        mock.patch.dict("headscope.plan.study.RUNNERS", runners),
        mock.patch("headscope.plan.study.carrying", return_value=plan),
        mock.patch("headscope.plan.study.not_learnt", return_value=""),
    ):
        for asked in (False, True):
            for name in STAGES:
                run_part(mock.Mock(), tmp_path, mock.Mock(), plan, name, silent, asked=asked)
    assert ran == [*DECIDING, "compare", "report", *STAGES]


def test_a_budget_comes_back_from_the_manifest() -> None:
    for tier in TIERS:
        assert restored(json.loads(json.dumps(tier.recorded()))) == tier
    assert restored(SMALL.limited(5).recorded()).prune_documents == 5


def test_dear_tasks_are_run_on_fewer_documents() -> None:
    held = replace(LEAST, prune_documents=14, knockout_documents=4, shares=(("multirc", 0.1), ("record", 0.51)))
    assert [held.units("prune", task) for task in ("copa", "record", "multirc")] == [14, 7, 4]
    assert dict(held.limits("knockout")) == {"multirc": 1, "record": 2}
    assert dict(held.limited(3).limits("prune")) == {"multirc": 3, "record": 3}
    assert restored(json.loads(json.dumps(held.recorded()))) == held
    plan = StudyPlan(("copa", "record"), (0, 5), held)
    assert not plan.ranked.limits and dict(plan.knocked.limits)["record"] == 2
    assert dict(plan.evaluated.limits)["record"] == 7 and plan.evaluated.limit == 14
    record = {"budget": held.recorded(), "fewer": held.fewer()}
    (line,) = (
        line
        for line in left_out(Manifest({"source": "m"}, (Stage("study", "", tasks=("copa",), record=record),)))
        if "fewer, in" in line
    )
    assert line.endswith("the median task's, fewer, in knock-outs and in pruning: multirc 1, 4; record 2, 7.")


def test_limits_of_single_tasks_are_part_of_the_protocol() -> None:
    choice = TaskChoice(NAMES, (0,), limit=6, limits=((NAMES[1], 2),))
    assert [len(cell.documents) for cell in choice.tasks("train")] == [6, 2]
    assert choice.protocol["limits"] == {NAMES[1]: 2} and "limits" not in replace(choice, limits=()).protocol


def test_an_interrupted_study_of_hours_goes_on_with_the_budget_it_chose(
    model: interp.HookedModel, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {
        "out": tmp_path / "run",
        "tasks": NAMES[0],
        "shots": "0",
        "budget": "0.01",
        "limit": 4,
        "only": "importance",
    }
    with mock.patch("headscope.plan.hours.speed", return_value=1e4):
        study(model, **asked)
    told = open_run(tmp_path / "run").stages[0].record["budget"]
    held = units(tmp_path / "run")
    with mock.patch("headscope.plan.hours.speed", side_effect=AssertionError("measured again")):
        study(model, **asked)
    assert open_run(tmp_path / "run").stages[0].record["budget"] == told and units(tmp_path / "run") == held


def test_what_tasks_that_are_not_learnt_would_have_cost_goes_to_the_others(
    model: interp.HookedModel, tmp_path: Path
) -> None:
    """Behind a screen, before anything else is begun and never after it; scores are not of another protocol then."""
    plan = StudyPlan(NAMES, (0, 2), LEAST, tokens=4e6, limit=50)
    writer = mock.Mock(stage=Stage("study", {"budget": "0.1"}))
    told = replace(writer.stage, record={"left_out": ["no induction: one head", "5 random orders in place of 20"]})

    def fitted_with(learnt: Sequence[str], *begun: str, plan: StudyPlan = plan) -> StudyPlan:
        writer.reset_mock()
        stages = [told, *(Stage(name, {}, finished="now") for name in begun)]
        with (
            mock.patch("headscope.plan.study.open_run", return_value=mock.Mock(stages=stages)),
            mock.patch("headscope.plan.study.learnt_tasks", return_value=tuple(learnt)),
        ):
            return fitted_to_learnt(model, tmp_path, writer, plan)

    for learnt, begun in (
        (NAMES, ("screen",)),
        ((), ("screen",)),
        (NAMES[:1], ("induction",)),
        (NAMES[:1], ("screen", "knockout --component ffn")),
    ):
        assert fitted_with(learnt, *begun) == plan and not writer.record.called
    named = replace(plan, tokens=None)
    assert fitted_with(NAMES[:1], "screen", plan=named) == named
    found = fitted_with(NAMES[:1], "induction", "screen")
    recorded = writer.record.call_args.kwargs
    assert recorded["budget"] == found.budget.recorded() and found.names == NAMES and recorded["tokens"] == 4e6
    assert "no induction: one head" in recorded["left_out"] and len(recorded["left_out"]) == len(found.left_out()) + 1
    every, few = (fitted_budget(Subject.of(model), plan.ranked, 4e6, learnt=names) for names in (None, NAMES[:1]))
    assert fitted_budget(Subject.of(model), plan.ranked, 4e6, learnt=NAMES) == every
    assert few.primary_documents > every.primary_documents and len(few.without) <= len(every.without)
    assert found.budget == replace(few, protocol="quick").limited(50)
    rich = fitted_with(NAMES[:1], "induction", "screen", plan=replace(plan, tokens=1e12)).budget
    assert (rich.name, rich.protocol) == ("paper", "quick")


LESS = {
    "draws": "orders in place of 20",
    "percents": "in place of 5, 10, 15",
    "controls": "control sets of",
    "protocol": "protocol 'quick'",
    "grid": "the joint grid",
    "head_orders": "no orders of heads",
    "ffn_orders": "no orders of FFNs",
    "prune_all_shots": "most shots only",
    "demo_seeds": "of the demonstrations",
    "primary_ways": "not removed by",
    "demos": "which share its documents out",
}


def test_what_a_budget_has_less_of_is_said() -> None:
    assert PAPER.left_out() == []
    assert StudyPlan(("copa", "rte"), PAPER.shots, PAPER).left_out() == []
    assert StudyPlan(("probe_labels", "probe_french"), PAPER.probe_shots, PAPER).left_out() == []
    assert StudyPlan(("copa", "rte"), (0, 5), PAPER).left_out() == ["nothing at 1 shot"]
    for tier in (MEDIUM, SMALL, LEAST):
        told = " ".join(tier.left_out())
        for name, value in vars(tier).items():
            if name in LESS and value != getattr(PAPER, name):
                assert LESS[name] in told, (tier.name, name)
    one = StudyPlan(("copa",), (0, 5), PAPER).left_out()
    assert any("one task alone" in line for line in one)
    assert any("no screen, no primary" in line for line in StudyPlan(("copa",), (5,), PAPER).left_out())


def test_what_a_budget_has_less_of_contradicts_nothing() -> None:
    least = "; ".join(LEAST.left_out())
    assert "3 random orders in place of 20" in least
    assert "no orders of heads by: aggregate, transfer, signed, inverse, layer-matched" in least
    assert "5 random and layer-matched orders in place of 20" in SMALL.left_out()
    assert "no controls in the contest but of class-sized sets removed by mean" in least
    assert any(line.startswith("evaluations by 3 sets of demonstrations a task") for line in SMALL.left_out())


def test_probes_have_more_shots_than_the_14_tasks() -> None:
    assert shots_of(("probe_labels",), PAPER) == (0, 1, 5, 10) and shots_of(("probe_labels", "rte"), PAPER) == (0, 1, 5)


def test_ranking_and_evaluation_never_share_a_document() -> None:
    plan = StudyPlan(NAMES, (0, 2), killed_study.BUDGET)
    ranked, evaluated = (
        {document.id for choice in choices for cell in choice.tasks(split) for document in cell.documents}
        for choices, split in (
            ((plan.ranked, plan.knocked), "train"),
            ((plan.evaluated, plan.knocked_once), "validation"),
        )
    )
    assert ranked and evaluated and not ranked & evaluated


def test_a_study_without_0_shots_or_with_one_task_leaves_out_what_needs_them(
    model: interp.HookedModel, tmp_path: Path, small: None
) -> None:
    asked: dict[str, Any] = {"out": tmp_path / "run", "tasks": NAMES[0], "shots": "2", "budget": "small", "limit": 8}
    for stage in ("importance", "knockout", "prune"):
        run = study(model, **asked, only=stage)
    assert not {"screen", "primary"} & {stage.command for stage in run.stages}
    orders = {"own", "signed", "signed_choice", "inverse", "random", "layer_matched", "iterative"}
    assert set(run.metrics["order"]) == orders
    assert any("no screen, no primary" in line for line in left_out(run.manifest))


def test_a_study_none_of_whose_tasks_is_learnt_ends_well(
    model: interp.HookedModel, tmp_path: Path, small: None
) -> None:
    """Nothing is ranked or pruned, the rest is there, and so is the sentence."""
    asked: dict[str, Any] = {"tasks": killed_study.TASKS, "shots": "0,2", "budget": "small", "limit": 12}
    with mock.patch("ablation.screening.CONFIDENCE", 1 - 1e-12):
        run = study(model, out=tmp_path / "run", **asked)
    assert [stage.command for stage in run.stages] == ["study", *STAGES[: STAGES.index("importance")]]
    assert all(stage.finished for stage in run.stages) and (run.folder / "report.html").is_file()
    record = run.stages[0].record
    assert record["carried"] == [] and all(f"{name} (its choice gain is" in record["not_learnt"] for name in NAMES)
    assert record["not_learnt"].startswith("Did not pass the screen, and left out of all that follows it: ")


def test_only_what_is_learnt_is_carried_on_and_a_screen_must_come_first(
    model: interp.HookedModel, tmp_path: Path, small: None
) -> None:
    asked: dict[str, Any] = {"tasks": killed_study.TASKS, "shots": "0,2", "budget": "small", "limit": 12}
    with pytest.raises(UsageError, match=r"holds no screen.*study MODEL --only screen") as refused:
        study(model, out=tmp_path / "run", only="importance", **asked)
    advised = re.search(r"`headscope study MODEL (.*)`", str(refused.value))
    assert advised, refused.value
    given = dict(zip(*[iter(shlex.split(advised[1]))] * 2, strict=True))
    assert given.pop("-o") == str(tmp_path / "run") and given.pop("--only") == "screen"
    assert given == {"--tasks": killed_study.TASKS, "--shots": "0,2", "--limit": "12"}, "as the folder has it"
    with mock.patch("headscope.plan.study.learnt_tasks", return_value=NAMES[:1]):
        run = study(model, out=tmp_path / "run", only="importance", **asked)
    assert {stage.tasks for stage in run.stages if stage.command == "importance"} == {NAMES[:1]}
    assert set(run.head_scores["task"]) == {NAMES[0]} and run.stages[0].record["carried"] == [NAMES[0]]


def test_a_study_that_can_not_have_a_screen_sends_for_another_folder(tmp_path: Path) -> None:
    protocol = {"budget": "0.5", "bos": "auto", "limit": 8, "counts": "5a0f"}
    made = Stage("study", protocol, seed=3, tasks=NAMES, options={"shots": [0, 2]})
    with begin_stage(tmp_path / "run", {"source": "tiny"}, made) as writer:
        with pytest.raises(UsageError, match=r"--budget 0.5 --counts FILE --limit 8 --seed 3 --shots 0,2 -o .*` first"):
            seen_tasks(tmp_path / "run")
        writer.record(left_out=["no screen and no primary question: they take 12 documents a task at least"])
    with pytest.raises(UsageError, match=r"its study can't have one \(.* 12 documents .*-o FOLDER`\.$"):
        seen_tasks(tmp_path / "run")


def test_documents_too_few_for_a_screen_are_said_and_all_tasks_are_taken(model: interp.HookedModel) -> None:
    plan = StudyPlan(NAMES, (0, 2), killed_study.BUDGET.limited(8))
    assert not plan.answerable
    assert any("no screen and no primary question: they take 12 documents" in line for line in plan.left_out())


def test_stages_are_named_once() -> None:
    from headscope.plan.study import RUNNERS

    assert tuple(RUNNERS) == STAGES


def test_a_study_of_everything_else_keeps_its_kind() -> None:
    """A budget is plain values: limits only lower documents."""
    limited = PAPER.limited(7)
    assert isinstance(limited, Budget)
    assert replace(limited, **{name: getattr(PAPER, name) for name in DOCUMENTS}) == PAPER


# ---- killed ---------------------------------------------------------------------------------------------------------


@pytest.mark.longest
@pytest.mark.slow
def test_a_study_killed_at_five_random_moments_ends_as_one_never_killed(model_folder: Path, tmp_path: Path) -> None:
    """SIGKILL after a random number of units; then the same call to the end. Tables are equal byte for byte."""
    told = processes.killed_study(model_folder, tmp_path, 5)
    assert (told.made, told.mended, told.lost, told.wrong) == (5, 5, 0, 0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert tables(killed) == tables(whole)
    run = open_run(killed)
    assert {"vector_raise", "contest_drop"} <= set(run.comparisons["kind"]) and "fv" in set(run.head_scores["score"])
    assert timeless(open_run(killed)) == timeless(open_run(whole))
    assert len(list(killed.rglob("*.tmp"))) <= 5  # one a kill, until they are old enough to be swept


def timeless(run: Run) -> list[Any]:
    """The manifest without times."""
    return [replace(stage, started="", finished=str(bool(stage.finished))) for stage in run.stages]
