"""--engine ray: two workers beside none, workers that die, errors, Ctrl-C, and nothing left behind."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from headscope.engine.passing import to_bytes
from headscope.stages.cells import TaskChoice
from headscope.stages.importance import measure_importance
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.store.ahead import Wanted, filled_by
from headscope.store.manifest import versions
from headscope.store.units import UnitStore
from interp.errors import HeadscopeError, UsageError
from tests.headscope import tiny
from tests.headscope.commands import tables, units

if find_spec("ray") is None:  # Not imported here: what headscope tells it, it reads when it is imported.
    pytest.skip("ray is not installed: pip install '.[ray]'", allow_module_level=True)
psutil = pytest.importorskip("psutil")

from headscope.engine.ray import RayEngine, Resources  # noqa: E402  (after the check that Ray is there)

pytestmark = pytest.mark.slow
CHOICE = TaskChoice(("probe_pattern", "probe_labels"), shots=(0, 2), limit=20, demos="fixed")
PRUNE = PruneChoice("head", ("own", "random"), percents=(0, 50), draws=2)
RAYLET = ("raylet", "gcs_server", "ray::")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(model_folder: Path) -> interp.HookedModel:
    return interp.load_model(str(model_folder), check=False)


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[RayEngine]:
    """At work only where a test says so: not `running`, which would have it fill what runs without workers too."""
    found = RayEngine(str(model_folder), {"check": False}, Resources(workers=2, cpus=1))
    yield found
    found.stop()
    assert not of_ray(psutil.Process())


def of_ray(process: Any) -> list[str]:
    """Ray's processes below this one, by name."""
    below = [" ".join(child.cmdline()[:1]) for child in process.children(recursive=True)]
    return [name for name in below if any(part in name for part in RAYLET)]


@pytest.fixture(scope="module")
def store(model: interp.HookedModel, tmp_path_factory: pytest.TempPathFactory) -> UnitStore:
    identity = {name: value for name, value in model.identity().items() if name != "versions"}
    return UnitStore(tmp_path_factory.mktemp("units"), {"identity": identity, "versions": versions()})


def test_two_workers_give_the_same_tables(engine: RayEngine, model: interp.HookedModel, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have
    for name, at_work in (("alone", nullcontext()), ("ray", filled_by(engine.fill))):
        with at_work:
            for objective in ("sum", "choice"):
                measure_importance(model, tmp_path / name, CHOICE, objective=objective)
            measure_pruning(model, tmp_path / name, replace(CHOICE, shots=(2,)), PRUNE)
    torch.set_num_threads(threads)
    assert tables(tmp_path / "alone") == tables(tmp_path / "ray")
    assert units(tmp_path / "alone") == units(tmp_path / "ray")


def deadly(mark: Path, times: int) -> Any:
    """A unit that takes its worker with it, so many times."""

    def compute() -> dict[str, torch.Tensor]:
        deaths = len(list(mark.glob("*")))
        if deaths < times:
            (mark / str(deaths)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"number": torch.tensor([42])}

    return compute


def plain(place: int) -> Any:
    return lambda: {"number": torch.tensor([place])}


def test_a_killed_workers_units_run_elsewhere(engine: RayEngine, store: UnitStore, tmp_path: Path) -> None:
    wanted = [Wanted({"n": place}, plain(place), 1.0) for place in range(12)]
    engine.fill(store, [Wanted({"n": "first"}, plain(0), 1.0)])  # workers start with the first unit
    before = list(engine.actors)
    engine.fill(store, [Wanted({"n": "deadly"}, deadly(tmp_path, 1), 5.0), *wanted])
    assert len(engine.actors) == 2 and sum(actor in before for actor in engine.actors) == 1, "one was replaced"
    for place in range(12):
        found = store.get({"n": place})
        assert found is not None and to_bytes(found) == to_bytes(plain(place)())
    assert store.get({"n": "deadly"}) is not None


def test_a_unit_that_kills_every_worker_is_given_up(engine: RayEngine, store: UnitStore, tmp_path: Path) -> None:
    with pytest.raises(HeadscopeError, match="3 workers died at the same unit of work"):
        engine.fill(store, [Wanted({"n": "always"}, deadly(tmp_path, 99), 1.0)])


def test_what_is_wrong_with_a_unit_is_said_as_here(engine: RayEngine, store: UnitStore) -> None:
    def refuses() -> dict[str, torch.Tensor]:
        raise UsageError("no such head")

    with pytest.raises(UsageError, match="no such head"):
        engine.fill(store, [Wanted({"n": "refused"}, refuses, 1.0)])


def test_ray_listens_on_this_machine_alone(engine: RayEngine, store: UnitStore) -> None:
    engine.fill(store, [Wanted({"n": "started"}, plain(1), 1.0)])
    listening = [
        connection.laddr
        for child in psutil.Process().children(recursive=True)
        for connection in child.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening and {address.ip.removeprefix("::ffff:") for address in listening} <= {"127.0.0.1", "::1"}, (
        listening
    )


def test_more_than_there_is_is_refused(engine: RayEngine) -> None:
    asked = replace(engine.resources, gpus=1)
    with pytest.raises(UsageError, match="2 workers of 1 GPUs need 2, and there are 0"):
        RayEngine("m", {}, asked, ray=engine.ray)._refuse_too_many()


@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.longest)])
def test_an_interrupt_leaves_nothing_and_the_command_goes_on(
    model_folder: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    asked = [sys.executable, "-m", "headscope", "prune", str(model_folder), "--tasks", "probe_pattern,probe_labels"]
    asked += ["--shots", "2", "--limit", "20", "--order", "random", "--draws", "3", "-o", str(tmp_path / "run")]
    first = [*asked[:3], "importance", *asked[4:9], "-o", str(tmp_path / "run")]
    subprocess.run(first, check=True, capture_output=True)
    with subprocess.Popen(
        [*asked, "--engine", "ray"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as run:
        assert run.stderr is not None
        line = next(line for line in run.stderr if "workers are ready" in line)
        assert "2 workers are ready (2 on " in line
        below = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(sent)
        said = run.stderr.read()
    assert run.returncode == 130 and "goes on from the last finished unit" in said
    end = time.monotonic() + 10
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in below):
        assert time.monotonic() < end, [child.name() for child in below if child.is_running()]
        time.sleep(0.2)
    subprocess.run(asked, check=True, capture_output=True)
    assert (tmp_path / "run" / "metrics.parquet").is_file()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def iter_until(lines: Iterable[str], mark: str) -> Iterator[str]:
    """Lines up to the one that holds the mark."""
    for line in lines:
        yield line
        if mark in line:
            return


@contextmanager
def node(name: str, environment: dict[str, str], *where: str) -> Iterator[subprocess.Popen[str]]:
    """A machine of a cluster, as a process of its own."""
    command = [str(Path(sys.executable).parent / "ray"), "start", *where, "--block", "--num-cpus=1", "--num-gpus=0"]
    command += [f'--resources={{"{name}": 1}}', "--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]
    command += ["--disable-usage-stats"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            said = list(iter_until(process.stdout, "--block"))
            assert said and "--block" in said[-1], (name, said)
            threading.Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would stop it
            yield process
        finally:
            process.terminate()
            process.wait(60)


@pytest.mark.longest
def test_a_node_that_is_stopped_loses_nothing(model_folder: Path, tmp_path: Path) -> None:
    tasks = ["--tasks", "probe_pattern,probe_labels", "--shots", "2", "--limit", "20"]
    start = [sys.executable, "-m", "headscope"]
    removed = ["--order", "random,own", "--draws", "30"]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # as examples/cluster/ has it
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **token}
    for name in ("alone", "cluster"):
        first = [*start, "importance", str(model_folder), *tasks, "-o", str(tmp_path / name)]
        subprocess.run(first, check=True, capture_output=True, env=environment)
    pruned = [*start, "prune", str(model_folder), *tasks, *removed, "-o"]
    subprocess.run([*pruned, str(tmp_path / "alone")], check=True, capture_output=True, env=environment)
    address = f"127.0.0.1:{free_port()}"
    with (
        node("first", environment, "--head", f"--port={address.rpartition(':')[2]}", "--include-dashboard=false"),
        node("second", environment, f"--address={address}") as other,
    ):
        asked = [*pruned, str(tmp_path / "cluster"), "--engine", "ray", "--address", address]
        with subprocess.Popen(
            asked, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
        ) as run:
            assert run.stderr is not None
            said = [next(line for line in run.stderr if "workers are ready" in line)]
            assert "2 workers are ready" in said[0]
            for part in [*psutil.Process(other.pid).children(recursive=True), other]:
                part.kill()
            said += list(run.stderr)
        assert run.returncode == 0, said
    assert any("a worker died; its units run elsewhere" in line for line in said), said
    assert tables(tmp_path / "alone") == tables(tmp_path / "cluster")
    assert units(tmp_path / "alone") == units(tmp_path / "cluster")
