"""plan --power: deviations as the screen's documents have them, effects that a simulation finds four times in five."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from ablation.statistics.intervals import cluster_mean
from ablation.statistics.looks import obrien_fleming_looks
from ablation.statistics.power import documents_for_equivalence, planned_estimate, smallest_effect
from headscope.plan.budget import SMALL
from headscope.plan.power import Claim, absence_margin, power_of_study, screened_spreads
from headscope.stages.cells import TaskChoice
from headscope.store.comparisons import Kind, frame, row
from headscope.store.manifest import Stage
from headscope.store.run import Run
from headscope.store.writer import begin_stage
from tests.headscope.commands import command, done, refused
from tests.headscope.ranked import IDENTITY, write_ranked_run

TASKS = ("probe_french", "probe_pattern", "probe_labels")
LEARNT = {"probe_french": True, "probe_pattern": True, "probe_labels": False}
PER_CLUSTER = {"probe_french": 4, "probe_pattern": 2, "probe_labels": 2}
GAINS = {
    task: np.random.default_rng(place).normal(1.0, 1.0 + place, 60 // PER_CLUSTER[task]).repeat(PER_CLUSTER[task])
    for place, task in enumerate(TASKS)
}


def clusters(task: str) -> np.ndarray:
    return np.arange(60) // PER_CLUSTER[task]


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose screen saw the gains above."""
    folder = tmp_path_factory.mktemp("screened")
    rows = []
    for task in TASKS:
        found = cluster_mean(GAINS[task], clusters(task))
        bound = (found.lower_bound(0.95), math.nan)
        rows.append(row(Kind.SCREEN_PASSES, task, "", 5, "choice", float(LEARNT[task])))
        rows.append(row(Kind.SCREEN, task, "gain", 5, "choice", found.value, interval=bound, n=found.n_clusters))
    with begin_stage(folder, IDENTITY, Stage("screen", {"limit": None})) as writer:
        writer.replace_comparisons(frame(rows), kinds=("screen", "screen_passes"))
    return writer


def claims(run: Run | None, **options: float) -> dict[str, Claim]:
    found = power_of_study(TaskChoice(TASKS, (0, 5)), SMALL, heads=144, run=run, **{"effect": 0.5, **options})
    return {claim.name: claim for claim in found.claims if claim.outcome == "choice"}


def test_deviations_are_those_of_the_screens_documents(screened: Run) -> None:
    for spread in screened_spreads(screened, TASKS)["choice"]:
        means = GAINS[spread.task].reshape(-1, PER_CLUSTER[spread.task]).mean(1)
        assert spread.deviation == pytest.approx(means.std(ddof=1))
        assert spread.passes is LEARNT[spread.task]


def test_claims_rest_on_learnt_tasks_and_their_own_documents(screened: Run) -> None:
    found = claims(screened)
    assert found["primary: heads carry the gain"].tasks == 2, "labels was not learnt"
    assert found["primary: heads carry the gain"].documents == 2 * SMALL.primary_documents
    assert found["a pruned share costs, one task"].documents == SMALL.prune_documents
    assert found["a task is learnt from its context"].documents == 60
    assert found["primary, one task"].unit == "nats"


def test_the_smallest_effect_is_found_four_times_in_five(screened: Run) -> None:
    """Simulated: validation documents stand alone, and vary by root 4 (2) more than clusters of the screen, at most."""
    claim = claims(screened)["primary, one task"]
    spread = min(screened_spreads(screened, TASKS[:2])["choice"], key=lambda one: one.deviation)
    deviation = spread.deviation * math.sqrt(PER_CLUSTER[spread.task])
    draws = np.random.default_rng(0).normal(claim.smallest, deviation, (20_000, claim.documents))
    stderr = draws.std(axis=1, ddof=1) / math.sqrt(claim.documents)
    shown = np.abs(draws.mean(axis=1) / stderr) > t.ppf(0.975, claim.documents - 1)
    assert shown.mean() == pytest.approx(0.8, abs=0.02)  # the last look's level is a little under .05


def test_wanted_documents_find_the_wanted_effect(screened: Run) -> None:
    claim = claims(screened)["primary, one task"]
    again = claims(screened, effect=claim.smallest)["primary, one task"]
    assert again.wanted == pytest.approx(again.documents, abs=1)


def test_absence_is_shown_within_its_margin() -> None:
    estimate = planned_estimate(2.0, clusters=100, documents=200)
    wanted = documents_for_equivalence(absence_margin(estimate), estimate)
    assert wanted == pytest.approx(200, abs=1)


def test_without_a_screen_effects_are_in_standard_deviations() -> None:
    bare, assumed = claims(None), claims(None, deviation=3.0)
    for name, claim in bare.items():
        assert claim.unit == "sd" and assumed[name].unit == "nats"
        assert assumed[name].smallest == pytest.approx(3 * claim.smallest)
        assert assumed[name].documents == claim.documents and assumed[name].wanted > claim.wanted
    assert bare["primary: heads carry the gain"].tasks == 3


def test_ranks_of_a_run_with_classed_heads(tmp_path: Path) -> None:
    write_ranked_run(tmp_path)
    found = power_of_study(TaskChoice(TASKS, (0, 5)), SMALL, heads=12, run=Run(tmp_path), effect=0.2)
    assert found.n_classed == 6 and found.rank is not None and 0.2 < found.rank <= 1


def test_secondaries_vectors_and_contest_have_levels_and_documents_of_their_own(screened: Run) -> None:
    """Holm's first step over three outcomes by mean, zero and mean at the last position, and T; one head of 144."""
    found = claims(screened)
    primary, second = found["primary: heads carry the gain"], found["a secondary: another outcome or way"]
    of = planned_estimate(1.0, clusters=80, documents=80)
    ratio = smallest_effect(of, level=0.05 / 9) / smallest_effect(of, level=obrien_fleming_looks().nominal[-1])
    assert second.documents == primary.documents
    assert second.smallest / primary.smallest == pytest.approx(ratio, rel=0.03)
    vectors, contest = found["a head's function vector adds"], found["contest: a kind of head carries it"]
    assert vectors.documents == 2 * 20 and contest.documents == 2 * 20 and vectors.smallest > contest.smallest
    metric = power_of_study(TaskChoice(TASKS, (0, 5)), SMALL, heads=144, run=screened, effect=0.5)
    assert not [claim for claim in metric.claims if claim.outcome == "metric" and "vector" in claim.name]


def test_the_rank_is_that_of_the_run_once_it_is_compared(tmp_path: Path) -> None:
    """Before, it is about that of any importance."""
    write_ranked_run(tmp_path)
    drawn = power_of_study(TaskChoice(TASKS, (0, 5)), SMALL, heads=12, run=Run(tmp_path), effect=0.2)
    for shots, smallest in ((0, 0.9), (5, 0.52)):
        line = row(Kind.CLASS_RANK_DETECTABLE, "induction heads", "knock_out", shots, "within_layer", smallest)
        with begin_stage(tmp_path, IDENTITY, Stage(f"compare {shots}", {})) as writer:
            writer.add_comparisons(frame([line]))
    found = power_of_study(TaskChoice(TASKS, (0, 5)), SMALL, heads=12, run=Run(tmp_path), effect=0.2)
    assert found.rank == pytest.approx(0.52) and found.n_classed == drawn.n_classed


def test_hours_buy_what_a_study_of_as_many_hours_takes() -> None:
    asked = ("plan", "gpt2", "--tasks", ",".join(TASKS), "--json", "--budget")
    few, many = (json.loads(done(*asked, hours, "--speed", "700").out) for hours in ("0.1", "3"))
    assert few["total"] < 0.1 * 3600 * 700 * 1.3 and few["total"] < many["total"] < 3 * 3600 * 700 * 1.3
    assert few["budget"]["primary_documents"] < many["budget"]["primary_documents"]
    shown = done(*asked[:-2], "--budget", "0.1", "--speed", "700", "--power").out
    assert "no time for: " in shown and "prune" in shown and "a pruned share" not in shown
    refused(command(*asked, "0.5"), "depends on the speed: give --speed TOKENS")
    refused(command(*asked, "0.001", "--speed", "700"), "0.001 hours hold about 2,520 tokens here")
    refused(command(*asked, "soon", "--speed", "700"), "'soon' is no budget")


def test_the_command(screened: Run) -> None:
    asked = ("plan", "gpt2", "--tasks", ",".join(TASKS), "--power", "--run", screened.folder)
    shown = done(*asked).out
    assert "documents a task for 0.2" in shown and "upper limits" in shown and "No screen" not in shown
    told = json.loads(done(*asked, "--effect", "0.5", "--json").out)["power"]
    assert told["screened"] and told["effect"] == 0.5
    assert [claim["name"] for claim in told["claims"]] == list(claims(screened))
    bare = done("plan", "gpt2", "--tasks", TASKS[0], "--power").out
    assert "No screen was found" in bare and " sd " in bare


def test_refusals(screened: Run, tmp_path: Path) -> None:
    asked = ("plan", "gpt2", "--power", "--tasks")
    refused(command(*asked, TASKS[2], "--run", screened.folder), "none of probe_labels learnt")
    refused(command(*asked, "probe_plurals", "--run", screened.folder), "is of probe_french", "asked for probe_plurals")
    refused(command(*asked, TASKS[0], "--run", tmp_path), "holds no manifest.json")
    refused(command(*asked, TASKS[0], "--effect", "-1"), "'-1' is not a value of --effect")
