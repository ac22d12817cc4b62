"""headscope study: its stages on a tiny model, its budget, what it leaves out, and a process that is killed."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from scipy import stats

import ablation
import interp
from ablation.causal import CausalCheck, causal_check
from ablation.control_sets import TESTED, HeadSet
from headscope.findings.page import findings, setting
from headscope.plan import budget
from headscope.plan.budget import DOCUMENTS, LEAST, MEDIUM, PAPER, SMALL, TIERS, Budget, fitted, parse_budget, restored
from headscope.plan.study import STAGES, StudyPlan, shots_of, study
from headscope.stages.cells import TaskChoice, fingerprints
from headscope.store.manifest import Manifest, Stage
from headscope.store.run import Run, open_run
from headscope.store.units import UnitStore
from interp.errors import StoreError, UsageError
from tests.headscope import killed_study, tiny
from tests.headscope.commands import done, tables, units
from tests.headscope.forking import DONE, KILLED, forks

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
    return done(*arguments).out


@pytest.fixture(scope="module")
def run(said: str, arguments: tuple[object, ...]) -> Run:
    return open_run(str(arguments[7]))


def test_all_stages_are_run_in_the_papers_order(run: Run) -> None:
    commands = [stage.command for stage in run.stages]
    assert commands == [
        "study",
        "induction",
        "screen",
        "vectors",
        "primary",
        "contest",
        "importance",
        "importance",
        "knockout --component ffn",
        "prune --component head",
        "prune --component ffn",
        "prune --component both",
        "compare",
        "causal",
    ]
    assert all(stage.finished for stage in run.stages)
    assert (run.folder / "report.html").is_file()
    assert {
        "cross_task",
        "cross_shot",
        "induction_importance_primary",
        "pruning_area",
        "causal_drop",
        "causal_gain",
        "causal_repeats",
    } <= set(run.comparisons["kind"])


def test_heads_are_ranked_on_train_and_tasks_evaluated_on_validation(run: Run) -> None:
    plan = StudyPlan(NAMES, (0, 2), killed_study.BUDGET)
    splits = {
        "importance": (plan.ranked, "train"),
        "knockout": (plan.knocked, "train"),
        "prune": (plan.evaluated, "validation"),
        "causal": (plan.checked, "validation"),
    }
    for stage in run.stages:
        if stage.command.split()[0] in splits and "labels" not in stage.options:
            choice, split = splits[stage.command.split()[0]]
            assert stage.record["documents"] == fingerprints(choice.tasks(split)), stage.command


def test_it_says_what_was_found_and_where(said: str, run: Run) -> None:
    lines = said.splitlines()
    assert lines[0].startswith("- Model: ") and lines[-1] == f"report: {run.folder / 'report.html'}"
    for title in (
        "How many heads can be removed?",
        "Are the induction heads the important heads?",
        "Does learning in context suffer without the induction heads?",
    ):
        assert f"### {title}" in lines
    assert not any("Not finished" in line or "nan" in line.split() for line in lines)


def test_the_page_is_made_of_what_is_published_beside_it(run: Run, arguments: tuple[object, ...]) -> None:
    home = Path(str(arguments[-1]))
    page = (home / "README.md").read_text(encoding="utf-8")
    published = open_run(home / "tiny")
    assert published.comparisons.equals(run.comparisons) and published.metrics.equals(run.metrics)
    assert "\n".join(findings(published)) in page


@pytest.mark.slow
def test_the_same_study_again_computes_nothing_and_changes_nothing(
    run: Run, small: None, arguments: tuple[object, ...], said: str
) -> None:
    before, held = tables(run.folder), units(run.folder)
    with mock.patch.object(UnitStore, "put", side_effect=AssertionError("a finished unit was computed again")):
        assert done(*arguments).out == said
    assert tables(run.folder) == before and units(run.folder) == held


def test_one_stage_again_leaves_the_study_finished(run: Run, small: None, arguments: tuple[object, ...]) -> None:
    before = tables(run.folder)
    done(*arguments, "--only", "report")
    assert all(stage.finished for stage in run.stages) and tables(run.folder) == before


def test_another_budget_in_the_same_folder_is_refused(run: Run, small: None, model: interp.HookedModel) -> None:
    with pytest.raises(StoreError, match=r"budget small.*budget paper"):
        study(model, out=run.folder, tasks=killed_study.TASKS, shots=killed_study.SHOTS, budget="paper")


def test_other_tasks_pruned_in_the_same_folder_leave_no_row_over_the_first(
    run: Run, model: interp.HookedModel, tmp_path: Path
) -> None:
    """The rows over tasks are all over those of the last pruning; what it computed is found again."""
    from headscope.stages.pruning import PruneChoice, measure_pruning
    from headscope.store.comparisons import ABOVE

    folder = tmp_path / "copy"
    shutil.copytree(run.folder, folder)
    plan, budget = StudyPlan(NAMES[:1], (0, 2), killed_study.BUDGET), killed_study.BUDGET
    choice = PruneChoice("head", ("own",), percents=budget.percents, draws=budget.draws, ffn_ranking="knock_out")
    measure_pruning(model, folder, plan.evaluated, choice)
    rows = open_run(folder).comparisons.query(f"a == '{ABOVE}' and kind == 'pooled_task'")
    assert set(rows[rows["level"] == "head/zero"]["b"]) == {NAMES[0]}
    assert set(rows[rows["level"] == "ffn/zero"]["b"]) == set(NAMES)


# ---- the causal stage -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checks(run: Run, model: interp.HookedModel) -> list[CausalCheck]:
    """The same in one call a task and draw, from Python."""
    from headscope.stages.causal import CausalChoice, tested_sets

    sets, norms = tested_sets(run, CausalChoice(percents=(10,)), 2)
    found = []
    for task in NAMES:
        none = ablation.load_task(task, limit=8, demos=killed_study.BUDGET.demos)
        for seed in (0, 1):
            few = ablation.load_task(task, shots=2, limit=8, seed=seed, demos=killed_study.BUDGET.demos)
            found.append(causal_check(model, few, none, sets, ablations=("zero",), norms=norms, controls=2))
    return found


@pytest.mark.parametrize("outcome", ["metric", "log_likelihood"])
def test_causal_drops_are_means_over_tasks_of_those_of_one_call(
    run: Run, checks: list[CausalCheck], outcome: str
) -> None:
    """Two tasks, two draws of the demonstrations each, all of one size: the mean of all is the mean of tasks."""
    drops: dict[tuple[str, str], dict[int, list[float]]] = {}
    for check in checks:
        for one in check.removed:
            draws = drops.setdefault((one.heads.tested, one.heads.kind), {})
            draws.setdefault(one.heads.draw, []).append(float(check.drop(one, outcome).mean()))
    mean = {key: [float(np.mean(values)) for values in draws.values()] for key, draws in drops.items()}
    rows = run.comparisons.query(f"level == '{outcome}/zero'")
    for (tested, kind), values in mean.items():
        part = rows[rows["a"] == tested]
        if kind == TESTED:
            np.testing.assert_allclose(part[part["kind"] == "causal_drop"]["value"], values[0], atol=1e-5)
            continue
        beside = part[(part["kind"] == "causal_controls") & (part["b"] == kind)].iloc[0]
        assert beside["value"] == pytest.approx(np.median(values), abs=1e-5) and beside["n"] == len(values)
        drop = part[(part["kind"] == "causal_drop") & (part["b"] == kind)].iloc[0]
        at_least = sum(value >= mean[tested, TESTED][0] - 1e-9 for value in values)
        assert drop["p"] == pytest.approx((1 + at_least) / (1 + len(values)))
    gain = run.comparisons.query(f"kind == 'causal_gain' and level == '{outcome}'").iloc[0]
    assert gain["value"] == pytest.approx(np.mean([check.full.gain(outcome).mean() for check in checks]), abs=1e-5)
    assert gain["n"] == 2


def test_the_interval_of_a_drop_is_by_cluster_of_documents(run: Run, checks: list[CausalCheck]) -> None:
    """Student's t by Welch and Satterthwaite: these tasks have few clusters."""
    rows = run.comparisons.query("kind == 'causal_drop' and level == 'log_likelihood/zero'")
    row, variances, spare = rows.iloc[0], [], []
    for pair in (checks[:2], checks[2:]):
        drops = [check.drop(check.removed[0], "log_likelihood") for check in pair]
        clusters = np.array(pair[0].full.clusters("log_likelihood"))
        by_cluster = [np.mean([drop[clusters == name].mean() for drop in drops]) for name in np.unique(clusters)]
        assert len({int((clusters == name).sum()) for name in np.unique(clusters)}) == 1
        variances.append(np.var(by_cluster, ddof=1) / len(by_cluster))
        spare.append(len(by_cluster) - 1)
    assert row["a"] == checks[0].removed[0].heads.tested
    freedom = sum(variances) ** 2 / sum(variance**2 / count for variance, count in zip(variances, spare, strict=True))
    assert freedom < 14
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(sum(variances)) / 2
    assert (row["ci_high"] - row["ci_low"]) / 2 == pytest.approx(reach, rel=1e-3)


def test_every_set_is_reported(run: Run) -> None:
    items = run.items("causal")
    assert not items.duplicated(["task", "demo_seed", "tested", "kind", "draw", "ablation", "outcome"]).any()
    assert set(items["kind"]) == {TESTED, "random", "layer_matched", "norm_matched"}
    for _, part in items.groupby(["task", "tested", "ablation", "outcome"]):
        tested = {head for heads in part[part["kind"] == TESTED]["heads"] for head in heads.split(",")}
        for heads in part[part["kind"] != TESTED]["heads"]:
            controls = heads.split(",")
            assert len(controls) == len(tested) and not tested & set(controls)


def test_how_alike_the_controls_are_is_measured_and_stored(run: Run) -> None:
    """By this file's own count over the sets that stand in items/causal."""
    items = run.items("causal").query("outcome == 'metric'").drop_duplicates(["tested", "kind", "draw"])
    rows, compared = run.comparisons, 0
    for (tested, kind), part in items[items["kind"] != TESTED].groupby(["tested", "kind"]):
        sets = [set(heads.split(",")) for heads in part["heads"]]
        shares = [len(a & b) / len(a) for a, b in itertools.combinations(sets, 2)]
        found = rows[(rows["a"] == tested) & (rows["b"] == kind) & (rows["level"] == "heads")].set_index("kind")
        assert ("causal_controls_overlap" in found.index) == bool(shares) and set(found["n"]) <= {len(sets)}
        if shares:
            assert found.loc["causal_controls_overlap", "value"] == pytest.approx(np.mean(shares))
            assert found.loc["causal_controls_shared", "value"] == len(set.intersection(*sets))
        if kind == "random":
            assert "causal_controls_norm_gap" not in found.index
        else:
            compared += 1
            assert found.loc["causal_controls_norm_gap", "value"] == pytest.approx(part["norm_gap"].mean())
    assert compared >= 2


def test_disjoint_and_equal_control_sets_have_known_overlaps() -> None:
    from headscope.comparison.causal import overlap_rows

    def sets(*heads: tuple[tuple[int, int], ...]) -> list[HeadSet]:
        return [HeadSet("top", "layer_matched", place, one, norm_gap=0.5) for place, one in enumerate(heads)]

    a, b, both = ((0, 1), (0, 2)), ((0, 3), (0, 4)), ((0, 1), (0, 3))
    told = [
        {one["kind"]: one["value"] for one in overlap_rows(made, 5)}
        for made in (sets(a, b), sets(a, a, a), sets(a, b, both), sets(a))
    ]
    overlap, shared, gap = "causal_controls_overlap", "causal_controls_shared", "causal_controls_norm_gap"
    assert told[0] == {overlap: 0, shared: 0, gap: 0.5} and told[1] == {overlap: 1, shared: 2, gap: 0.5}
    assert told[2] == {overlap: pytest.approx(1 / 3), shared: 0, gap: 0.5} and told[3] == {gap: 0.5}


# ---- budgets --------------------------------------------------------------------------------------------------------


def test_budgets_by_name_and_by_hours() -> None:
    assert parse_budget("small") is budget.NAMED["small"] and parse_budget("paper") is PAPER
    assert parse_budget("2") == parse_budget("2h") == 2.0 and parse_budget("0.5") == 0.5
    for text in ("", "huge", "0", "-1", "inf", "nan", "1e999"):
        with pytest.raises(UsageError, match="is no budget"):
            parse_budget(text)


def test_hours_pick_the_richest_structure_of_which_half_the_documents_fit() -> None:
    costs = [1000.0, 100.0, 10.0, 1.0]
    assert fitted(499.0, costs).name == "medium" and fitted(500.0, costs) == PAPER.scaled(0.5)
    assert fitted(50.0, costs) == MEDIUM.scaled(0.5) and fitted(49.0, costs).name == "small"
    assert fitted(0.001, costs) == LEAST.scaled(0.001)
    assert fitted(0.001, costs).rank_documents == 8  # never fewer
    assert fitted(1e9, costs).rank_documents == 1000  # nor more


def test_a_budget_comes_back_from_the_manifest() -> None:
    for tier in TIERS:
        assert restored(json.loads(json.dumps(tier.recorded()))) == tier
    assert restored(SMALL.limited(5).recorded()).prune_documents == 5


def test_dear_tasks_are_run_on_fewer_documents() -> None:
    held = replace(
        LEAST, prune_documents=14, knockout_documents=4, causal_documents=4, shares=(("multirc", 0.1), ("record", 0.51))
    )
    assert [held.units("prune", task) for task in ("copa", "record", "multirc")] == [14, 7, 4]
    assert dict(held.limits("knockout")) == {"multirc": 1, "record": 2}
    assert dict(held.limits("causal")) == {"multirc": 2, "record": 2}
    assert dict(held.limited(3).limits("prune")) == {"multirc": 3, "record": 3}
    assert restored(json.loads(json.dumps(held.recorded()))) == held
    plan = StudyPlan(("copa", "record"), (0, 5), held)
    assert not plan.ranked.limits and dict(plan.checked.limits)["record"] == 2 == dict(plan.knocked.limits)["record"]
    assert dict(plan.evaluated.limits)["record"] == 7 and plan.evaluated.limit == 14
    record = {"budget": held.recorded(), "fewer": held.fewer()}
    (line,) = (
        line
        for line in setting(Manifest({"source": "m"}, (Stage("study", "", tasks=("copa",), record=record),)))
        if "fewer, in" in line
    )
    assert line.endswith("the median task's, fewer, in the last three: multirc 1, 4, 2; record 2, 7, 2.")


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
    with mock.patch("headscope.plan.cost.speed", return_value=1e4):
        study(model, **asked)
    told = open_run(tmp_path / "run").stages[0].record["budget"]
    held = units(tmp_path / "run")
    with mock.patch("headscope.plan.cost.speed", side_effect=AssertionError("measured again")):
        study(model, **asked)
    assert open_run(tmp_path / "run").stages[0].record["budget"] == told and units(tmp_path / "run") == held


LESS = {
    "draws": "orders in place of 20",
    "percents": "in place of every 10%",
    "controls": "control sets of",
    "protocol": "protocol 'quick'",
    "grid": "the joint grid",
    "head_orders": "no orders of heads",
    "ffn_orders": "no orders of FFNs",
    "prune_all_shots": "most shots only",
    "demo_seeds": "of the demonstrations",
    "causal_ablations": "zero ablation only",
    "causal_kinds": "control sets in",
    "causal_percents": "of the classed induction heads",
    "demos": "so that intervals hold the demonstrations fixed",
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
    assert any("no causal check" in line for line in StudyPlan(("copa",), (5,), PAPER).left_out())


def test_what_a_budget_has_less_of_contradicts_nothing() -> None:
    least = "; ".join(LEAST.left_out())
    assert "3 random orders in place of 20" in least
    assert "no orders of heads by: transfer, inverse, layer-matched" in least
    assert "5 random and layer-matched orders in place of 20" in SMALL.left_out()
    assert "the causal check of the classed induction heads only (of the top 5% where none is classed)" in least
    assert "the causal check of the classed induction heads and of the top 5% and 10% only" in MEDIUM.left_out()
    assert any(line.startswith("evaluations by one fixed set of demonstrations a task") for line in SMALL.left_out())
    assert any(line.startswith("evaluations by 3 fixed sets of demonstrations a task") for line in MEDIUM.left_out())


def test_probes_have_more_shots_than_the_14_tasks() -> None:
    assert shots_of(("probe_labels",), PAPER) == (0, 1, 5, 10) and shots_of(("probe_labels", "rte"), PAPER) == (0, 1, 5)


def test_ranking_and_evaluation_never_share_a_document() -> None:
    plan = StudyPlan(NAMES, (0, 2), killed_study.BUDGET)
    ranked, evaluated = (
        {document.id for choice in choices for cell in choice.tasks(split) for document in cell.documents}
        for choices, split in (((plan.ranked, plan.knocked), "train"), ((plan.evaluated, plan.checked), "validation"))
    )
    assert ranked and evaluated and not ranked & evaluated


def test_a_study_without_0_shots_or_with_one_task_leaves_out_what_needs_them(
    model: interp.HookedModel, tmp_path: Path, small: None
) -> None:
    asked: dict[str, Any] = {"out": tmp_path / "run", "tasks": NAMES[0], "shots": "2", "budget": "small", "limit": 8}
    for stage in ("importance", "knockout", "prune", "causal"):
        run = study(model, **asked, only=stage)
    assert "causal" not in {stage.command for stage in run.stages}
    assert set(run.metrics["order"]) == {"own", "signed", "inverse", "random", "layer_matched", "iterative"}
    assert any("no causal check" in line for line in findings(run))


def test_stages_are_named_once() -> None:
    from headscope.plan.study import RUNNERS

    assert tuple(RUNNERS) == STAGES


def test_a_study_of_everything_else_keeps_its_kind() -> None:
    """A budget is plain values: limits only lower documents."""
    limited = PAPER.limited(7)
    assert isinstance(limited, Budget)
    assert replace(limited, **{name: getattr(PAPER, name) for name in DOCUMENTS}) == PAPER


# ---- killed ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_killed_at_five_random_moments_ends_as_one_never_killed(model_folder: Path, tmp_path: Path) -> None:
    """SIGKILL after a random number of units; then the same call to the end. Tables are equal byte for byte."""
    draw = random.Random(7)
    with forks("killed_study.py", model_folder) as script:
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        script.begin(whole)
        assert script.ended() == DONE
        total = len(units(whole))
        moments = sorted(draw.sample(range(1, total), 5))
        for moment in moments:
            child = script.begin(killed)
            while len(units(killed)) < moment:
                time.sleep(0.002)
            time.sleep(0.05 * draw.random())
            script.kill(child)
            assert script.ended() == KILLED
            assert moment <= len(units(killed)) < total
        script.begin(killed)
        assert script.ended() == DONE
    assert units(killed) == units(whole) and tables(killed) == tables(whole)
    assert timeless(open_run(killed)) == timeless(open_run(whole))
    assert len(list(killed.rglob("*.tmp"))) <= 5  # one a kill, until they are old enough to be swept


def timeless(run: Run) -> list[Any]:
    """The manifest without times."""
    return [replace(stage, started="", finished=str(bool(stage.finished))) for stage in run.stages]
