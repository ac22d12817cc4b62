"""The programs of benchmarks/ that write pages or check a device, on a tiny model."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.headscope import tiny

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"


def program(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/NAME.py as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    found = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, f"benchmark_{name}", module)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


def test_the_page_is_made_of_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = program("page", monkeypatch)
    row = program("side_by_side", monkeypatch).row
    rows = [
        row("all heads: times a plain forward pass", [5.25, 5.0, 7.0], limit=3.5, peers={"loop": 270.0}),
        row("once: times as fast", [2.0]),
    ]
    (tmp_path / "patching.json").write_text(json.dumps({"benchmark": "patching", "tokens": 100, "rows": rows}))
    lines = made.page(tmp_path).splitlines()
    assert "| `patching` | all heads: times a plain forward pass | 5.25 | 5 to 7 | 3.5 | loop 270 |" in lines
    assert "| `patching` | once: times as fast | 2 |  |  |  |" in lines
    assert sum("not measured" in line for line in lines) == len(made.BENCHMARKS) - 1
    made.main("--no-run", "--kept", str(tmp_path), "--page", str(tmp_path / "page.md"))
    assert (tmp_path / "page.md").read_text() == made.page(tmp_path)


def test_every_benchmark_is_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    made = program("page", monkeypatch)
    assert all((FOLDER / f"{name}.py").is_file() for name in made.BENCHMARKS)


def test_scores_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    agreement = program("check_gpu", monkeypatch).agreement
    scores = np.random.default_rng(0).random(50)
    assert agreement("same", scores, scores).good and agreement("rounded", scores, scores + 1e-5).good
    assert not agreement("off", scores, np.where(np.arange(50) == 7, scores + 0.1, scores)).good
    assert not agreement("shuffled", scores, scores[::-1]).good
    assert not agreement("lost", scores, np.where(np.arange(50) == 7, np.nan, scores)).good


@pytest.mark.longest
@pytest.mark.slow
def test_the_check_of_a_device_runs_dry(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command, on the CPU in place of a GPU: nothing may differ. The tasks are taken to pass the screen."""
    checked = program("check_gpu", monkeypatch)
    for place in ("stages.primary", "stages.vectors", "stages.contest", "plan.study"):
        monkeypatch.setattr(f"headscope.{place}.learnt_tasks", lambda *_: ("probe_pattern", "probe_labels"))
    small = ("--model", str(model_folder), "--documents", "4", "--sequences", "2", "--rows", "1", "--length", "32")
    assert checked.main(*small, "--device", "cpu") == 0
    said = capsys.readouterr().out
    assert "check-gpu: cpu gives the CPU's numbers" in said and "DIFFERS" not in said
    assert all(f"{words[0]}: cpu" in said for words in checked.commands(4, 2)) and "bfloat16: " in said
    assert said.count("ok: ") > 20 and "move 0.00e+00" in said
    assert all(f"ok: {name}" in said for name in ("primary", "contest", "patch", "fv", "importance", "retrieval"))
    assert ("doctor",) in list(checked.commands(4, 2))


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    checked = program("check_gpu", monkeypatch)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert checked.main() == 1 and "no CUDA device" in capsys.readouterr().err


def test_rounds_and_the_tokens_that_have_to_be_run(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = program("side_by_side", monkeypatch)
    assert shared.in_rounds({"a": [2.0, 9.0], "b": [1.0, 3.0]}, "a", "b") == [2.0, 3.0]
    assert shared.tokens_to_run([(1, 2, 3), (1, 2, 4), (2, 3)]) == 6
    found = shared.row("what", [3.0, 1.0, 2.0], limit=1.5)
    assert (found["value"], found["low"], found["high"], found["rounds"], found["peers"]) == (2.0, 1.0, 3.0, 3, {})


SMALLEST = {
    "prefix_matching": ("--lengths", "5", "--repeats", "2"),
    "copying": ("--tokens", "21", "--repeats", "2"),
    "importance": ("--documents", "2", "--length", "20", "--target", "3", "--rounds", "2"),
    "knock_out": ("--documents", "1", "--words", "12", "--sampled", "1", "--repeats", "2"),
    "likelihood": ("--documents", "1", "--record", "1", "--repeats", "2"),
    "patching": ("--tokens", "12", "--sampled", "2", "--repeats", "2"),
    "contest": ("--tasks", "probe_pattern", "--documents", "6", "--shots", "1", "--controls", "0"),
}


@pytest.mark.longest
@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs(name: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a tiny model, as `make bench` runs it: its rows stand on the page."""
    monkeypatch.delenv("HEADSCOPE_DATA", raising=False)
    made = program("page", monkeypatch)
    made.run(name, tmp_path, "--model", str(model_folder), *SMALLEST[name])
    rows = json.loads((tmp_path / f"{name}.json").read_text())["rows"]
    assert rows and all(0 <= one["low"] <= one["value"] <= one["high"] for one in rows)
    assert all(one["rounds"] == 2 for one in rows if one["limit"] is not None and name != "contest")
    lines = made.page(tmp_path).splitlines()
    assert all(any(one["what"] in line for line in lines) for one in rows)


@pytest.mark.longest
@pytest.mark.slow
@pytest.mark.parametrize("command", ["importance", "knockout"])
def test_memory_is_about_as_planned(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = program("plan", monkeypatch).compared("small", command, documents=20, rounds=1)
    assert 0.75 <= found.of_memory <= 1.25, found


@pytest.mark.slow
def test_the_contest_runs_less_than_a_loop(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = program("contest", monkeypatch)
    made.main("--model", str(model_folder), *SMALLEST["contest"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0.9 * found["tokens"]["least"] < found["tokens"]["run"] < found["tokens"]["loop"]


@pytest.mark.slow
def test_what_a_dtype_does_is_measured(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = program("precision", monkeypatch)
    small = ("--tasks", "probe_pattern", "--documents", "4", "--sequences", "2", "--length", "10", "--tokens", "32")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{made.BEGIN}\nold\n{made.END}\nafter\n")
    small += ("--functions", "probe_labels", "--write", "--page", str(page))
    made.main("--model", str(model_folder), "--dtypes", "float64,bfloat16", *small, "--repeats", "1")
    exact, half = ([cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()[-2:])
    assert exact[1] == "float64" and exact[6] == "0.0000, 0.0000"
    for cell in (exact[2], exact[5]):  # effects of a random model are so alike that rounding moves a few ranks
        rank, move = map(float, cell.split(", "))
        assert rank > 0.95 and move == 0
    assert half[1] == "bfloat16" and half[6] != "0.0000, 0.0000"
    written = page.read_text()
    assert written.startswith(f"before\n{made.BEGIN}\n") and written.endswith(f"\n{made.END}\nafter\n")
    assert "| bfloat16 |" in written and "old" not in written


def test_the_page_has_a_place_for_what_a_dtype_does(monkeypatch: pytest.MonkeyPatch) -> None:
    made = program("precision", monkeypatch)
    text = made.PAGE.read_text(encoding="utf-8")
    assert text.count(made.BEGIN) == 1 and made.END in text.partition(made.BEGIN)[2]
