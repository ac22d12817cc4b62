"""importance, knockout, prune, compare, export, report as a person meets them: output, files, and going on again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ablation
import interp
from ablation.importance import importance
from headscope.cli import options
from headscope.store.run import Run, open_run
from headscope.store.units import UnitStore
from interp.token_display import counted
from tests.headscope import tiny
from tests.headscope.commands import Outcome, command, done, refused, tables, units
from tests.headscope.tiny import HEADS, LAYERS

TASKS = ("probe_antonyms", "probe_capitals")
ASKED = ("--tasks", ",".join(TASKS), "--shots", "0,2", "--limit", 20)
SHARES = ("--percents", "0,30,60")
PRUNED, KNOCKED = 12, 8
RENDERED = ("knockout", "prune both")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(model_folder: Path) -> interp.HookedModel:
    return interp.load_model(str(model_folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs") / "tiny"


@pytest.fixture(scope="module")
def commands(model_folder: Path, folder: Path) -> dict[str, tuple[object, ...]]:
    """Every command of the run, in the order in which they are given."""
    where = ("-o", folder)
    ask = (model_folder, *ASKED, *where)
    pruned = ("prune", model_folder, "--tasks", ",".join(TASKS), "--shots", 2, "--limit", PRUNED, *where)
    return {
        "induction": ("induction", model_folder, *where, "--sequences", 6, "--length", 10),
        "importance": ("importance", *ask),
        "choice": ("importance", *ask, "--objective", "choice"),
        "shuffled": ("importance", model_folder, *ASKED, *where, "--shots", 2, "--labels", "shuffled"),
        "knockout": ("knockout", model_folder, *ASKED, *where, "--shots", 2, "--limit", KNOCKED),
        "knockout heads": (
            "knockout",
            model_folder,
            "--tasks",
            TASKS[0],
            "--shots",
            "0",
            "--limit",
            4,
            *where,
            "--component",
            "head",
        ),
        "prune": (
            *pruned,
            *SHARES,
            "--demo-seeds",
            2,
            "--draws",
            2,
            "--order",
            "own,aggregate,transfer,signed,signed_choice,inverse,random,layer_matched,iterative",
        ),
        "prune groups": (
            *pruned,
            *("--percents", "0,34,50"),
            *("--demo-seeds", 2, "--draws", 2, "--unit", "group"),
            *("--order", "own,aggregate,signed,even,random,layer_matched"),
        ),
        "prune FFNs": (
            *pruned,
            *SHARES,
            "--demo-seeds",
            1,
            "--draws",
            2,
            "--component",
            "ffn",
            "--order",
            "own,random",
            "--ffn-ranking",
            "knock_out",
        ),
        "prune both": (
            "prune",
            model_folder,
            "--tasks",
            TASKS[0],
            "--shots",
            2,
            "--limit",
            4,
            *where,
            "--demo-seeds",
            1,
            "--component",
            "both",
        ),
        "compare": ("compare", folder),
    }


@pytest.fixture(scope="module")
def first(commands: dict[str, tuple[object, ...]], folder: Path) -> dict[str, Outcome]:
    """What each command printed the first time; the page is rendered by a few of them only."""
    found = {}
    for name, arguments in commands.items():
        shown = options.render_report if name in RENDERED else lambda _: folder / "report.html"
        with mock.patch.object(options, "render_report", shown):
            found[name] = done(*arguments)
    return found


@pytest.fixture(scope="module")
def run(first: dict[str, Outcome], folder: Path) -> Run:
    return open_run(folder)


def test_every_command_says_what_it_did_and_where(first: dict[str, Outcome], folder: Path) -> None:
    assert "most important heads, 2 tasks at 2 shots" in first["importance"].out
    assert f"stored in {folder}; report: {folder / 'report.html'}" in first["importance"].out
    assert f"`headscope compare {folder}` compares the rankings" in first["importance"].out
    assert "the FFNs whose removal costs most" in first["knockout"].out
    assert "if nothing of it is stored yet" in first["knockout heads"].error
    assert "pruning: an area of 1 costs nothing" in first["prune"].out
    for order in (
        "own",
        "aggregate",
        "signed",
        "signed_choice",
        "inverse",
        "random",
        "layer_matched",
        "iterative",
        *TASKS,
    ):
        assert f" {order} " in first["prune"].out, order
    assert "removable: shown up to / shown not from, in percent" in first["prune"].out
    assert re.search(r" 0 / (-|30|60) ", first["prune"].out), "undecided, or not removable: never 0 alone"
    assert "- Within layers, prefix matching" in first["compare"].out
    for name in ("knockout", "prune", "prune both"):
        assert first[name].out.splitlines()[-1] == f"stored in {folder}; report: {folder / 'report.html'}"
    assert "importance: probe_antonyms, 0 shots" in first["importance"].error


def test_the_run_holds_every_table_and_no_pickle(run: Run) -> None:
    names = {path.name for path in run.folder.iterdir()}
    assert {
        "manifest.json",
        "report.html",
        "items",
        "units",
        "head_scores.parquet",
        "ffn_scores.parquet",
        "metrics.parquet",
        "comparisons.parquet",
        "classes.parquet",
    } <= names
    assert all(stage.finished for stage in run.stages) and len(run.stages) == 11
    for path in run.folder.rglob("*"):
        assert path.is_dir() or not path.read_bytes().startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"PK"))


@pytest.fixture
def quickly(model: interp.HookedModel, folder: Path) -> Iterator[None]:
    """The model is not loaded again, and the page is not rendered: what a command computes and prints stays."""
    with (
        mock.patch.object(options, "load", return_value=model),
        mock.patch.object(options, "render_report", return_value=folder / "report.html"),
        mock.patch("headscope.cli.knockout.tell_cost"),
    ):
        yield


def test_the_same_commands_again_compute_nothing_and_change_nothing(
    commands: dict[str, tuple[object, ...]], first: dict[str, Outcome], folder: Path, quickly: None
) -> None:
    before, held = tables(folder), units(folder)
    with mock.patch.object(UnitStore, "put", side_effect=AssertionError("a finished unit was computed again")):
        for name, arguments in commands.items():
            if name not in ("induction", "compare"):  # compare has no units, induction has tests of its own
                assert done(*arguments).out == first[name].out, name
    assert tables(folder) == before and units(folder) == held


def test_a_longer_run_finds_the_units_of_a_shorter_one(model_folder: Path, tmp_path: Path, run: Run) -> None:
    """Shards have a fixed size: of 20 documents the first 16 are the same unit at a limit of 16."""
    short = ("importance", model_folder, *ASKED[:-1], 16, "-o", tmp_path / "short")
    done(*short)
    assert len(units(tmp_path / "short")) == 4 + 4  # two tasks, two numbers of shots; as many norms
    assert units(tmp_path / "short") <= units(run.folder)


# ---- the same numbers as from Python --------------------------------------------------------------------------------


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("positions", ["token", "document", "signed"])
def test_importance_is_that_of_one_call(run: Run, model: interp.HookedModel, positions: str, shots: int) -> None:
    task = ablation.load_task(TASKS[1], shots=shots, limit=20, split="train")
    wanted = ablation.head_importance(model, task, positions=positions)
    found = run.head_score("importance", positions, task=TASKS[1], shots=shots)
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=2e-4, atol=1e-7)
    assert found.per_item is not None and wanted.per_item is not None and found.n == 20
    np.testing.assert_allclose(found.per_item, wanted.per_item, rtol=2e-3, atol=1e-6)
    ffns = ablation.ffn_importance(model, task, positions=positions)
    np.testing.assert_allclose(
        run.ffn_score("importance", positions, task=TASKS[1], shots=shots).mean, ffns.mean, rtol=2e-4, atol=1e-7
    )
    items = run.items(f"head-importance-{positions}-{TASKS[1]}-{shots}shot")
    assert list(items["document"]) == [document.id for document in task.documents]
    assert list(items["cluster"]) == [document.cluster for document in task.documents]
    lengths = [len(d.context) + len(d.target) for d in task.token_documents(model)]
    assert list(items["length"]) == lengths


def test_shuffled_labels_are_a_score_of_their_own(run: Run, model: interp.HookedModel) -> None:
    task = ablation.load_task(TASKS[0], shots=2, limit=20, split="train", labels="shuffled")
    wanted = ablation.head_importance(model, task)
    found = run.head_score("importance_shuffled", "token", task=TASKS[0], shots=2)
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=2e-4, atol=1e-7)
    true = run.head_score("importance", "token", task=TASKS[0], shots=2)
    assert not np.allclose(found.mean, true.mean, rtol=1e-3)


def test_importance_to_the_choice_is_a_score_of_its_own(run: Run, model: interp.HookedModel) -> None:
    task = ablation.load_task(TASKS[1], shots=2, limit=20, split="train")
    for positions in ("token", "signed"):
        wanted = ablation.head_importance(model, task, positions=positions, objective="choice")
        found = run.head_score("importance", f"{positions}/choice", task=TASKS[1], shots=2)
        np.testing.assert_allclose(found.mean, wanted.mean, rtol=2e-3, atol=1e-6)
        paper = run.head_score("importance", positions, task=TASKS[1], shots=2)
        assert not np.allclose(found.mean, paper.mean, rtol=1e-2)


def test_importance_for_removal_by_the_mean_is_asked_for_and_shown(model_folder: Path, tmp_path: Path) -> None:
    asked = ("--tasks", TASKS[0], "--shots", 2, "--limit", 3, "--objective", "choice", "--ablation", "mean")
    found = json.loads(done("importance", model_folder, *asked, "-o", tmp_path / "run", "--json").out)
    run = open_run(tmp_path / "run")
    signed = run.head_score("importance", "signed/choice/mean", task=TASKS[0], shots=2).mean
    share = signed / signed.abs().sum()
    for head in found["heads"]:
        assert head["signed"] == pytest.approx(float(share[head["layer"], head["head"]]), abs=1e-6)
    assert found["heads"] and not any("zero" in stage.options.values() for stage in run.stages)


@pytest.mark.parametrize(
    ("outcome", "positions"),
    [("choice", "all"), ("mass", "later"), ("metric", "later"), ("margin", "all"), ("per_token", "later")],
)
def test_knock_out_is_that_of_one_call(run: Run, model: interp.HookedModel, outcome: str, positions: str) -> None:
    task = ablation.load_task(TASKS[0], shots=2, limit=KNOCKED, split="train")
    wanted = ablation.knock_out(model, task, component="ffn").scores(outcome=outcome, positions=positions)
    found = run.ffn_score("knock_out", wanted.variant, task=TASKS[0], shots=2)
    np.testing.assert_allclose(found.mean, wanted.mean, atol=2e-5)
    assert found.per_item is not None and found.per_item.shape == (KNOCKED, LAYERS)


def test_knock_out_of_heads_is_that_of_one_call(run: Run, model: interp.HookedModel) -> None:
    task = ablation.load_task(TASKS[0], limit=4, split="train")
    wanted = ablation.knock_out(model, task, component="head").scores(outcome="choice")
    found = run.head_score("knock_out", "choice", task=TASKS[0])
    np.testing.assert_allclose(found.mean, wanted.mean, atol=2e-5)
    assert found.mean.shape == (LAYERS, HEADS)


def mixed(task: str) -> ablation.Task:
    """Two draws of the demonstrations, half of the documents each."""
    from ablation.gains import mixed_draws

    return mixed_draws([ablation.load_task(task, shots=2, limit=PRUNED, seed=seed) for seed in (0, 1)])


def test_pruned_metrics_are_those_of_one_call(run: Run, model: interp.HookedModel) -> None:
    """Ranked on the training documents, evaluated on validation, by both draws of the demonstrations."""
    ranking = run.head_score("importance", "token", task=TASKS[0], shots=2)
    task = mixed(TASKS[0])
    wanted = ablation.prune(model, task, ranking, component="head", percents=(0, 30, 60))
    table = wanted.to_frame(("metric", "choice", "mass", "margin", "per_token"))
    rows = run.metrics.query(f"task == '{TASKS[0]}' and shots == 2 and component == 'head' and order == 'own'")
    rows = rows[rows["metric"] != "choice_gain"].sort_values(["percent_heads", "metric"])
    table = table.replace({"metric": {task.metric: "acc"}}).sort_values(["percent_heads", "metric"])
    assert list(rows["removed_heads"]) == list(table["removed_heads"]) == [0] * 5 + [3] * 5 + [7] * 5
    for name in ("value", "stderr", "n"):
        np.testing.assert_allclose(rows[name], table[name], atol=2e-5)
    for outcome in ("metric", "choice"):
        verdict = wanted.removable(outcome)  # type: ignore[arg-type]
        (found,) = run.comparisons.query(
            f"kind == 'removable_{outcome}' and a == '{TASKS[0]}' and b == 'own' and level == 'head/zero'"
        )["value"]
        assert found == verdict.shown
    (area,) = run.comparisons.query(
        f"kind == 'pruning_area' and a == '{TASKS[0]}' and b == 'own' and level == 'head/zero'"
    )["value"]
    np.testing.assert_allclose(area, wanted.area().value, atol=1e-6)


def test_kv_groups_are_ranked_by_their_joint_gate_and_go_whole(run: Run, model: interp.HookedModel) -> None:
    train = ablation.load_task(TASKS[0], shots=2, limit=20, split="train")
    scores = importance(model, train)
    joint = scores.kv_groups().mean
    stored = run.head_score("importance_group", "token", task=TASKS[0], shots=2)
    np.testing.assert_allclose(stored.mean, joint.repeat_interleave(2, -1), rtol=2e-4, atol=1e-7)
    assert not np.allclose(joint, scores.heads().mean.unflatten(-1, (-1, 2)).sum(-1), rtol=1e-2), "no sum of heads"
    task = mixed(TASKS[0])
    orders = {"own": ablation.by_scores(scores.kv_groups())}
    orders["even"] = ablation.even_over_layers(orders["own"])
    for name, order in orders.items():
        wanted = ablation.prune(model, task, order, unit="group", percents=(0, 34, 50))
        rows = run.metrics.query(f"task == '{TASKS[0]}' and component == 'kv_group' and order == '{name}'")
        rows = rows[rows["metric"] == "choice"].sort_values("percent_heads")
        assert list(rows["removed_heads"]) == [0, 2, 3], "groups, of which there are six"
        np.testing.assert_allclose(
            rows["value"], [step.evaluation.outcome("choice").mean for step in wanted.steps], atol=2e-5
        )
    assert {"removable_choice", "pruning_area"} <= set(run.comparisons.query("level == 'kv_group/zero'")["kind"])


def test_the_aggregate_and_transfer_never_rank_by_the_task_itself(run: Run, model: interp.HookedModel) -> None:
    """With two tasks, both are the other task's ranking."""
    rows = run.metrics.query("component == 'head' and shots == 2")
    for task, other in (TASKS, TASKS[::-1]):
        held = [rows[(rows["task"] == task) & (rows["order"] == order)] for order in ("aggregate", other)]
        assert len(held[0]) == 3 * 6  # percentages, metrics
        assert list(held[0]["value"]) == list(held[1]["value"])
        ranking = run.head_score("importance", "token", task=other, shots=2)
        wanted = ablation.prune(model, mixed(task), ranking, component="head", percents=(0, 30, 60))
        found = held[0][held[0]["metric"] == "choice"].sort_values("percent_heads")
        np.testing.assert_allclose(found["value"], wanted.values("choice").mean(axis=1), atol=2e-5)


def test_ffns_are_ranked_by_their_knock_out_where_that_was_asked_for(run: Run, model: interp.HookedModel) -> None:
    ranking = run.ffn_score("knock_out", "choice", task=TASKS[1], shots=2).ranking()
    task = ablation.load_task(TASKS[1], shots=2, limit=PRUNED)
    rows = run.metrics.query(f"task == '{TASKS[1]}' and shots == 2 and component == 'ffn' and order == 'own'")
    found = rows[rows["metric"] == "choice"].sort_values("percent_ffns")
    values = [ablation.evaluate(model, task, ffns=ranking.mask(p)).choice.mean() for p in (0, 30, 60)]
    np.testing.assert_allclose(found["value"], values, atol=2e-5)
    assert list(found["removed_ffns"]) == [0, 0, 1] and not found["removed_heads"].any()


def test_the_joint_grid_removes_both(run: Run) -> None:
    rows = run.metrics.query(f"component == 'both' and metric == 'acc' and task == '{TASKS[0]}'")
    assert len(rows) == 8 * 6
    assert {(row.percent_heads, row.removed_heads) for row in rows.itertuples()} == {
        (percent, percent * LAYERS * HEADS // 100) for percent in range(0, 80, 10)
    }
    assert set(rows["removed_ffns"]) == {0, 1}


def test_json_says_the_same(commands: dict[str, tuple[object, ...]], run: Run, quickly: None) -> None:
    told = json.loads(done(*commands["importance"], "--json", "--top", 3).out)
    assert [task["documents"] for task in told["tasks"]] == [20] * 4 and len(told["heads"]) == 3
    shares = np.mean([_share(run, task) for task in TASKS], axis=0)
    best = told["heads"][0]
    assert best["token"] == pytest.approx(shares.max(), rel=1e-5)
    assert shares[best["layer"], best["head"]] == shares.max()
    knocked = json.loads(done(*commands["knockout"], "--json").out)
    assert {len(task["worst"]) for task in knocked["tasks"]} == {3}
    pruned = json.loads(done(*commands["prune FFNs"], "--json").out)
    kinds = {row["kind"] for row in pruned["summaries"]}
    assert {"pruning_area", "removable_metric", "full_metric", "at_chance", "unchanged_bound"} <= kinds


def _share(run: Run, task: str) -> Any:
    table = run.head_score("importance", "token", task=task, shots=2).mean.double().numpy()
    return table / table.sum()


def test_compare_twice_leaves_nothing_of_the_first(run: Run, folder: Path, quickly: None) -> None:
    before = run.comparisons
    compared = json.loads(done("compare", folder, "--json").out)
    assert any(line.startswith("Within layers") for line in compared["findings"]) and compared["rows"] > 100
    assert run.comparisons.equals(before)
    assert not before.duplicated(["kind", "a", "b", "shots", "level"]).any()


def test_report_renders_again(run: Run, folder: Path) -> None:
    (folder / "report.html").unlink()
    assert done("report", folder).out.strip() == str(folder / "report.html")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert TASKS[0] in page and page.rstrip().endswith("</html>")


def test_another_limit_in_the_same_folder_is_refused_and_nothing_is_lost(
    model_folder: Path, folder: Path, run: Run
) -> None:
    before = tables(folder)
    refused(command("importance", model_folder, *ASKED[:-1], 5, "-o", folder), "limit 20", "limit 5", "-o")
    assert tables(folder) == before


# ---- export ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("component", "sizes"), [("head", (60, 0)), ("both", (30, 40))])
def test_the_exported_model_gives_the_pruned_numbers(
    run: Run, model: interp.HookedModel, model_folder: Path, tmp_path: Path, component: str, sizes: tuple[int, int]
) -> None:
    out = tmp_path / "pruned"
    extra = ("--percent-ffns", sizes[1]) if component == "both" else ()
    said = done(
        "export",
        run.folder,
        out,
        "--component",
        component,
        "--percent",
        sizes[0],
        "--order",
        TASKS[0],
        "--shots",
        2,
        "--model",
        model_folder,
        *extra,
    )
    heads = run.head_score("importance", "token", task=TASKS[0], shots=2).ranking().mask(sizes[0])
    ffns = run.ffn_score("importance", "token", task=TASKS[0], shots=2).ranking().mask(sizes[1])
    removed = counted(sizes[0] * 12 // 100, "head"), counted(sizes[1] * 3 // 100, "FFN")
    assert f"{' and '.join(removed)} removed" in said.out
    task = ablation.load_task(TASKS[0], shots=2, limit=PRUNED)
    wanted = ablation.evaluate(model, task, heads=heads, ffns=ffns)
    found = ablation.evaluate(interp.load_model(str(out)), task)
    np.testing.assert_allclose(found.gold_log_likelihoods, wanted.gold_log_likelihoods, atol=2e-5)
    if component == "head":
        rows = run.metrics.query("component == 'head' and order == 'own' and shots == 2 and demo_seed == 0")
        row = rows[(rows["task"] == TASKS[0]) & (rows["percent_heads"] == 60) & (rows["metric"] == "acc")]
        assert found.metric == pytest.approx(float(row["value"].iloc[0]))
    weights = load_file(next(out.glob("*.safetensors")))
    gone = [layer for layer, head in (divmod(place, HEADS) for place in range(12)) if not heads.values[layer, head]]
    layer = gone[0]
    assert (weights[f"model.layers.{layer}.self_attn.o_proj.weight"] == 0).any()


def test_a_model_cut_by_kv_groups_is_smaller_and_gives_the_pruned_numbers(
    run: Run, model: interp.HookedModel, model_folder: Path, tmp_path: Path
) -> None:
    where = ("--order", TASKS[0], "--shots", 2, "--model", model_folder)
    said = done("export", run.folder, tmp_path / "cut", "--unit", "group", "--cut", "--percent", 50, *where)
    assert "6 heads (3 key-value groups) and 0 FFNs removed" in said.out
    config = json.loads((tmp_path / "cut" / "config.json").read_text("utf-8"))
    assert (config["num_key_value_heads"], config["num_attention_heads"]) == (1, 2)
    weights = load_file(next((tmp_path / "cut").glob("*.safetensors")))
    assert weights["model.layers.0.self_attn.k_proj.weight"].shape[0] == 8
    found = ablation.evaluate(interp.load_model(str(tmp_path / "cut")), mixed(TASKS[0]))
    rows = run.metrics.query(f"task == '{TASKS[0]}' and component == 'kv_group' and order == 'even'")
    (value,) = rows[(rows["metric"] == "choice") & (rows["percent_heads"] == 50)]["value"]
    assert found.outcome("choice").mean == pytest.approx(value, abs=2e-5)
    done("export", run.folder, tmp_path / "zeroed", "--unit", "group", "--percent", 50, *where)
    record = json.loads((tmp_path / "zeroed" / "pruned.json").read_text("utf-8"))
    own = ablation.by_scores(
        importance(model, ablation.load_task(TASKS[0], shots=2, limit=20, split="train")).kv_groups()
    )
    assert record["removed_heads"] == [
        f"{layer}.{head}" for layer, head in (own.mask(50).values == 0).nonzero().tolist()
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--unit", "group", "--component", "ffn"), "kv groups are groups of heads: --unit group belongs to"),
        (("--cut",), "projections become smaller by whole key-value groups: --cut belongs to --unit group"),
    ],
)
def test_what_can_not_be_exported_by_group_is_refused(
    run: Run, model_folder: Path, tmp_path: Path, more: Any, said: str
) -> None:
    refused(command("export", run.folder, tmp_path / "out", "--model", model_folder, *more), said)
    assert not (tmp_path / "out").exists()


def test_ffns_are_exported_by_the_importance_that_was_asked_for(run: Run, model_folder: Path, tmp_path: Path) -> None:
    token, signed = (
        run.ffn_score("importance", name, task=TASKS[0], shots=2).ranking() for name in ("token", "signed")
    )
    percent = next(p for p in (34, 67) if not torch.equal(token.mask(p).values, signed.mask(p).values))
    out = tmp_path / "pruned"
    done(
        "export",
        run.folder,
        out,
        "--component",
        "ffn",
        "--percent",
        percent,
        "--order",
        TASKS[0],
        "--shots",
        2,
        "--ranking",
        "signed",
        "--model",
        model_folder,
    )
    record = json.loads((out / "pruned.json").read_text("utf-8"))
    gone = [layer for layer, kept in enumerate(signed.mask(percent).values.tolist()) if not kept]
    assert record["removed_ffns"] == gone
