"""`headscope inspect` up to the server: what was named is opened, and a new model is scored as the options say."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from headscope.cli import inspect, options
from headscope.store.run import open_run
from interp import HookedModel
from interp.errors import ModelLoadError, StoreError, UsageError
from interp.identity import WeightHash
from tests.headscope.tiny_model import tiny_model


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The names and options that models were loaded by."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def load(name: str, **rest: Any) -> Any:
        asked.append((name, rest))
        return tiny_model()

    monkeypatch.setattr(options, "load", load)
    return asked


def test_a_new_model_is_scored_on_blocks_of_the_length_that_was_asked_for(
    loaded: list[tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    bench = inspect.make_bench("smollm2-135m", folder, "hub", {"dtype": "float32"}, with_model=True, length=6)
    assert loaded == [("smollm2-135m", {"dtype": "float32"})]
    assert bench.scoring is not None and bench.scoring.thread is not None
    bench.scoring.thread.join(timeout=60)
    assert bench.scoring.failed == "" and set(open_run(folder).items("head-prefix_matching")["length"]) == {6}
    again = inspect.make_bench(str(folder), None, "hub", {}, with_model=False)
    assert again.run is not None and again.model is None and len(loaded) == 1


def test_a_run_whose_model_is_not_here_is_shown_without_it_at_once(
    loaded: list[tuple[str, dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's name is looked for before anything asks the hub with retries."""
    from headscope.stages.induction import measure_induction

    monkeypatch.chdir(tmp_path)
    model = tiny_model()
    monkeypatch.setitem(model.provenance, "source", "a-students-model")  # a folder's name is all that a run keeps
    measure_induction(model, tmp_path / "run", sequences=2, length=6)
    bench = inspect.make_bench("run", None, "hub", {}, with_model=True)
    assert bench.model is None and loaded == []
    assert "'a-students-model' could not be loaded (no model 'a-students-model' found" in bench.why


def test_a_local_runs_model_is_found_again_where_it_is(
    loaded: list[tuple[str, dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run keeps the name of a folder, not its place; another model there is refused."""
    from headscope.stages.induction import measure_induction

    model = tiny_model()
    monkeypatch.setitem(model.provenance, "source", "a-students-model")
    measure_induction(model, tmp_path / "run", sequences=2, length=6)
    home = tmp_path / "models of mine"
    home.mkdir()
    (home / "config.json").write_text("{}")
    run = str(tmp_path / "run")
    bench = inspect.make_bench(run, None, "hub", {}, with_model=True, model_at=str(home))
    assert bench.model is model and bench.why == "" and loaded == [(str(home), {})]
    without = inspect.make_bench(run, None, "hub", {}, with_model=True)
    assert f"`headscope inspect {shlex.quote(run)} --model PATH` loads it from where it is." in without.why
    monkeypatch.setattr(HookedModel, "weight_hash", WeightHash("0" * 64, True))
    with pytest.raises(StoreError, match=r"models of mine' is not the model of '.*run': .* now has other weights"):
        inspect.make_bench(run, None, "hub", {}, with_model=True, model_at=str(home))
    for target, no_model in (("smollm2-135m", False), (run, True)):
        with pytest.raises(UsageError, match="--model says where the model of a run directory is"):
            inspect.check_model(target, str(home), no_model=no_model)
    with pytest.raises(ModelLoadError, match="there is no folder"):
        inspect.check_model(run, str(tmp_path / "nowhere"), no_model=False)
