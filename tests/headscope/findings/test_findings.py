"""Sentences of the findings against tables whose answer is known: right numbers, no more certainty than there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from headscope.findings import causal, induction_heads, knock_out, paper, pruning, sharing, task_table
from headscope.findings.evidence import Evidence
from headscope.findings.page import findings, publish, whole_page
from headscope.findings.task_table import SHARES
from headscope.plan.budget import DOCUMENTS, SMALL
from headscope.stages.comparison import compare_rankings
from headscope.store.comparisons import ABOVE, COMPARED, Kind, Row, frame, row
from headscope.store.manifest import Stage
from headscope.store.run import open_run
from headscope.store.writer import begin_stage
from interp.scores import FFNScores
from tests.headscope.ranked import IDENTITY, write_ranked_run

TASKS = ("boolq", "copa", "rte")
STUDY = Stage("study", {"budget": "small", "bos": "auto"}, tasks=TASKS, options={"shots": [0, 5]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def write(folder: Path, rows: list[Row], *, stage: Stage = STUDY, **record: Any) -> Evidence:
    with begin_stage(folder, IDENTITY, stage) as run:
        if rows:
            run.add_comparisons(frame(rows))
        run.record(**record)
    return Evidence(open_run(folder))


def text(lines: Iterator[str]) -> str:
    return "\n".join(lines)


# ---- how much can go ------------------------------------------------------------------------------------------------


def pruned(
    level: str = "head/zero",
    *,
    chance: tuple[str, ...] = (),
    shares: tuple[float, float] = (40, 60),
    random: tuple[float, float] = (0, 20),
    blind: bool = False,
    draws: int = 20,
    p: float = 1 / 21,
) -> list[Row]:
    """Three tasks; those that are not at chance share one removable share."""
    rows = []
    for task in TASKS:
        place = (task, "full model", 5, level)
        rows.append(row("full_metric", *place, 0.7, interval=(0.62, nan), n=60))
        rows.append(row("at_chance", *place, float(task in chance), interval=(0.5, 0.55), n=60))
        rows.append(row("unchanged_bound", *place, -0.05 if blind else -0.01, n=60))
        for order, area, low, high in (("own", 0.9, 0.85, 0.95), ("random", 0.5, 0.4, 0.6)):
            told = p if order == "own" else nan
            rows.append(
                row(
                    "pruning_area",
                    task,
                    order,
                    5,
                    level,
                    area,
                    interval=(low, high),
                    p=told,
                    n=draws if order == "random" else 1,
                )
            )
            for kind, share in zip(SHARES, shares if order == "own" else random, strict=True):
                rows.append(row(kind, task, order, 5, level, float(share)))
    if set(chance) != set(TASKS):
        rows += together(level, shares=shares, random=random, blind=blind, n=3 - len(chance))
    return rows


def together(
    level: str, *, shares: tuple[float, float], random: tuple[float, float], blind: bool, n: int
) -> Iterator[Row]:
    yield row("unchanged_bound", ABOVE, "full model", 5, level, -0.03 if blind else -0.01, n=n)
    for order, found in (("own", shares), ("random", random)):
        for kind, share in zip(SHARES, found, strict=True):
            yield row(kind, ABOVE, order, 5, level, float(share), n=n)
        for percent in (20, 50, 70):
            change = -percent / (1000 if order == "own" else 200)
            place = ("pruned_metric", ABOVE, order, 5, f"{level}/p={percent}")
            yield row(*place, change, interval=(change - 0.01, change + 0.01), n=n)
    for order in ("aggregate", "transfer"):
        yield row("pruned_metric", ABOVE, order, 5, f"{level}/p=50", -0.1, interval=(-0.12, -0.08), n=n)


def test_removable_shares_are_told_beside_their_controls(folder: Path) -> None:
    told = text(pruning.heads(write(folder, pruned())))
    assert (
        "**5 shots**\n\n- Share of the heads shown to be removable by accuracy, the 3 tasks above chance together: "
        "own ranking: 40%; random orders, median over draws: less than 20%, the first step tried. That is the largest "
        "step tried up to which, at every step, accuracy is shown to fall by less than 2 points. The paper removes "
        "about 70% of"
    ) in told
    assert (
        "by log-likelihood, the 3 tasks above chance together: own ranking: 60%; random orders, median over draws: "
        "20%. That is the largest step tried up to which, at every step, the right answer's log-likelihood is shown to "
        "fall by less than .05 nats."
    ) in told
    assert (
        "With 70% of the heads removed (the step tried that is nearest to the paper's 70%), the mean change of "
        "accuracy over 3 tasks is: own -7.0 points [-8.0, -6.0], random -35.0 points [-36.0, -34.0]."
    ) in told
    assert "task by task, own ranking, by accuracy: 40%, on each of 3 tasks; by log-likelihood: 60%, on each" in told
    assert "larger area than all 20 random orders on 3 of 3 tasks (rank p = 0.048 there" in told
    assert "too few" not in told and "above chance and the majority" not in told
    assert (
        "| boolq | 0.70 | 0.62 | 60 | 0.90 [0.85, 0.95] | 0.50 [0.40, 0.60] | 40% | 60% | less than 20%, the first "
        "step tried | 20% |"
    ) in told


def test_nought_is_less_than_the_first_step_tried_everywhere(folder: Path) -> None:
    """On a grid of 20, 50, 70% it is no claim that nothing can go."""
    told = "\n".join(findings(write(folder, pruned(shares=(0, 0), random=(0, 0))).run))
    assert not re.search(r"(?<!\d)0%", told)
    assert "by accuracy: less than 20%, the first step tried; by log-likelihood: less than 20%, the first step" in told
    assert "own ranking: less than 20%, the first step tried; random orders, median over draws: less than 20%" in told


def test_the_steps_of_a_task_are_those_it_was_pruned_at(folder: Path) -> None:
    """A task pruned in another call, on another grid, has another first step."""
    place = {
        "demo_seed": 0,
        "component": "head",
        "order": "own",
        "order_seed": 0,
        "ablation": "zero",
        "shots": 5,
        "percent_ffns": 0.0,
        "removed_heads": 0,
        "removed_ffns": 0,
        "metric": "acc",
        "value": 0.5,
        "stderr": 0.1,
        "n": 60,
        "task": "boolq",
    }
    write(folder, pruned(shares=(0, 0)))
    with begin_stage(folder, IDENTITY, STUDY) as run:
        run.add_metrics(pd.DataFrame([{**place, "percent_heads": float(percent)} for percent in (0, 5, 90)]))
    told = text(pruning.heads(Evidence(open_run(folder))))
    lines = {task: next(line for line in told.splitlines() if line.startswith(f"| {task} |")) for task in TASKS}
    assert "| less than 5%, the first step tried |" in lines["boolq"]
    assert "| less than 20%, the first step tried |" in lines["rte"]


@pytest.mark.parametrize(
    ("value", "undecided", "words"),
    [
        (0.0, False, "less than 20%, the first step tried"),
        (10.0, False, "less than 20%, the first step tried"),
        (0.0, True, "too few documents to decide"),
        (20.0, True, "20%"),
        (50.0, False, "50%"),
        (80.0, False, "80%, the last step tried"),
        (nan, False, "not known"),
    ],
)
def test_a_share_says_what_the_grid_can_say(value: float, undecided: bool, words: str) -> None:
    """10% is the median of draws at 0 and at 20%."""
    assert task_table.told(value, (20, 50, 80), undecided=undecided) == words


def test_means_over_unlike_numbers_of_tasks_say_so(folder: Path) -> None:
    rows = pruned()
    for one in rows:
        if one["b"] == "random" and one["a"] == ABOVE:
            one["n"] = 2
    evidence = write(folder, rows)
    told = text(pruning.heads(evidence))
    assert "own -7.0 points [-8.0, -6.0], random -35.0 points [-36.0, -34.0] (over 2 tasks)." in told
    assert "median over draws: less than 20%, the first step tried (over 2 tasks)." in told
    assert "[-26.0, -24.0] (over 2 tasks)." in text(sharing.transfer(evidence))


def test_tasks_pruned_in_several_calls_are_not_taken_for_one_pool(folder: Path) -> None:
    pooled = [row("pooled_task", ABOVE, task, 5, "head/zero", 1.0, n=60) for task in ("boolq", "copa")]
    told = text(pruning.heads(write(folder, [*pruned(), *pooled])))
    assert "pruned in several calls" in told and "of the last call's 2 (boolq, copa)" in told
    whole = [row("pooled_task", ABOVE, "rte", 5, "head/zero", 1.0, n=60)]
    assert "several calls" not in text(pruning.heads(write(folder, whole)))


def test_it_is_said_what_the_own_ranking_is_and_how_is_removed(folder: Path) -> None:
    told = {"ranking": "token", "ffn_ranking": "knock_out", "demos": "fixed"}
    write(folder, [*pruned(), *pruned("ffn/zero")])
    for component in ("head", "ffn"):
        begin_stage(folder, IDENTITY, Stage(f"prune --component {component}", told))
    evidence = Evidence(open_run(folder))
    heads, ffns = (text(part(evidence)) for part in (pruning.heads, pruning.ffns))
    assert "Heads are pruned by zero ablation, the lowest in an order first." in heads
    assert "A task's own ranking is by its token importance on its training documents" in heads
    assert "own ranking is by its knock-out on its training documents (how far the right answer's log-lik" in ffns
    assert "averaged from 0 to 70% of the heads removed" in heads
    assert "| clusters of documents |" in heads


def test_a_rank_above_the_smallest_is_no_win(folder: Path) -> None:
    told = text(pruning.heads(write(folder, pruned(p=2 / 21))))
    assert "larger area than all 20 random orders on 0 of 3 tasks" in told


def test_tasks_at_chance_stay_out_and_are_named(folder: Path) -> None:
    told = text(pruning.heads(write(folder, pruned(chance=("rte",)))))
    assert "1 of 3 tasks is not shown to be above chance and the majority share with the full model (rte)" in told
    assert "over 2 tasks" in told and re.search(r"\| rte \(not above chance\) \|[^|]*\|[^|]*\|[^|]*\| - \| - \|", told)


def test_all_tasks_at_chance_and_nothing_is_claimed(folder: Path) -> None:
    told = text(pruning.heads(write(folder, pruned(chance=TASKS))))
    assert "No task is shown to be above chance, so that nothing can be said" in told
    assert "removable by accuracy, the" not in told and "Area" not in told.split("|")[0]


def test_documents_that_are_too_few_are_said_to_be(folder: Path) -> None:
    """0% by accuracy must not be read as a finding where it can't be anything else."""
    told = text(pruning.heads(write(folder, pruned(shares=(0, 60), blind=True))))
    assert (
        "by accuracy, the 3 tasks above chance together: too few documents to decide. Even if no answer changed, all "
        "these documents together could not exclude a loss of 2 points of accuracy. The paper removes"
    ) in told
    assert "By accuracy 3 of 3 tasks can't be decided" in told and "own ranking, by log-likelihood: 60%" in told
    assert "| too few documents to decide | 60% | too few documents to decide | 20% |" in told
    assert "0%" not in told.replace("60%", "").replace("20%", "").replace("70%", "").replace("50%", "")
    beside = text(paper.beside_the_paper(Evidence(open_run(folder))))
    assert "by accuracy: too few documents to decide; by log-likelihood: 60% (3 tasks above chance)" in beside


def test_ffns_are_told_beside_their_own_figure(folder: Path) -> None:
    told = text(pruning.ffns(write(folder, pruned("ffn/zero"))))
    assert "Share of the FFNs shown to be removable by accuracy" in told
    assert "The paper removes about 20% of OPT-66B's" in told
    assert "With 20% of the FFNs removed" in told


def test_a_task_of_one_cluster_is_not_called_above_chance(folder: Path) -> None:
    rows = [one for one in pruned() if one["a"] != ABOVE and not (one["a"] == "rte" and one["kind"] == "at_chance")]
    told = text(pruning.heads(write(folder, rows)))
    assert "1 of 3 tasks is not shown to be above chance" in told and "rte" in told


def test_the_joint_grid_is_told_in_points_with_intervals(folder: Path) -> None:
    cells = product((0, 60, 70), (0, 10, 20))
    rows = [
        row(
            "pruned_metric",
            ABOVE,
            "own",
            5,
            f"both/zero/h={h},f={f}",
            -(h + f) / 1000,
            interval=(-(h + f) / 1000 - 0.02, -(h + f) / 1000 + 0.02),
            n=3,
        )
        for h, f in cells
        if h or f
    ]
    evidence = write(folder, [*rows, row("tasks_above_chance", ABOVE, "full model", 5, "both/zero", 3.0, n=4)])
    told = text(pruning.joint(evidence))
    assert "mean over 3 tasks above chance" in told
    assert "| FFNs removed | 0% of heads | 60% of heads | 70% of heads |" in told
    assert "| 0% | 0 | -6.0 [-8.0, -4.0] | -7.0 [-9.0, -5.0] |" in told
    assert "| 20% | -2.0 [-4.0, +0.0] | -8.0 [-10.0, -6.0] | -9.0 [-11.0, -7.0] |" in told
    assert "5 points at (70%, 20%) with 0 shots, 6 at (70%, 10%) with 1 and 4 at (60%, 20%) with 5" in told
    beside = text(paper.beside_the_paper(evidence))
    row_told = "-4 points (5 shots) | -8.0 points [-10.0, -6.0] (5 shots, 3 tasks above chance) |"
    assert f"| change of accuracy without 60% of heads and 20% of FFNs | {row_told}" in beside


def test_a_joint_grid_of_tasks_at_chance_says_so(folder: Path) -> None:
    told = pruning.joint(write(folder, [row("tasks_above_chance", ABOVE, "full model", 5, "both/zero", 0.0, n=4)]))
    assert text(told).strip() == "**5 shots**: no task is shown to be above chance."


def test_transfer_is_told_at_half_of_the_heads(folder: Path) -> None:
    told = text(sharing.transfer(write(folder, pruned())))
    assert told == (
        "- 50% of heads removed at 5 shots (the step tried that is nearest to 50%), mean change of accuracy over 3 "
        "tasks above chance: own ranking -5.0 points [-6.0, -4.0], aggregate of the other tasks -10.0 points [-12.0, "
        "-8.0], every other task's ranking in turn -10.0 points [-12.0, -8.0], random orders (median and, as the "
        "bracket, 5th to 95th percentile over draws) -25.0 points [-26.0, -24.0]."
    )


def test_transfer_says_nothing_where_no_other_ranking_was_tried(folder: Path) -> None:
    rows = [one for one in pruned() if one["b"] not in ("aggregate", "transfer")]
    assert list(sharing.transfer(write(folder, rows))) == []


# ---- FFN knock-outs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3])
def test_the_worst_ffn_and_those_that_hardly_matter(folder: Path, n: int) -> None:
    """Its interval is over tasks, and there is none for two of them."""
    losses = np.array([[2.0, 0.01, -0.2, -0.01], [1.0, 0.03, -0.4, 0.0], [1.5, 0.02, -0.3, -0.005]])[:n]
    with begin_stage(folder, IDENTITY, STUDY) as run:
        for task, values in zip(TASKS, losses, strict=False):
            items = torch.from_numpy(values + np.array([[0.5], [-0.5]]))
            for variant in ("log_likelihood", "log_likelihood/later"):
                run.add_scores(FFNScores.from_items("knock_out", items, variant=variant), task=task)
    told = list(knock_out.ffn_knockouts(Evidence(open_run(folder))))
    assert len(told) == 4 and "with position 0 spared" in told[1]
    assert told[2].startswith("- The intervals of this section are over tasks")
    assert "`headscope knockout --component head`" in told[3]
    assert f"mean over {n} tasks, those at chance too: FFN 0" in told[0]
    interval = stats.t.interval(0.95, n - 1, loc=1.5, scale=losses[:, 0].std(ddof=1) / np.sqrt(n))
    bracket = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if n == 3 else ""
    assert f"FFN 0 costs most, 1.50 nats{bracket} (1.00 to 2.00 from task to task; the worst of 4 FFNs is" in told[0]
    assert "2 of 4 FFNs change the mean by less than 0.05 nats either way; without 2 of them it is higher" in told[0]


def test_where_every_ffn_is_needed_that_is_said(folder: Path) -> None:
    with begin_stage(folder, IDENTITY, STUDY) as run:
        items = torch.full((3, 4), 0.2)
        run.add_scores(FFNScores.from_items("knock_out", items, variant="log_likelihood"), task="copa")
    told = next(knock_out.ffn_knockouts(Evidence(open_run(folder))))
    assert "Each of the 4 FFNs is needed: without it the mean falls by more than 0.05 nats." in told


# ---- the causal check -----------------------------------------------------------------------------------------------


def dropped(
    p: float, holm: float, *, drop: float = 0.2, n: int = 39, gain: tuple[float, float, float] = (0.3, 0.2, 0.4)
) -> list[Row]:
    place = ("induction heads", "norm_matched", 5, "metric/zero")
    return [
        row("causal_gain", "full model", "", 5, "metric", gain[0], interval=gain[1:], n=3),
        row("causal_drop", *place, drop, interval=(drop - 0.1, drop + 0.1), p=p, p_holm=holm, n=n),
        row("causal_controls", *place, 0.01, interval=(-0.05, 0.06), n=n),
        row("causal_repeats", "full model", "", 0, "zero", -5.0),
        row("causal_repeats", "induction heads", "", 0, "zero", -1.0, n=12),
    ]


@pytest.mark.parametrize(
    ("p", "holm", "n", "verdict"),
    [
        (0.025, 0.05, 39, "Holm 0.0500, a larger drop than the controls'."),
        (0.025, 0.3, 39, "a larger drop than the controls' taken by itself, not after correction for all sets"),
        (0.5, 1.0, 39, "not shown to be a larger drop than the controls'"),
        (0.25, 1.0, 3, "which 3 controls are too few to decide"),
    ],
)
def test_a_drop_is_larger_only_where_its_corrected_rank_says_so(
    folder: Path, p: float, holm: float, n: int, verdict: str
) -> None:
    told = list(causal.removal(write(folder, dropped(p, holm, n=n))))
    assert told[0] == (
        "- To the whole model 5 shots are worth +30.00 points of accuracy over 0 shots [+20.00, +40.00], mean over all "
        "3 tasks, those at chance too."
    )
    assert "without them 5 shots are worth 20.00 points of accuracy less than with them (drop +20.00 [+10.00" in told[1]
    beside = "median drop +1.00 points (5th to 95th percentile -5.00 to +6.00), rank p ="
    assert f"{n} layer- and norm-matched sets: {beside} {p:.3f}" in told[1]
    assert verdict in told[1]
    assert told[2].startswith("- Manipulation check, no evidence") and "by -5.00 nats" in told[2]
    assert "without induction heads (12 heads) -1.00" in told[2]


@pytest.mark.parametrize(("n", "few"), [(39, True), (79, False)])
def test_tests_that_no_rank_could_pass_after_correction_say_so(folder: Path, n: int, few: bool) -> None:
    """Four tests: 4/40 is above .05 and 4/80 is not."""
    rows = [
        row("causal_drop", "induction heads", kind, 5, f"metric/{way}", 0.2, interval=(0.1, 0.3), p=p, p_holm=1.0, n=n)
        for kind, p in (("norm_matched", 1 / (n + 1)), ("layer_matched", 0.4))
        for way in ("zero", "mean")
    ]
    rows.append(
        row("causal_drop", "induction heads", "norm_matched", 5, "log_likelihood/zero", 0.2, p=0.4, p_holm=0.4, n=n)
    )
    evidence = write(folder, rows)
    told = text(causal.removal(evidence))
    late = f"{n} controls are too few to decide after correction for 4 tests"
    assert (f"a larger drop than the controls' taken by itself, but {late}" in told) == few
    assert (f"not shown to be a larger drop than the controls'; {late}" in told) == few
    assert (late in text(paper.beside_the_paper(evidence))) == few
    assert ("taken by itself, not after correction for all sets" in told) == (not few)
    assert "not shown to be a larger drop than the controls'." in told  # the log-likelihood's one test


def test_how_alike_the_controls_are_stands_beside_their_rank(folder: Path) -> None:
    place = ("induction heads", "norm_matched", 5, "heads")
    rows = [
        row(f"causal_controls_{name}", *place, value, n=39)
        for name, value in (("overlap", 0.52), ("shared", 2.0), ("norm_gap", 0.31))
    ]
    told = text(causal.removal(write(folder, [*dropped(0.5, 1.0), *rows])))
    assert "39 layer- and norm-matched sets (52% of heads in common, two sets on average): median drop" in told
    assert (
        "- The 39 layer- and norm-matched sets against induction heads: two of them have 52% of their heads in common "
        "on average, and 2 heads are in all of them: their drops scatter less than those of 39 independent sets would, "
        "so that the tested set stands out from them more easily; head by head their outputs differ in length from the "
        "tested heads' by a factor of 1.36."
    ) in told


def test_means_over_all_tasks_say_how_many_are_at_chance(folder: Path) -> None:
    told = text(causal.removal(write(folder, [*pruned(chance=("rte",)), *dropped(0.5, 1.0)])))
    assert "mean over all 3 tasks, 1 of them (rte) not shown to be above chance." in told
    evidence = Evidence(open_run(folder))
    assert evidence.chance_told(5) in text(paper.beside_the_paper(evidence))
    assert evidence.chance_told(0) == "those at chance too"  # nothing was pruned there, nothing is known


def test_examples_that_are_worth_nothing_can_lose_nothing(folder: Path) -> None:
    told = list(causal.removal(write(folder, dropped(0.5, 1.0, gain=(0.01, -0.02, 0.04)))))
    assert "It is not shown to be above 0, so that the drops below say little." in told[0]


def test_a_negative_drop_is_told_as_more(folder: Path) -> None:
    told = list(causal.removal(write(folder, dropped(1.0, 1.0, drop=-0.05))))
    assert "5 shots are worth 5.00 points of accuracy more than with them (drop -5.00" in told[1]


# ---- rankings -------------------------------------------------------------------------------------------------------


def primary(value: float, p: float, low: float = 0.1, high: float = 0.9) -> list[Row]:
    place = ("prefix_matching", "importance/token", 5)
    return [
        row("induction_importance_primary", *place, "within_layer", value, interval=(low, high), p=p, n=270),
        row("induction_importance", *place, "bansal_released", -0.02, n=270),
        row("induction_importance", *place, "global", 0.66, interval=(0.6, 0.7), p=0.0001, p_holm=0.001, n=270),
    ]


@pytest.mark.parametrize(
    ("value", "p", "verdict"),
    [
        (0.5, 0.0001, "in a layer, heads that match prefixes more have the higher importance."),
        (-0.5, 0.0001, "in a layer, heads that match prefixes more have the lower importance."),
        (0.5, 0.06, "no relation is shown."),
        (nan, nan, "no relation is shown."),
    ],
)
def test_the_primary_test_says_what_it_shows(folder: Path, value: float, p: float, verdict: str) -> None:
    told = list(induction_heads.induction_heads(write(folder, primary(value, p))))
    assert told[0].startswith("- Primary test, fixed beforehand: within layers") and told[0].endswith(verdict)
    assert "nan" not in told[0] and "over 270 heads" in told[0]
    if value == value:
        assert f"rho = {value:+.2f} [+0.10, +0.90], p = {p:.4f}" in told[0]
    assert told[1] == "- Over all heads, where a trend over layers counts too, rho = +0.66 [+0.60, +0.70]."
    assert told[2].endswith("it would have said -0.02 here.")


@pytest.mark.parametrize(("holm", "verdict"), [(0.04, "larger than without examples"), (0.2, "not shown to differ")])
def test_an_agreement_no_larger_than_at_0_shots_is_not_called_larger(folder: Path, holm: float, verdict: str) -> None:
    gain = row(
        "induction_importance_gain",
        "prefix_matching",
        "importance/token@5 - importance/token@0",
        5,
        "within_layer",
        0.2,
        interval=(0.1, 0.3),
        p=0.01,
        p_holm=holm,
        n=270,
    )
    told = text(induction_heads.induction_heads(write(folder, [gain])))
    assert f"minus that without examples is +0.20 [+0.10, +0.30] (p = 0.0100, Holm {holm:.4f}): {verdict}" in told


def test_tasks_that_agree_less_than_chance_are_not_counted_as_agreeing(folder: Path) -> None:
    values = {("boolq", "copa"): (0.8, 0.001), ("boolq", "rte"): (-0.8, 0.001), ("copa", "rte"): (0.4, 0.2)}
    rows = [
        row("cross_task", a, b, 5, level, value, p=holm, p_holm=holm, n=270)
        for (a, b), (value, holm) in values.items()
        for level in ("global", "within_layer")
    ]
    told = next(sharing.rankings(write(folder, rows)))
    assert "3 pairs of tasks, rho over all heads 0.13 on average (-0.80 to 0.80 from pair to pair)" in told
    assert "1 of 3 is above 0 within layers after Holm" in told


def test_retention_is_told_beside_random_pruning(folder: Path) -> None:
    place = ("prefix_matching", "importance/token", 5, "p=70")
    rows = [row("retention_raw", *place, 0.62), row("retention_excess", *place, 0.91)]
    told = text(induction_heads.retained(write(folder, rows)))
    assert (
        "62% of all prefix matching is left and 91% of what exceeds its null; pruning at random leaves 30% on average."
    ) in told


# ---- the whole page -------------------------------------------------------------------------------------------------


def test_an_empty_run_says_its_model_and_no_more(folder: Path) -> None:
    write(folder, [])
    assert findings(open_run(folder)) == [
        "- Model: drawn (float32, weights 00).",
        "- Tasks: boolq, copa, rte; numbers of examples in the context: 0, 5; seed 0.",
    ]


def names_for(kind: Kind) -> tuple[str, str, int, str]:
    """a, b, shots and level as such a row has them."""
    if kind in (Kind.CROSS_SHOT, Kind.CROSS_SHOT_SIGNED):
        return "boolq@0", "boolq@5", -1, "within_layer"
    if kind is Kind.INDUCTION_IMPORTANCE_GAIN:
        return "prefix_matching", "importance/token@5 - importance/token@0", 5, "within_layer"
    cut = {"set_overlap": "k=3", "overlap": "q=10", "cross_task_overlap": "q=30", "retention": "p=70"}
    return "boolq", "copa", 5, next((level for name, level in cut.items() if kind.startswith(name)), "within_layer")


def test_every_kind_of_row_alone_is_no_reason_to_crash(tmp_path: Path) -> None:
    """A study may be stopped after any stage, and any table may lack what another stage would have made."""
    rows = [*pruned(), *dropped(0.025, 0.3), *primary(0.5, 0.01)]
    rows += [row(kind, *names_for(kind), 0.1) for kind in COMPARED]
    for place, kind in enumerate(sorted({one["kind"] for one in rows})):
        seen: dict[tuple[Any, ...], Row] = {}
        for one in rows:
            if one["kind"] == kind:
                seen[tuple(one[name] for name in ("a", "b", "shots", "level"))] = one
        write(tmp_path / str(place), list(seen.values()))
        findings(open_run(tmp_path / str(place)))


def test_values_that_do_not_exist_are_not_printed_as_nan(folder: Path) -> None:
    rows = [
        {**one, "value": nan, "ci_low": nan, "ci_high": nan, "p": nan, "p_holm": nan}
        for one in [*pruned(), *primary(nan, nan)]
        if one["kind"] != "at_chance"
    ]
    rows += [one for one in pruned() if one["kind"] == "at_chance"]
    write(folder, rows)
    assert not re.search(r"\bnan\b", "\n".join(findings(open_run(folder))))


def test_the_page_says_which_stages_have_not_ended_and_what_was_cut(folder: Path) -> None:
    write(folder, [], cut={"rte, 5 shots": 3})
    begin_stage(folder, IDENTITY, Stage("causal", "x"))
    told = findings(open_run(folder))
    assert any("cut by whole demonstrations" in line and "3 in study" in line for line in told)
    assert any(line.startswith("- Not finished") and line.endswith("missing: causal.") for line in told)


@pytest.mark.parametrize(
    ("demos", "draws", "words"),
    [
        ("fixed", 1, "one fixed set of demonstrations a task, the same for all its documents: every interval holds"),
        ("fixed", 3, "Evaluations use 3 fixed sets of demonstrations a task"),
        ("document", 3, "every document, 3 times"),
    ],
)
def test_what_the_demonstrations_of_evaluations_were(folder: Path, demos: str, draws: int, words: str) -> None:
    told = {"demos": demos, "demo_seeds": draws, **dict.fromkeys(DOCUMENTS, 8)}
    write(folder, [], budget=told)
    lines = findings(open_run(folder))
    assert sum(words in line for line in lines) == 1
    assert any("hold" in line for line in lines) == (demos == "fixed")


def test_what_was_left_out_is_told_as_the_study_noted_it(folder: Path) -> None:
    evidence = write(
        folder, [], budget=SMALL.told(), left_out=["no controls", "nothing at 1 shot"], fewer="MultiRC: 4."
    )
    lines = findings(evidence.run)
    assert "- Less than the full measure: no controls; nothing at 1 shot." in lines
    assert "- MultiRC: 4." in lines
    write(folder, [], budget=SMALL.told(), left_out=[], fewer="")
    assert not [line for line in findings(open_run(folder)) if "full measure" in line or "MultiRC" in line]


def test_the_page_says_once_what_an_interval_is_over(tmp_path: Path) -> None:
    run = write(tmp_path / "run", pruned()).run
    told = publish(run, tmp_path / "results").read_text(encoding="utf-8")
    assert told.count("an interval says how far other documents of these same tasks could have moved a number") == 1
    assert told.count("whose intervals are over tasks") == 1 and "the 5th to 95th percentile over draws" in told


def test_published_tables_give_the_same_page_as_the_run(tmp_path: Path) -> None:
    """Nothing on the page comes from anything that is not published beside it."""
    run = write_ranked_run(tmp_path / "run", documents=8, tasks=("copa", "rte"), shots=(5,))
    compare_rankings(run.folder)
    write(run.folder, [*pruned(), *dropped(0.025, 0.3)], left_out=["less"])
    page = publish(open_run(run.folder), tmp_path / "results")
    assert page == tmp_path / "results" / "README.md"
    told = page.read_text(encoding="utf-8")
    assert told == "\n".join(whole_page(tmp_path / "results"))
    for line in findings(open_run(run.folder)):
        assert line in told
    assert "## run" in told and "Less than the full measure: less." in told
    assert "| what | OPT-66B, the paper | this model |" in told


def test_beside_the_paper_stands_where_the_induction_heads_are(tmp_path: Path) -> None:
    run = write_ranked_run(tmp_path / "run", documents=2, classed=3, tasks=("copa",), shots=(5,))
    classes = run.classes
    layers = sorted(classes[classes["class"] != ""]["layer"])
    told = text(paper.beside_the_paper(Evidence(run)))
    assert f"3 of 30, in layers {layers[0]} to {layers[-1]} of 6" in told
    none = write_ranked_run(tmp_path / "none", documents=2, classed=0, tasks=("copa",), shots=(5,))
    assert "none of 30 heads" in text(paper.beside_the_paper(Evidence(none)))
