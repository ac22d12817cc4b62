"""Where a model can stand: how many workers of how many devices, what fits beside the weights, and how long it takes.

1. A worker holds the weights, what a batch keeps on its way, and the logits of some tokens. What it needs beyond the
   weights sets its batch.
2. One device holds a model, or several do (one after the other: accelerate's map), or weights are brought in for every
   batch from the machine's memory or from its disk. Workers on cores share its memory with the command itself, which
   holds the weights too.
3. A batch takes as long as its arithmetic, or as bringing the weights in, whichever is longer. Workers share the units.
4. The cheapest placement is the one with the fewest device hours; of these the fastest.
Arithmetic is the data sheet's, times the share of it that is reached: `REACHED`, an assumption, which a speed that was
measured replaces. Links and disks are those of today's servers, and are printed. Left out: how long loading takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from headscope.plan.shapes import GRADIENT_VALUES, WIDTHS, Shape
from interp.errors import UsageError

DEVICES = Path(__file__).with_name("devices.json")
GB = 1e9
REACHED = 0.3
CORE_FLOPS = 40e9  # float32, of a core with AVX2 or AVX-512 in matrix products
HALF_ON_CPU = 1.4  # bfloat16 where the processor has instructions for it
HOST_LINK = 25 * GB  # PCI Express 4.0 x16, of 32 in theory
DISK = 3 * GB  # an NVMe drive reading large files
SPARE = 0.9  # of a device's memory; the rest is the context, the allocator and fragments
LOGIT_TOKENS = 1024  # whose logits are held at once, in float32
LEAST_BATCH, MOST_BATCH = 256, 65_536
CORES_A_WORKER = 4
CPU = "cpu"
FROM_MEMORY, FROM_DISK = "weights from memory", "weights from disk"  # brought in for each batch


@dataclass(frozen=True)
class Machine:
    """What there is. device: a GPU by name, `gpu` (of a memory that was given), or `cpu`.

    flops: of one GPU or core, 0 if unknown. rate: where they are from.
    memory: of one device, in bytes; host: the machine's.
    """

    device: str
    count: int
    memory: float
    host: float
    flops: float
    disk: float = DISK
    rate: str = ""

    @property
    def told(self) -> str:
        """`8 x h100 of 80 GB`."""
        if self.device == CPU:
            return f"{self.count} cores, {self.host / GB:.0f} GB of memory"
        return f"{self.count} x {self.device} of {self.memory / GB:.0f} GB, {self.host / GB:.0f} GB of memory"


@dataclass(frozen=True)
class PlacedWorkers:
    """One way to put the model on the machine. devices: of one worker. batch: its tokens. hours: None if unknown.

    held: bytes of one worker on its devices (on the CPU: of memory), at the gradient's batch.
    """

    name: str
    workers: int
    devices: int
    batch: int
    held: float
    hours: float | None
    bytes_read: float = 0.0

    @property
    def device_hours(self) -> float:
        return 0.0 if self.hours is None else self.hours * self.workers * self.devices


@cache
def devices() -> dict[str, dict[str, Any]]:
    """The devices that are known by name."""
    return dict(json.loads(DEVICES.read_text(encoding="utf-8")))


def device_names() -> tuple[str, ...]:
    return (*devices(), CPU)


def machine(
    device: str | None,
    *,
    gpus: int = 1,
    gpu_memory: float | None = None,
    cores: int | None = None,
    host: float | None = None,
    half: bool = True,
) -> Machine:
    """What a person says there is; cores and memory are this machine's where they are not said.

    Raises UsageError for a GPU without a name and without a memory.
    """
    memory = this_memory() if host is None else host
    if device == CPU:
        count = this_cores() if cores is None else cores
        flops = CORE_FLOPS * (HALF_ON_CPU if half else 1.0)
        rate = f"{flops / 1e9:.0f} gigaflops a core (assumed; --calibrate times this machine's)"
        return Machine(CPU, count, memory, memory, flops, rate=rate)
    known = devices().get(device or "")
    if known is None and gpu_memory is None:
        raise UsageError(f"say which GPUs: --device {', '.join(devices())}, or their memory (--gpu-memory 80GB)")
    held = known["memory_gb"] * GB if known is not None and gpu_memory is None else gpu_memory
    sheet = "teraflops" if half else "teraflops_float32"
    flops = known[sheet] * 1e12 * REACHED if known is not None else 0.0
    rate = f"{REACHED:.0%} of the data sheet's speed (assumed; --speed replaces it)" if known is not None else ""
    return Machine(device or "gpu", gpus, float(held or 0), memory, flops, rate=rate)


def this_memory() -> float:
    import os

    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def this_cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def placements(work: PlannedWork, there: Machine, *, one: bool = False) -> list[PlacedWorkers]:
    """All that fit, the cheapest first. one: in one process, without workers."""
    found = list(_fitting(work, there, one))
    return sorted(found, key=lambda placed: (placed.device_hours, placed.hours or 0.0, placed.workers * placed.devices))


def _fitting(work: PlannedWork, there: Machine, one: bool) -> Iterator[PlacedWorkers]:
    if there.device == CPU:
        yield from _on_cores(work, there, one)
        return
    whole = work.fewest(there)
    if whole is not None:
        yield work.on_gpus(there, 1 if one else there.count // whole, whole)
    for name, room, link in ((FROM_MEMORY, there.host * SPARE, HOST_LINK), (FROM_DISK, float("inf"), there.disk)):
        if whole is None and work.weights <= room:
            batch = work.streamed_batch(there.memory * SPARE)
            if batch:
                yield work.placed(name, 1, 1, batch, there.flops, link=link)


def _on_cores(work: PlannedWork, there: Machine, one: bool) -> Iterator[PlacedWorkers]:
    """As many workers of four cores as memory holds, one worker of all cores, or weights from disk."""
    for cores in dict.fromkeys((there.count if one else min(CORES_A_WORKER, there.count), there.count)):
        workers = there.count // cores
        while workers > 1 and not work.batch_on_cores(there, workers, driver=True):
            workers -= 1
        if workers * cores <= there.count // 2:
            continue  # memory would leave most cores idle
        if work.batch_on_cores(there, workers, driver=workers > 1):
            yield work.on_cores(there, workers, cores, driver=workers > 1)
    if not work.batch(there.host * SPARE) and (batch := work.streamed_batch(there.host * SPARE)):
        yield work.placed(FROM_DISK, 1, there.count, batch, there.flops * there.count, link=there.disk)


@dataclass(frozen=True)
class PlannedWork:
    """A study of one model in one dtype. speed: tokens a second of one worker, in place of the machine's operations."""

    shape: Shape
    dtype: str
    tokens: float
    operations: float
    speed: float | None = None

    @property
    def width(self) -> int:
        return WIDTHS[self.dtype]

    @property
    def weights(self) -> float:
        return float(self.shape.parameters * self.width)

    @property
    def fixed(self) -> float:
        """Logits, whatever the batch."""
        return float(LOGIT_TOKENS * self.shape.vocabulary * 4)

    @property
    def kept(self) -> float:
        """Bytes that a gradient keeps of a token."""
        return float(GRADIENT_VALUES * self.shape.d_model * self.shape.layers * self.width)

    @property
    def kept_streamed(self) -> float:
        """The same where each block is run again in the backward pass: one block's, and every block's input."""
        return float((GRADIENT_VALUES + self.shape.layers) * self.shape.d_model * self.width)

    def batch(self, room: float) -> int:
        """The tokens of a batch beside the weights; 0 where they do not fit."""
        return _power_of_two((room - self.weights - self.fixed) / self.kept)

    def streamed_batch(self, room: float) -> int:
        """The same beside two blocks of weights, the one in work and the next."""
        blocks = 2 * self.weights / max(1, self.shape.layers)
        return _power_of_two((room - blocks - self.fixed) / self.kept_streamed)

    def held(self, batch: int) -> float:
        """What a worker holds, weights and all."""
        return self.weights + self.fixed + batch * self.kept

    def fewest(self, there: Machine) -> int | None:
        """The fewest GPUs that hold a worker."""
        return next((n for n in range(1, there.count + 1) if self.batch(n * there.memory * SPARE)), None)

    def on_gpus(self, there: Machine, workers: int, devices: int) -> PlacedWorkers:
        name = "a model on each GPU" if devices == 1 else f"a model over {devices} GPUs (--device auto)"
        return self.placed(name, workers, devices, self.batch(devices * there.memory * SPARE), there.flops)

    def batch_on_cores(self, there: Machine, workers: int, *, driver: bool) -> int:
        """Of each, in the machine's memory. driver: whether the command itself stands beside them, with its weights."""
        return self.batch((there.host * SPARE - (self.weights if driver else 0.0)) / workers)

    def on_cores(self, there: Machine, workers: int, cores: int, *, driver: bool) -> PlacedWorkers:
        batch = self.batch_on_cores(there, workers, driver=driver)
        return self.placed(f"{workers} x {cores} cores", workers, cores, batch, there.flops * cores)

    def placed(
        self, name: str, workers: int, devices: int, batch: int, flops: float, *, link: float | None = None
    ) -> PlacedWorkers:
        """link: bytes a second at which weights come in, None where they stay."""
        held = self.held(batch)
        if link is not None:
            held = self.fixed + batch * self.kept_streamed + 2 * self.weights / max(1, self.shape.layers)
        batches = self.tokens / batch
        read = 0.0 if link is None else batches * self.weights
        if self.speed is not None:
            seconds = self.tokens / self.speed
        elif flops:
            seconds = self.operations / flops
        else:
            return PlacedWorkers(name, workers, devices, batch, held, None, read)
        if link is not None:
            seconds = max(seconds, read / link)
        return PlacedWorkers(name, workers, devices, batch, held, seconds / workers / 3600, read)


def _power_of_two(tokens: float) -> int:
    """The largest power of two that is no more, within the least and the most a batch holds."""
    if tokens < LEAST_BATCH:
        return 0
    batch = LEAST_BATCH
    while 2 * batch <= min(tokens, MOST_BATCH):
        batch *= 2
    return batch


def parse_bytes(text: str) -> float:
    """`80GB`, `1.5 TB`, `512MiB` -> bytes. Raises UsageError for anything else."""
    import re

    units = {"mb": 1e6, "gb": 1e9, "tb": 1e12, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40, "g": 1e9}
    found = re.fullmatch(r"\s*([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*([A-Za-z]{1,3})\s*", text)
    if found is None or found[2].lower() not in units or float(found[1]) == 0:
        raise UsageError(f"{text!r} is no amount of memory: write, for example, 80GB or 512MiB")
    return float(found[1]) * units[found[2].lower()]
