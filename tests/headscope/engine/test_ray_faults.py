"""--engine ray under faults, in real stages: a killed driver, killed workers; the same tables, nothing done twice."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from headscope.stages.cells import TaskChoice
from headscope.stages.importance import measure_importance
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.store.ahead import filled_by
from tests.headscope import tiny
from tests.headscope.commands import done, tables, units

if find_spec("ray") is None:
    pytest.skip("ray is not installed: pip install '.[ray]'", allow_module_level=True)
psutil = pytest.importorskip("psutil")

from headscope.engine.ray import IN_FLIGHT, RayEngine, Resources, _Round  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.longest]
WORKERS = 2
TASKS = ("--tasks", "probe_pattern,probe_labels", "--shots", "2")
HOW = {
    "importance": ("--limit", "60"),
    "prune": ("--limit", "20", "--order", "random", "--draws", "12", "--percents", "0,20,40,60,80"),
}
CHOICE = TaskChoice(("probe_pattern", "probe_labels"), shots=(2,), limit=8)
FEW = PruneChoice("head", ("random",), percents=(0, 30, 60), draws=6)
KILLS = 20
# Ray, a model on each worker, and half of the work, on a machine that does other things meanwhile.
BEGUN_SECONDS = 300.0
GONE_SECONDS = 240.0  # two of Ray's helpers try for a minute to tell of the end before they end too


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the workers have: the order of sums, and with it the last digits, depends on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def undisturbed(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run directory after each command, without workers: pruning goes on from where importance ended."""
    home = tmp_path_factory.mktemp("undisturbed")
    done("importance", model_folder, *TASKS, *HOW["importance"], "-o", home / "importance")
    shutil.copytree(home / "importance", home / "prune")
    done("prune", model_folder, *TASKS, *HOW["prune"], "-o", home / "prune")
    return {name: home / name for name in HOW}


class OnRay:
    """A command on two workers, from the folder that the one before it left."""

    def __init__(self, name: str, model_folder: Path, undisturbed: dict[str, Path], folder: Path) -> None:
        self.folder, self.wanted = folder, undisturbed[name]
        if name == "prune":
            shutil.copytree(undisturbed["importance"], folder)
        self.before, self.whole = len(units(folder)), len(units(self.wanted))
        asked = [sys.executable, "-m", "headscope", name, str(model_folder), *TASKS, *HOW[name], "-o", str(folder)]
        self.asked = [*asked, "--engine", "ray", "--workers", str(WORKERS)]

    @contextmanager
    def until(self, share: float) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        """The command when it has stored this share of its units; and the file that holds what it says."""
        said = self.folder.with_name("said.txt")
        with said.open("w") as out, subprocess.Popen(self.asked, stdout=out, stderr=out, text=True) as driver:
            end = time.monotonic() + BEGUN_SECONDS
            while len(units(self.folder)) < self.before + share * (self.whole - self.before):
                assert driver.poll() is None and time.monotonic() < end, said.read_text()
                time.sleep(0.002)
            yield driver, said

    def ended_as_undisturbed(self) -> None:
        assert tables(self.folder) == tables(self.wanted) and units(self.folder) == units(self.wanted)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Of every stored unit: one that is stored again is another file."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (folder / "units").glob("*.unit")}


def workers_below(process: Any) -> list[Any]:
    """The processes of Ray's workers that have a model."""
    found = []
    for child in process.children(recursive=True):
        try:
            if "ray::RayWorker" in " ".join(child.cmdline()) and "__init__" not in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def runs(process: Any) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def all_gone(processes: list[Any]) -> None:
    """Wait until none of them goes on."""
    end = time.monotonic() + GONE_SECONDS
    while left := [one for one in processes if runs(one)]:
        assert time.monotonic() < end, left
        time.sleep(0.1)


@pytest.mark.parametrize("name", HOW)
def test_a_killed_driver_leaves_nothing_and_its_work_is_kept(
    name: str, model_folder: Path, undisturbed: dict[str, Path], tmp_path: Path
) -> None:
    """SIGKILL half-way; the same command again: the same tables, no stored unit made again, no process of Ray left."""
    command = OnRay(name, model_folder, undisturbed, tmp_path / "run")
    with command.until(0.5) as (driver, _):
        below = psutil.Process(driver.pid).children(recursive=True)
        names = [one.name() for one in below]
        driver.kill()
    assert driver.returncode == -signal.SIGKILL and any("raylet" in one for one in names), names
    all_gone(below)
    kept = stamps(command.folder)
    assert command.before < len(kept) < command.whole
    again = subprocess.run(command.asked, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    command.ended_as_undisturbed()
    assert kept.items() <= stamps(command.folder).items(), "nothing that was stored is stored again"
    assert 0 < sum(sizes_of_rounds(again.stderr)) <= command.whole - len(kept), again.stderr


def sizes_of_rounds(said: str) -> list[int]:
    """How many units each round had, from the lines that end them: `ray: 7 of 7 units, ...`."""
    lines = [line.split() for line in said.splitlines() if line.startswith("ray: ") and " units a second" in line]
    return [int(line[3]) for line in lines if line[1] == line[3]]


def test_a_worker_killed_in_a_stage_changes_nothing(
    model_folder: Path, undisturbed: dict[str, Path], tmp_path: Path
) -> None:
    command = OnRay("prune", model_folder, undisturbed, tmp_path / "run")
    with command.until(0.25) as (driver, said):
        workers_below(psutil.Process(driver.pid))[0].kill()
        driver.wait()
    assert driver.returncode == 0 and "a worker died; its units run elsewhere" in said.read_text(), said.read_text()
    command.ended_as_undisturbed()


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[RayEngine]:
    """At work only where a test says so: not `running`, which would have it fill what runs without workers too."""
    found = RayEngine(str(model_folder), {"check": False}, Resources(workers=WORKERS, cpus=1))
    yield found
    found.stop()


def test_twenty_random_kills(
    engine: RayEngine, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker each time, at a random unit of two stages: the same tables, twice only what was in flight."""
    model = interp.load_model(str(model_folder), check=False)

    def stages(folder: Path) -> None:
        measure_importance(model, folder, CHOICE)
        measure_pruning(model, folder, CHOICE, FEW)

    stages(tmp_path / "alone")
    wanted, whole, sent = tables(tmp_path / "alone"), units(tmp_path / "alone"), Counter[str]()
    send = _Round.send

    def counted(self: Any, actor: Any, one: Any) -> None:
        sent[str(self.units.path(one.key).name)] += 1
        send(self, actor, one)

    monkeypatch.setattr(_Round, "send", counted)
    draw, killed = random.Random(0), 0
    for turn in range(KILLS):
        folder = tmp_path / str(turn)
        sent.clear()
        with one_killed(folder, draw.randrange(1, len(whole) - 4), draw) as fell, filled_by(engine.fill):
            stages(folder)
        killed += len(fell)
        assert tables(folder) == wanted and units(folder) == whole
        assert sum(sent.values()) - len(sent) <= IN_FLIGHT * len(fell), sent
        shutil.rmtree(folder)
    assert killed >= KILLS - 2, f"{killed} workers were killed"


@contextmanager
def one_killed(folder: Path, count: int, draw: random.Random) -> Iterator[list[int]]:
    """Meanwhile a worker, drawn at random, is killed when the folder holds so many units; gives its process."""
    killed: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            if len(units(folder)) >= count and (found := workers_below(psutil.Process())):
                worker = draw.choice(found)
                worker.kill()
                killed.append(worker.pid)
                return
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()
