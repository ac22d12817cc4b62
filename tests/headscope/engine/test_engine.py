"""Units that an engine runs ahead, packed and in another order: the same bytes as those a stage runs by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import interp
from headscope.engine.passing import Packer, code_hash, from_bytes, to_bytes, unpacked
from headscope.engine.ray import MOST_DEATHS, RayEngine, Resources, _Actor, longest_first
from headscope.engine.worker import Assignment, Worker, check_same
from headscope.stages.cells import TaskChoice
from headscope.stages.contest import ContestChoice, measure_contest
from headscope.stages.importance import measure_importance
from headscope.stages.induction import measure_induction
from headscope.stages.knock_out import measure_knock_out, measure_needed_ffns
from headscope.stages.primary import PrimaryChoice, measure_primary
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.stages.screening import measure_screening
from headscope.stages.vectors import measure_vectors, vector_choice
from headscope.store.ahead import NotYet, Pending, Wanted, ahead, filled_by
from headscope.store.manifest import versions
from headscope.store.units import UnitStore
from interp.errors import HeadscopeError, ModelLoadError
from tests.headscope.commands import command, refused, tables, units
from tests.headscope.engine.local import LocalEngine
from tests.headscope.tiny_model import tiny_model

TASKS = ("probe_pattern", "probe_labels")
CHOICE = TaskChoice(TASKS, shots=(0, 2), limit=4, demos="fixed")
PRIMARY = PrimaryChoice(controls=3, ways=("mean/last",), looks=(1.0,))
CONTEST = ContestChoice(controls=0, shares=(5,))
PRUNE = PruneChoice("head", ("own", "iterative"), percents=(0, 50), ablation="mean")


@pytest.fixture(scope="module")
def model() -> interp.HookedModel:
    return tiny_model()


def few(model: interp.HookedModel, folder: Path) -> None:
    measure_induction(model, folder, sequences=3, length=12)
    measure_importance(model, folder, CHOICE)
    measure_importance(model, folder, CHOICE, objective="choice")
    measure_knock_out(model, folder, CHOICE, component="ffn")
    measure_pruning(model, folder, replace(CHOICE, shots=(2,)), replace(PRUNE, orders=("own",), ablation="zero"))


def every(model: interp.HookedModel, folder: Path) -> None:
    measure_induction(model, folder, sequences=3, length=12)
    measure_screening(model, folder, replace(CHOICE, limit=12))
    with mock.patch("headscope.stages.primary.learnt_tasks", return_value=TASKS):
        measure_primary(model, folder, replace(CHOICE, limit=20), PRIMARY)
    measure_importance(model, folder, CHOICE)
    measure_importance(model, folder, CHOICE, objective="choice")
    measure_knock_out(model, folder, CHOICE, component="ffn", ablation="mean")
    measure_knock_out(model, folder, CHOICE, component="head", ablation="mean", heads=((0, 1), (1, 0)))
    measure_needed_ffns(model, folder, CHOICE)
    measure_pruning(model, folder, replace(CHOICE, shots=(2,)), PRUNE)
    with mock.patch("headscope.stages.vectors.learnt_tasks", return_value=TASKS[1:]):
        measure_vectors(model, folder, vector_choice(replace(CHOICE, names=TASKS[1:])), queries=15)
    with mock.patch("headscope.stages.contest.learnt_tasks", return_value=TASKS[:1]):
        measure_contest(model, folder, replace(CHOICE, names=TASKS[:1], limit=20), CONTEST)


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


EVERY = {"evaluation", "importance", "knock_out", "iterative", "repeat loss", "repeat_loss"}
EVERY |= {"function_vector_means", "function_vector_effects", "function_vector_test"}
EVERY |= {"choice_importance", "removed_at_last"}
NEVER = {
    "function_vector_test",
    "label_heads",
    "choice_importance",
    "repeat_loss",
    "concept induction",
}  # by the driver


@pytest.mark.parametrize(
    ("stages", "kinds"),
    [
        (few, {"evaluation", "importance", "knock_out", "repeat loss"}),
        pytest.param(every, EVERY, marks=[pytest.mark.slow, pytest.mark.longest]),
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
    own = {kind_of(folder / "units" / name) for name in units(folder) - engine.stored}
    assert not own & NEVER, own


def kind_of(path: Path) -> str:
    """What a stored unit is of, by its header."""
    key = json.loads(path.read_bytes().partition(b"\n")[0])["key"]["key"]
    return str(key.get("what", key.get("score")))


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


def test_who_is_asked_only_notes_and_without_an_engine_nobody_is(tmp_path: Path) -> None:
    """What is asked for is computed by the engine, and outside of the asking at once."""
    store, asked, filled = UnitStore(tmp_path), [], []
    compute = mock.Mock(return_value={"number": torch.tensor([2.0])})

    def ask() -> None:
        asked.append(store.get_or_compute({"n": 1}, compute))

    ahead(store, [ask])
    assert not asked and len(store) == 0
    with filled_by(lambda units, wanted: filled.extend(wanted)):
        ahead(store, [ask])
        assert isinstance(asked.pop(), Pending) and [one.key for one in filled] == [{"n": 1}]
        assert not compute.called and len(store) == 0
        ask()
    assert asked.pop()["number"].item() == 2.0 and compute.call_count == 1
    ahead(store, [ask])
    assert not asked


def test_errors_of_those_who_are_asked_are_not_hidden_and_end_the_asking(tmp_path: Path) -> None:
    store, filled = UnitStore(tmp_path), []

    def ask() -> None:
        store.get_or_compute({"n": 1}, dict)
        raise ZeroDivisionError

    with filled_by(lambda units, wanted: filled.extend(wanted)):
        with pytest.raises(ZeroDivisionError):
            ahead(store, [ask])
        found = store.get_or_compute({"n": 2}, lambda: {"number": torch.tensor([2.0])})
    assert found["number"].item() == 2.0 and not filled and {"n": 1} not in store


@pytest.mark.parametrize("read", [lambda unit: unit["number"], lambda unit: unit.items(), lambda unit: unit.values()])
def test_nothing_is_read_from_a_pending_unit(read: Callable[[Pending], Any]) -> None:
    with pytest.raises(NotYet):
        read(Pending())


# --- workers that do not answer --------------------------------------------------------------------------------------


class SilentRay:
    """Ray whose workers never answer."""

    exceptions = mock.Mock(GetTimeoutError=TimeoutError)

    def wait(self, references: list[Any], *, num_returns: int = 1, timeout: float) -> tuple[list[Any], list[Any]]:
        return [], references

    def get(self, reference: Any, *, timeout: float) -> Any:
        raise TimeoutError


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> RayEngine:
    monkeypatch.setattr("headscope.engine.ray.SILENT_SECONDS", 0.01)
    engine = RayEngine("m", {}, Resources(workers=2), ray=SilentRay())
    engine.actors = [_Actor(mock.Mock(), loading=place) for place in range(2)]
    return engine


def test_a_worker_that_never_loads_ends_in_words(silent: RayEngine) -> None:
    with pytest.raises(HeadscopeError, match=r"no worker has answered.*0 of 2 workers have loaded the model"):
        silent._wait_ready()


class Died(Exception):
    """What Ray says of a dead worker."""


class MortalRay:
    """Ray whose first workers die while they load. Workers are numbers; asked: the options of each."""

    exceptions = mock.Mock(
        GetTimeoutError=TimeoutError,
        RayTaskError=KeyError,
        RayActorError=Died,
        ObjectLostError=Died,
        WorkerCrashedError=Died,
    )

    def __init__(self, deaths: int) -> None:
        self.deaths, self.asked = deaths, []  # type: tuple[int, list[dict[str, Any]]]

    def remote(self, kind: type) -> Any:
        return mock.Mock(options=self.options)

    def options(self, **asked: Any) -> Any:
        self.asked.append(asked)
        handle = mock.Mock()
        handle.ready.remote.return_value = len(self.asked)
        return mock.Mock(remote=lambda assignment: handle)

    def wait(self, references: list[Any], *, num_returns: int = 1, timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: int, *, timeout: float) -> str:
        if reference <= self.deaths:
            raise Died(f"worker {reference} ran out of memory")
        return "node"


def mortal(deaths: int, resources: Resources) -> tuple[RayEngine, MortalRay]:
    ray = MortalRay(deaths)
    engine = RayEngine("m", {}, resources, ray=ray)
    engine.assignment = mock.Mock()
    engine.actors = [engine.new() for _ in range(resources.workers)]
    return engine, ray


@pytest.mark.parametrize("deaths", range(MOST_DEATHS))
def test_workers_that_die_while_they_load_are_replaced(deaths: int, capsys: pytest.CaptureFixture[str]) -> None:
    engine, ray = mortal(deaths, Resources(workers=2))
    engine._wait_ready()
    assert [actor.ready for actor in engine.actors] == [True, True] and len(ray.asked) == 2 + deaths
    assert "2 workers are ready (2 on node)" in capsys.readouterr().err


def test_three_deaths_while_loading_end_the_command() -> None:
    engine, _ = mortal(MOST_DEATHS, Resources(workers=2))
    with pytest.raises(HeadscopeError, match=r"worker died while it loaded the model \(worker 3 ran out of memory\)"):
        engine._wait_ready()


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (1, "cuda"), (2, "auto"), (4, "auto")])
def test_a_worker_has_the_gpus_that_were_asked_for(gpus: int, device: str) -> None:
    engine, ray = mortal(0, Resources(workers=1, cpus=3, gpus=gpus))
    assert engine.device == device
    assert ray.asked == [{"num_cpus": 3, "num_gpus": gpus, "max_restarts": 0}]


def test_units_that_never_come_back_end_in_words(silent: RayEngine, tmp_path: Path) -> None:
    for actor in silent.actors:
        actor.ready = True
    wanted = [Wanted({"n": place}, dict) for place in range(5)]
    with pytest.raises(HeadscopeError, match=r"0 of 5 units are done.*`ray status`.*the same command goes on"):
        silent.fill(UnitStore(tmp_path), wanted)
    assert not any(actor.flying for actor in silent.actors), "what is on its way is let go of"
    with pytest.raises(HeadscopeError, match="what a worker made does not arrive"):
        silent.answer(object())


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
