"""Units that an engine runs ahead, packed and in another order: the same bytes as those a stage runs by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import interp
from headscope.engine.local import LocalEngine, longest_first
from headscope.engine.passing import Packer, code_hash, from_bytes, to_bytes, unpacked
from headscope.engine.worker import Assignment, Worker, check_same
from headscope.stages.cells import TaskChoice
from headscope.stages.importance import measure_importance
from headscope.stages.induction import measure_induction
from headscope.stages.knock_out import measure_knock_out
from headscope.stages.primary import PrimaryChoice, measure_primary
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.stages.screening import measure_screening
from headscope.store.ahead import NotYet, Wanted, ahead, filled_by
from headscope.store.manifest import versions
from headscope.store.units import UnitStore
from interp.errors import ModelLoadError
from tests.headscope.commands import command, refused, tables, units
from tests.headscope.tiny_model import tiny_model

TASKS = ("probe_pattern", "probe_labels")
CHOICE = TaskChoice(TASKS, shots=(0, 2), limit=4, demos="fixed")
PRIMARY = PrimaryChoice(controls=3, ways=("mean/last",), looks=(1.0,))
PRUNE = PruneChoice("head", ("own", "iterative"), percents=(0, 50), ablation="mean")


@pytest.fixture(scope="module")
def model() -> interp.HookedModel:
    return tiny_model()


def few(model: interp.HookedModel, folder: Path) -> None:
    measure_induction(model, folder, sequences=3, length=12)
    measure_importance(model, folder, CHOICE)
    measure_knock_out(model, folder, CHOICE, component="ffn")
    measure_pruning(model, folder, replace(CHOICE, shots=(2,)), replace(PRUNE, orders=("own",), ablation="zero"))


def every(model: interp.HookedModel, folder: Path) -> None:
    measure_induction(model, folder, sequences=3, length=12)
    measure_screening(model, folder, replace(CHOICE, limit=12))
    with mock.patch("headscope.stages.primary.learnt_tasks", return_value=TASKS):
        measure_primary(model, folder, replace(CHOICE, limit=20), PRIMARY)
    measure_importance(model, folder, CHOICE)
    measure_knock_out(model, folder, CHOICE, component="ffn", ablation="mean")
    measure_pruning(model, folder, replace(CHOICE, shots=(2,)), PRUNE)


def twice(model: interp.HookedModel, folder: Path, stages: Callable[..., None]) -> tuple[Path, Path, LocalEngine]:
    """The same stages without an engine and with one."""
    engine = LocalEngine(Worker(assignment(model), model))
    for name, at_work in (("alone", nullcontext()), ("engine", filled_by(engine.fill))):
        with at_work:
            stages(model, folder / name)
    return folder / "alone", folder / "engine", engine


def assignment(model: interp.HookedModel, **differ: Any) -> Assignment:
    identity = {name: value for name, value in model.identity().items() if name != "versions"}
    facts: dict[str, Any] = {"identity": identity, "versions": versions(), "code": code_hash(), **differ}
    return Assignment("in memory", {}, **facts)


@pytest.mark.parametrize(
    ("stages", "kinds"),
    [
        (few, {"evaluation", "importance", "knock_out", "repeat loss"}),
        pytest.param(
            every, {"evaluation", "importance", "knock_out", "iterative", "repeat loss"}, marks=pytest.mark.slow
        ),
    ],
)
def test_tables_and_units_are_equal_byte_for_byte(
    model: interp.HookedModel, tmp_path: Path, stages: Callable[..., None], kinds: set[str]
) -> None:
    """The engine runs nearly all units, and none of them twice; norms and some repeats are the stage's own."""
    alone, folder, engine = twice(model, tmp_path, stages)
    assert units(alone) == units(folder) and len(units(alone)) > 10
    assert tables(alone) == tables(folder)
    for name in units(alone):
        assert (alone / "units" / name).read_bytes() == (folder / "units" / name).read_bytes()
    ran = [str(one.key) for one in engine.ran]
    assert len(ran) == len(set(ran)) and len(units(folder)) - len(ran) <= 8
    assert kinds <= {str(one.key.get("what", one.key.get("score"))) for one in engine.ran}


def test_the_longest_come_first_and_like_ones_stand_together() -> None:
    sizes = [("a", 1.0), ("b", 9.0), ("a", 9.0), ("b", 9.0)]
    wanted = [Wanted({"documents": name, "n": place}, dict, size) for place, (name, size) in enumerate(sizes)]
    assert [one.key["n"] for one in longest_first(wanted)] == [2, 1, 3, 0]


def test_who_needs_a_pending_unit_is_asked_again(tmp_path: Path) -> None:
    """The second unit's key rests on the first's number."""
    store, rounds = UnitStore(tmp_path), []

    def number(value: float) -> Callable[[], dict[str, torch.Tensor]]:
        return lambda: {"number": torch.tensor([value])}

    def ask() -> float:
        first = store.get_or_compute({"n": 1}, number(2.0))
        second = store.get_or_compute({"n": float(first["number"][0])}, number(5.0))
        return float(second["number"][0])

    def fill(units: UnitStore, wanted: Any) -> None:
        rounds.append([one.key for one in wanted])
        for one in wanted:
            units.put(one.key, one.compute())

    with filled_by(fill):
        ahead(store, [ask])
        assert rounds == [[{"n": 1}], [{"n": 2.0}]] and ask() == 5.0
        ahead(store, [ask])
    assert len(rounds) == 2, "nothing is missing any more"


def test_without_an_engine_nobody_is_asked(tmp_path: Path) -> None:
    def ask() -> None:
        raise AssertionError("asked")

    ahead(UnitStore(tmp_path), [ask])


def test_errors_of_those_who_are_asked_are_not_hidden(tmp_path: Path) -> None:
    def ask() -> None:
        raise ZeroDivisionError

    with filled_by(lambda units, wanted: None), pytest.raises(ZeroDivisionError):
        ahead(UnitStore(tmp_path), [ask])
    with pytest.raises(NotYet):
        raise NotYet("outside")


def test_a_packed_function_gets_the_workers_model(model: interp.HookedModel) -> None:
    packer = Packer()
    packed, keys = packer.pack(lambda: {"layers": torch.tensor([model.n_layers])})
    assert not keys and len(packed) < 5_000, "the model stays at home"
    other = mock.Mock(n_layers=7)
    with mock.patch("headscope.engine.passing._Unpickler.persistent_load", return_value=other):
        assert unpacked(packed, model, {}.__getitem__)()["layers"].item() == 7


def test_units_come_back_as_they_were() -> None:
    held = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.ones(2, dtype=torch.bfloat16)}
    back = from_bytes(to_bytes(held))
    assert all(torch.equal(back[name], held[name]) and back[name].dtype == held[name].dtype for name in held)


@pytest.mark.parametrize(
    ("differ", "named"),
    [
        ({"code": "0"}, "headscope's code"),
        ({"versions": {**versions(), "torch": "1.0"}}, "torch "),
        ({"identity": {"weight_hash": "0"}}, "weight_hash"),
    ],
)
def test_a_worker_refuses_another_model_code_or_library(
    model: interp.HookedModel, differ: dict[str, Any], named: str
) -> None:
    check_same(assignment(model), model)
    with pytest.raises(ModelLoadError, match=f"would give other numbers.*{named}"):
        check_same(assignment(model, **differ), model)


def test_refusals(tmp_path: Path) -> None:
    asked = ("importance", "--tasks", TASKS[0], "-o", tmp_path / "run")
    refused(command(*asked, "--engine", "spark"), "'spark' is not a value of --engine", "local or ray")
    refused(command(*asked, "--address", "auto"), "give --engine ray with it")
    with mock.patch.dict("sys.modules", {"ray": None}):
        refused(command(*asked, "--engine", "ray"), "pip install 'headscope[ray]'")
    assert not (tmp_path / "run").exists()
