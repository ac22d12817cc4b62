"""Workers that were asked for (`--engine ray --workers N`): whether the machine holds them, and how long they take.

1. GPUs: a worker holds the model on its GPUs, one or several. The command itself, the driver, holds the weights in the
   machine's memory.
2. CPU: workers share the machine's memory with each other and with the driver's weights; each has its own cores.
3. What is not said is what fits: as few GPUs a worker as hold the model, as many workers as there is room for.
What does not fit is refused, with what would.
"""

from __future__ import annotations

from dataclasses import dataclass

from headscope.plan.placement import CPU, GB, GPU, PROCESS, SPARE, Machine, PlacedWorkers, PlannedWork
from interp.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """What was said of the workers; None where it was not. cpus: cores a worker, for a machine without GPUs."""

    workers: int | None = None
    gpus: int | None = None
    cpus: int = 1


def workers_placed(work: PlannedWork, there: Machine, asked: Asked) -> PlacedWorkers:
    """The workers on the machine. Raises UsageError where they do not fit."""
    return _on_cores(work, there, asked) if there.device == CPU else _on_gpus(work, there, asked)


def all_held(work: PlannedWork, there: Machine, placed: PlacedWorkers) -> float:
    """Bytes of the machine's memory that workers and driver hold together."""
    return PROCESS + work.weights + (placed.held * placed.workers if there.device == CPU else 0.0)


def _on_cores(work: PlannedWork, there: Machine, asked: Asked) -> PlacedWorkers:
    if asked.gpus:
        raise UsageError(f"--gpus-per-worker {asked.gpus} is of GPUs: say which (--device h100), or leave it out")
    most = _most_beside_driver(work, there)
    workers = asked.workers or max(1, min(there.count // asked.cpus, most))
    _refuse_too_many(workers, asked.cpus, there.count, "cores", "--cpus-per-worker")
    if workers > most:
        each, own = work.held_in_memory(), PROCESS + work.weights
        raise UsageError(
            f"{workers} workers of {_gb(each)} in {work.dtype} and the command's own {_gb(own)} need "
            f"{_gb(workers * each + own)}, and the machine has {_gb(there.host * SPARE)} to spare: "
            + (f"give at most {most} --workers" if most else "describe more --memory, or leave --engine ray out")
        )
    return work.on_cores(there, workers, asked.cpus)


def _on_gpus(work: PlannedWork, there: Machine, asked: Asked) -> PlacedWorkers:
    fewest = work.fewest(there)
    devices = asked.gpus or fewest or there.count
    if fewest is None or devices < fewest:
        instead = f"give --gpus-per-worker {fewest}" if fewest else "without --engine ray its weights are brought in"
        raise UsageError(
            f"a worker holds {_gb(work.held(GPU))} in {work.dtype}, and {devices} x {there.device} "
            f"{'has' if devices == 1 else 'have'} {_gb(devices * there.memory * SPARE)} to spare: {instead}"
        )
    workers = asked.workers or max(1, there.count // devices)
    _refuse_too_many(workers, devices, there.count, "GPUs", "--gpus-per-worker")
    if work.weights > there.host * SPARE:
        raise UsageError(
            f"the command itself holds the weights in memory too, {_gb(work.weights)} in {work.dtype}, and the machine "
            f"has {_gb(there.host * SPARE)} to spare: say how much there is (--memory 512GB)"
        )
    return work.on_gpus(there, workers, devices)


def _refuse_too_many(workers: int, each: int, held: int, kind: str, flag: str) -> None:
    if workers * each > held:
        raise UsageError(
            f"{workers} workers of {each} {kind} need {workers * each}, and there are {held}: give fewer --workers or "
            f"{flag}"
        )


def _most_beside_driver(work: PlannedWork, there: Machine) -> int:
    return max(0, int((there.host * SPARE - PROCESS - work.weights) // work.held_in_memory()))


def _gb(size: float) -> str:
    return f"{size / GB:,.1f} GB"
