"""Where a planned study can stand: the machine that was described, its speed, and the placements as a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ablation.batch_sizes import GRADIENT_TOKENS
from headscope.cli.engines import LOCAL, RAY
from headscope.cli.terminal import show_table, status
from headscope.plan.placement import (
    CPU,
    DISK,
    FROM_DISK,
    FROM_MEMORY,
    GB,
    HOST_LINK,
    Machine,
    PlacedWorkers,
    PlannedWork,
    machine,
    placements,
    planned_work,
)
from headscope.plan.workers import Asked, all_held, workers_placed
from interp.errors import UsageError

if TYPE_CHECKING:
    from headscope.plan.cost import Plan
    from headscope.plan.shapes import Shape

LINKS = {
    FROM_MEMORY: f"{FROM_MEMORY} (--device auto): for each batch, {HOST_LINK / GB:.0f} GB a second",
    FROM_DISK: f"{FROM_DISK} (--device auto --offload-folder DIR): for each batch, {DISK / GB:.0f} GB a second",
}


@dataclass(frozen=True)
class Where:
    """The options that say where a study runs; None where they were not given. gpu_memory, memory: bytes."""

    device: str | None
    gpus: int
    gpu_memory: float | None
    cores: int | None
    memory: float | None
    dtype: str | None
    speed: float | None
    calibrate: bool
    engine: str | None
    asked: Asked

    def checked(self) -> Where:
        """Raises UsageError for options that do not go together."""
        if self.speed is not None and self.calibrate:
            raise UsageError("--speed says what --calibrate would measure: give one of them")
        if self.engine != RAY and (self.asked.workers or self.asked.gpus):
            flag = "--workers" if self.asked.workers else "--gpus-per-worker"
            raise UsageError(f"{flag} is of --engine ray: give it too, or leave {flag} out")
        return self

    @property
    def described(self) -> bool:
        """Whether there is a machine; Ray without one runs on this machine's cores."""
        return self.device is not None or self.gpu_memory is not None or self.engine is not None

    @property
    def on(self) -> str | None:
        """The device; cores where only an engine was named."""
        return self.device if self.device is not None or self.gpu_memory is not None or self.asked.gpus else CPU

    @property
    def numbers(self) -> str:
        """What a model runs in unless it is said: float32 on the CPU, bfloat16 on a GPU."""
        return self.dtype or ("float32" if not self.described or self.on == CPU else "bfloat16")


@dataclass(frozen=True)
class Placed:
    """The machine and the ways that fit, the cheapest first. driver: whether the command stands beside workers."""

    there: Machine
    work: PlannedWork
    ways: list[PlacedWorkers]
    driver: bool


def speed_of(where: Where, shape: Shape) -> float | None:
    """Tokens a second of one process: given, timed with all of this machine's threads, or None."""
    if not where.calibrate or (where.on != CPU and where.described):
        return where.speed
    from headscope.plan.calibration import measured_speed

    with status("timing matrix products"):
        return measured_speed(shape, where.numbers)


def placed(where: Where, found: Plan) -> Placed | None:
    """None where no machine was described. Raises UsageError for workers that do not fit."""
    if not where.described:
        return None
    there = machine(
        where.on,
        gpus=where.gpus,
        gpu_memory=where.gpu_memory,
        cores=where.cores,
        host=where.memory,
        dtype=where.numbers,
    )
    if where.calibrate:
        there = calibrated(there, found.shape, where.numbers)
    work = planned_work(found, where.numbers, where.speed)
    if where.engine == RAY:
        return Placed(there, work, [workers_placed(work, there, where.asked)], True)
    return Placed(there, work, placements(work, there, one=where.engine == LOCAL), False)


def calibrated(there: Machine, shape: Shape, dtype: str) -> Machine:
    """With the operations of a core, or of a GPU, as they were timed here. Raises UsageError for what is not here."""
    from headscope.plan.calibration import device_here, reached_flops

    if there.device not in (CPU, device_here()):
        raise UsageError(
            f"--calibrate times what is here, and {there.device} is not: leave it out, or give --speed, the tokens a "
            "second of one worker"
        )
    with status("timing matrix products"):
        flops = reached_flops(shape.d_model, dtype, "cpu" if there.device == CPU else "cuda")
    one = "core" if there.device == CPU else "GPU"
    return replace(there, flops=flops, rate=f"{flops / 1e9:,.0f} gigaflops a {one}, by matrix products timed here")


def show_placements(found: Placed) -> None:
    """The ways that fit, the cheapest first."""
    there, work = found.there, found.work
    if not found.ways:
        print(f"on {there.told}: nothing fits; the weights alone are {work.weights / GB:,.1f} GB in {work.dtype}")
        return
    spent = "core hours" if there.device == CPU else "device hours"
    heads = ("placement", "workers", "batch, tokens", "GB a worker", "hours", spent, "TB read")
    title = f"on {there.told}, in {work.dtype}" + ("" if found.driver else ", the cheapest first")
    show_table(title, heads, [cells(one) for one in found.ways])
    if found.driver:
        held = all_held(work, there, found.ways[0]) / GB
        who = "workers and the command itself hold" if there.device == CPU else "the command itself holds"
        print(f"{who} {held:,.1f} of the machine's {there.host / GB:,.0f} GB of memory")
    print(hours_by(found))


def cells(one: PlacedWorkers) -> tuple[str, ...]:
    return (
        one.name,
        str(one.workers),
        f"{one.batch:,}",
        f"{one.held / GB:,.1f}",
        "not known" if one.hours is None else f"{one.hours:,.2f}",
        "not known" if one.hours is None else f"{one.device_hours:,.2f}",
        f"{one.bytes_read / 1e12:,.1f}" if one.bytes_read else "",
    )


def hours_by(found: Placed) -> str:
    """What the hours stand on."""
    if found.ways[0].hours is None:
        return "hours are not known: name the GPU (--device), or give --speed"
    speed = found.work.speed
    rate = found.there.rate if speed is None else f"{speed:,.0f} tokens a second of a worker, as --speed says"
    batches = f"batches: {GRADIENT_TOKENS:,} tokens of gradients, those above of evaluations"
    return "\n".join([batches, f"hours: {rate}", *(LINKS[one.name] for one in found.ways if one.name in LINKS)])
