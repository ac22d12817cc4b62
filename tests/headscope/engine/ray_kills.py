"""--engine ray with its processes killed, counted as in faults.py: a driver half-way, workers at random units."""

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
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import torch

import interp
from headscope.engine.ray import IN_FLIGHT, RayEngine, Resources, _Round
from headscope.stages.cells import TaskChoice
from headscope.stages.importance import measure_importance
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.store.ahead import filled_by
from tests.headscope.commands import done, tables, units
from tests.headscope.faults import Told, unreadable

WORKERS = 2
TASKS = ("--tasks", "probe_pattern,probe_labels", "--shots", "2")
HOW = {
    "importance": ("--limit", "60"),
    "prune": ("--limit", "20", "--order", "random", "--draws", "12", "--percents", "0,20,40,60,80"),
}
CHOICE = TaskChoice(("probe_pattern", "probe_labels"), shots=(2,), limit=8)
FEW = PruneChoice("head", ("random",), percents=(0, 30, 60), draws=6)
# Ray, a model on each worker, and half of the work, on a machine that does other things meanwhile.
BEGUN_SECONDS = 300.0
GONE_SECONDS = 240.0  # two of Ray's helpers try for a minute to tell of the end before they end too
DRIVERS = "Ray: the command killed while workers compute, and given again"
HANDS = "Ray: a worker killed at a random unit"


@contextmanager
def one_thread() -> Iterator[None]:
    """As the workers have: the order of sums, and with it the last digits, depends on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def without_workers(model_folder: Path, home: Path) -> dict[str, Path]:
    """A run directory after each command, without workers: pruning goes on from where importance ended."""
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

    def ended_as_undisturbed(self) -> bool:
        return tables(self.folder) == tables(self.wanted) and units(self.folder) == units(self.wanted)


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


def left(processes: list[Any]) -> int:
    """How many of them still go on when they have had time to end."""
    end = time.monotonic() + GONE_SECONDS
    while (found := [one for one in processes if runs(one)]) and time.monotonic() < end:
        time.sleep(0.1)
    return len(found)


def sizes_of_rounds(said: str) -> list[int]:
    """How many units each round had, from the lines that end them: `ray: 7 of 7 units, ...`."""
    lines = [line.split() for line in said.splitlines() if line.startswith("ray: ") and " units a second" in line]
    return [int(line[3]) for line in lines if line[1] == line[3]]


def killed_drivers(
    name: str, model_folder: Path, undisturbed: dict[str, Path], home: Path, shares: list[float]
) -> Told:
    """SIGKILL when a share of the units is stored; the same command again ends as one that nothing disturbed.

    Lost is a stored unit that is made again, or a process of Ray that goes on.
    """
    told = Told(DRIVERS)
    for number, share in enumerate(shares):
        (home / f"driver-{number}").mkdir()
        command = OnRay(name, model_folder, undisturbed, home / f"driver-{number}" / "run")
        with command.until(share) as (driver, _):
            below = psutil.Process(driver.pid).children(recursive=True)
            with_ray = any("raylet" in one.name() for one in below)
            driver.kill()
        if driver.returncode != -signal.SIGKILL or not with_ray:
            raise AssertionError(f"the command ended with {driver.returncode} before it was killed")
        told.made += 1
        told.lost += left(below) + unreadable(command.folder)
        kept = stamps(command.folder)
        again = subprocess.run(command.asked, capture_output=True, text=True)
        told.lost += len(kept.items() - stamps(command.folder).items())
        told.lost += sum(sizes_of_rounds(again.stderr)) > command.whole - len(kept)
        mended = again.returncode == 0 and command.ended_as_undisturbed()
        told.mended += mended
        told.wrong += not mended
        if not mended:
            print(again.stderr)
    return told


def stages(model: interp.HookedModel, folder: Path) -> None:
    measure_importance(model, folder, CHOICE)
    measure_pruning(model, folder, CHOICE, FEW)


@contextmanager
def at_work(model_folder: Path) -> Iterator[RayEngine]:
    """Two workers that wait: what is run inside `filled_by(engine.fill)` is theirs."""
    found = RayEngine(str(model_folder), {"check": False}, Resources(workers=WORKERS, cpus=1))
    try:
        yield found
    finally:
        found.stop()


def killed_workers(engine: RayEngine, model_folder: Path, home: Path, kills: int) -> Told:
    """A worker each time, at a random unit of two stages: the same tables. Lost is what was computed twice beyond
    what was in flight.
    """
    model, told, draw = interp.load_model(str(model_folder), check=False), Told(HANDS), random.Random(0)
    stages(model, home / "alone")
    wanted, whole = tables(home / "alone"), units(home / "alone")
    for turn in range(kills):
        folder = home / f"worker-{turn}"
        moment = draw.randrange(1, len(whole) - 4)
        with counted() as sent, one_killed(folder, moment, draw) as fell, filled_by(engine.fill):
            stages(model, folder)
        told.made += len(fell)
        same = tables(folder) == wanted and units(folder) == whole
        told.harmless += len(fell) * same
        told.wrong += not same
        told.lost += max(0, sum(sent.values()) - len(sent) - IN_FLIGHT * len(fell))
        shutil.rmtree(folder)
    return told


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """How often each unit is sent to a worker meanwhile."""
    sent, send = Counter[str](), _Round.send

    def noted(self: Any, actor: Any, one: Any) -> None:
        sent[str(self.units.path(one.key).name)] += 1
        send(self, actor, one)

    with mock.patch.object(_Round, "send", noted):
        yield sent


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
