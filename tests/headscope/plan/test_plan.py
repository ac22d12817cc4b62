"""headscope plan: what a study would cost, from the configuration, against what a study does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import interp
from headscope.plan.budget import LEAST, MEDIUM, PAPER, SMALL
from headscope.plan.cost import (
    GRADIENT,
    PRIMARY_SHARE,
    CellTokens,
    heads_knocked_out,
    shares,
    speed,
    study_cost,
    tokens_of,
)
from headscope.stages.cells import TaskChoice
from tests.headscope import tiny
from tests.headscope.commands import command, done, refused

TASKS = ("probe_antonyms", "probe_pattern")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def told(model_folder: Path) -> dict[str, Any]:
    (model_folder / "model.safetensors").rename(model_folder / "elsewhere")  # No weights are read.
    found = json.loads(done("plan", model_folder, "--tasks", ",".join(TASKS), "--shots", "0,2", "--json").out)
    (model_folder / "elsewhere").rename(model_folder / "model.safetensors")
    return dict(found)


def test_the_shape_is_the_models(told: dict[str, Any], model_folder: Path) -> None:
    model = interp.load_model(str(model_folder), check=False)
    assert told["shape"]["parameters"] == sum(parameter.numel() for parameter in model.hf.parameters())
    assert (told["shape"]["layers"], told["shape"]["heads"]) == (tiny.LAYERS, tiny.HEADS)
    assert told["shape"]["context"] == model.max_length and told["shape"]["vocabulary"] == model.vocab_size
    assert told["shape"]["embedding_parameters"] == 0  # tied: it unembeds too
    assert told["memory"]["float32"]["weights"] == 4 * told["shape"]["parameters"]


def test_tokens_are_those_of_the_first_documents(told: dict[str, Any], model_folder: Path) -> None:
    model = interp.load_model(str(model_folder), check=False)
    cells = TaskChoice(TASKS, (0, 2), limit=8).tasks("train")
    for cell, found in zip(cells, told["cells"], strict=True):
        documents = list(cell.token_documents(model))
        assert (found["task"], found["shots"], found["exact"]) == (cell.name, cell.shots, True)
        assert found["prompt"] == pytest.approx(sum(len(d.context) for d in documents) / 8)
        assert found["choices"] == pytest.approx(sum(len(c) for d in documents for c in d.choices) / 8)
    counted = tokens_of(cells, model.tokenizer, model.max_length, model.d_model)
    assert told["tokens"] == pytest.approx(study_cost(SMALL, counted, tiny.LAYERS, tiny.LAYERS * tiny.HEADS))
    assert told["total"] == pytest.approx(sum(told["tokens"].values()))


CELLS = [
    CellTokens("a", 0, 20.0, 4.0, 0.0),
    CellTokens("a", 5, 120.0, 4.0, 100.0),
    CellTokens("b", 0, 10.0, 6.0, 0.0),
    CellTokens("b", 5, 60.0, 6.0, 50.0),
]


def test_the_cost_of_every_stage_by_hand() -> None:
    found = study_cost(PAPER, CELLS, layers=3, heads=6)
    every, means = 24 + 124 + 16 + 66, 64 * (124 + 66)  # of what stands in, where parts are removed by mean
    assert found["importance"] == pytest.approx(
        200 * 2 * (every + 124 + 66) * GRADIENT + means
    )  # at 5 shots twice more
    assert found["knockout FFNs"] == pytest.approx(3 * 100 * every * 4 + means)
    assert found["knockout heads"] == pytest.approx(100 * (124 + 66) / 2 * (6 + 6) + means)  # by mean, some by zero
    asked, fixed = (sum(cell.evaluated(n, "fixed") for cell in CELLS if cell.shots in (0, 5)) for n in (200, 64))
    assert found["primary"] == pytest.approx(40 * 4 * asked * PRIMARY_SHARE + fixed)  # 40 sets, removed in 4 ways
    one_pass = 200 * (every + 24 + 16)  # the draws share the documents out; at 0 shots once more, for what is kept
    orders = 5 + 1 + 20 + 20 + 3  # five of one order each, transfer to one other task, two of 20 draws, iterative
    assert found["prune heads"] == pytest.approx(
        one_pass * (1 + 11 * 2 * orders) + 3 * 64 * every
    )  # by mean and by zero
    assert found["prune both"] == pytest.approx(one_pass * 7 * 5)
    small, fewer = study_cost(SMALL, CELLS, layers=3, heads=6), replace(SMALL, head_orders=("own", "signed_choice"))
    once = small["prune both"] / ((len(SMALL.grid[0]) - 1) * (len(SMALL.grid[1]) - 1))
    steps = len(SMALL.percents) - 1  # two orders by mean, one of them by zero as well
    drawn = 3 * sum(cell.evaluated(64, "fixed") for cell in CELLS if cell.shots == 5)  # a mean for each draw
    assert study_cost(fewer, CELLS, layers=3, heads=6)["prune heads"] == pytest.approx(once * (1 + steps * 3) + drawn)


def test_all_heads_are_knocked_out_where_that_is_a_third_of_the_rest() -> None:
    """The rest grows with the heads too: function vectors are measured head by head."""

    def rest(heads: int) -> float:
        return sum(value for name, value in study_cost(SMALL, CELLS, 3, heads).items() if name != "knockout heads")

    one = 8 * (124 + 66) / 2
    most = int(rest(0) / (3 * one - (rest(1) - rest(0))))
    assert heads_knocked_out(SMALL, CELLS, 3, most) == most > 48
    assert heads_knocked_out(SMALL, CELLS, 3, most + 1) == 48


def test_a_token_of_a_long_document_costs_more() -> None:
    """Half of 2,304 keys on average, where 2,304 double the price."""
    short, long = (CellTokens("a", 5, 2300.0, 4.0, 2000.0, doubled=keys) for keys in (float("inf"), 2304.0))
    assert long.document == pytest.approx(1.5 * short.document)
    assert long.evaluated(9, "fixed") == pytest.approx(1.5 * (2000 + 9 * 304))


def test_a_question_costs_all_its_documents() -> None:
    one, five = (CellTokens("a", 5, 120.0, 4.0, 100.0, per_unit=n) for n in (1.0, 5.0))
    assert five.unit == 5 * one.unit
    assert five.evaluated(3, "fixed") == 100 + 15 * 24 and five.evaluated(3, "document") == 15 * 124
    costs = [study_cost(LEAST, [cell], layers=3) for cell in (one, five)]
    assert (
        costs[1]["importance"] == 5 * costs[0]["importance"]
        and costs[1]["knockout FFNs"] == 5 * costs[0]["knockout FFNs"]
    )


def test_documents_of_a_question_are_counted(tmp_path: Path) -> None:
    """Three questions of two, three and four answers: a fourth of them, on average."""
    folder = tmp_path / "multirc"
    folder.mkdir()
    rows = [
        {
            "paragraph": f"P{q}",
            "question": f"Q{q}",
            "answer": f"A{a}",
            "label": a % 2,
            "idx": {"paragraph": q, "question": q, "answer": a},
        }
        for q in range(3)
        for a in range(2 + q)
    ]
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    cells = TaskChoice(("multirc",), (0,), limit=8, data=str(tmp_path)).tasks("train")
    (counted,) = tokens_of(cells, None, None, 32)
    assert counted.per_unit == 3


def test_dear_tasks_get_a_part_of_the_documents() -> None:
    """None may cost over four times the median task; tasks that do not are not named."""
    cells = [
        CellTokens(name, 5, tokens, 0.0, 0.0)
        for name, tokens in (("a", 10.0), ("b", 100.0), ("c", 100.0), ("d", 400.0), ("e", 1000.0))
    ]
    assert shares([*cells, CellTokens("a", 0, 1e6, 0.0, 0.0)]) == {"e": pytest.approx(0.4)}
    dear = replace(LEAST, shares=(("e", 0.4),))
    plain, spared = (study_cost(tier, cells, layers=3) for tier in (LEAST, dear))
    assert spared["importance"] == plain["importance"], "rankings are compared, and are of equally many documents"
    taken, left = {"knockout FFNs": 8, "prune heads": 24}, {"knockout FFNs": 3, "prune heads": 9}
    means = {"knockout FFNs": 64 * 1610, "prune heads": 3 * 64 * 1610}  # of as many reference documents of each task
    for stage, every in taken.items():
        one = (plain[stage] - means[stage]) / every / 1610
        assert spared[stage] - means[stage] == pytest.approx(one * (610 * every + 1000 * left[stage]))


def test_fixed_demonstrations_are_run_once_a_mask() -> None:
    """Small: both tasks, at 5 shots only, three draws of the demonstrations; and at 0 shots for what is kept."""
    one_pass = (3 * 100 + 24 * 24) + (3 * 50 + 24 * 16) + 24 * 24 + 24 * 16
    assert study_cost(SMALL, CELLS, layers=3)["prune both"] == pytest.approx(one_pass * 3 * 3)


def test_a_richer_budget_costs_more() -> None:
    costs = [sum(study_cost(tier, CELLS, layers=30).values()) for tier in (PAPER, MEDIUM, SMALL, LEAST)]
    assert costs == sorted(costs, reverse=True) and len(set(costs)) == 4


def test_without_a_tokenizer_characters_are_counted_and_that_is_said(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((model_folder / "config.json").read_bytes())
    found = done("plan", tmp_path, "--tasks", TASKS[0], "--shots", "0", "--speed", 1000)
    assert "no tokenizer was read: tokens are counted as a quarter of the characters" in found.out
    assert "at 1,000 tokens a second" in found.out and "forward-equivalents" in found.out


def test_speed_is_tokens_a_second(model_folder: Path) -> None:
    assert speed(interp.load_model(str(model_folder), check=False), rows=1, length=16) > 1


def test_speed_is_that_of_the_fastest_pass_and_slow_models_are_timed_three_times(model_folder: Path) -> None:
    """As beside another process, which slows down all passes but one."""
    model = interp.load_model(str(model_folder), check=False)
    for took, wanted, passes in (([5.0, 5.0, 0.5, 5.0, 5.0], 0.5, 4), ([9.0, 8.0, 7.0, 0.5], 7.0, 3)):
        now, left = [0.0], iter(took)
        handle = model.hf.register_forward_hook(lambda *_, now=now, left=left: now.append(now[-1] + next(left)))
        assert speed(model, rows=1, length=16, clock=lambda now=now: now[-1]) == pytest.approx(16 / wanted)
        handle.remove()
        assert len(now) == 1 + passes


def test_refusals(model_folder: Path) -> None:
    asked = ("plan", model_folder, "--tasks", TASKS[0])
    refused(command(*asked, "--budget", "2"), "what 2 hours hold depends on the speed: give --speed TOKENS")
    refused(command(*asked, "--limit", 0), "'0' is not a value of --limit")
    refused(command(*asked, "--shots", "0,900"), "900 shots")
