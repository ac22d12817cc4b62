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
    kept = {"benchmark": "patching", "tokens": 100, "times_the_plain_forward": {"all heads": 5.25}, "route": "cache"}
    (tmp_path / "patching.json").write_text(json.dumps(kept))
    lines = made.page(tmp_path).splitlines()
    (line,) = (line for line in lines if "5.25" in line)
    assert line.startswith("| patching: ") and line.endswith("| times the plain forward, all heads | 5.25 |")
    assert not any("| 100 |" in line for line in lines), "a count is no ratio"
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
    """Every command, on the CPU in place of a GPU: nothing may differ."""
    checked = program("check_gpu", monkeypatch)
    small = ("--model", str(model_folder), "--documents", "4", "--sequences", "2", "--rows", "1", "--length", "32")
    assert checked.main(*small, "--device", "cpu") == 0
    said = capsys.readouterr().out
    assert "check-gpu: cpu gives the CPU's numbers" in said and "DIFFERS" not in said
    assert all(f"{words[0]}: cpu" in said for words in checked.commands(4, 2)) and "bfloat16: " in said
    assert said.count("ok: ") > 20 and "move 0.00e+00" in said


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    checked = program("check_gpu", monkeypatch)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert checked.main() == 1 and "no CUDA device" in capsys.readouterr().err


@pytest.mark.slow
def test_what_a_dtype_does_is_measured(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = program("precision", monkeypatch)
    small = ("--tasks", "probe_pattern", "--documents", "4", "--sequences", "2", "--length", "10", "--tokens", "32")
    made.main("--model", str(model_folder), "--dtypes", "float64,bfloat16", *small, "--repeats", "1")
    exact, half = (line.split("|") for line in capsys.readouterr().out.splitlines()[-2:])
    assert (
        exact[1].strip() == "float64" and exact[2].strip() == "1.0000, 0.0000" and exact[5].strip() == "0.0000, 0.0000"
    )
    assert half[1].strip() == "bfloat16" and half[5].strip() != "0.0000, 0.0000"
