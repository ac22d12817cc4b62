"""Where a model can stand: how many workers of how many devices, what fits beside the weights, and how long it takes.

1. A worker holds the weights, what a batch keeps on its way, and the logits of some tokens. Batches are those that the
   commands run (ablation/batch_sizes.py): where they do not fit, neither does the worker.
2. One device holds a model, or several do (one after the other: accelerate's map), or weights are brought in for every
   batch from the machine's memory or from its disk. Workers on cores share its memory with the command itself, which
   holds the weights too. In memory the process itself counts, and freed blocks that its heap can't give back
   (`PROCESS`, `HEAP`: fitted to what `benchmarks/plan.py` measures).
3. A batch takes as long as its arithmetic, or as bringing the weights in, whichever is longer. Workers share the units.
4. The cheapest placement is the one with the fewest device hours; of these the fastest.
Arithmetic is the data sheet's, times the share of it that is reached: `REACHED`, an assumption, which a speed that was
measured replaces. Links and disks are those of today's servers, and are printed. Left out: how long loading takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ablation.batch_sizes import GRADIENT_TOKENS, evaluation_tokens
from headscope.plan.cost import GRADIENT, Plan
from headscope.plan.shapes import WIDTHS, Shape
from interp.errors import UsageError

DEVICES = Path(__file__).with_name("devices.json")
GB = 1e9
REACHED = 0.3
CORE_FLOPS = 40e9  # float32, of a core with AVX2 or AVX-512 in matrix products
ON_CPU = {"bfloat16": 1 / 0.40, "float16": 1 / 3.72}  # speed over float32's, as benchmarks/precision.py measured
HOST_LINK = 25 * GB  # PCI Express 4.0 x16, of 32 in theory
DISK = 3 * GB  # an NVMe drive reading large files
SPARE = 0.9  # of a device's memory; the rest is the context, the allocator and fragments
LOGIT_COPIES = 3  # of a gradient: logits, their log-probabilities and what arrives at them
PROCESS = 0.61 * GB  # Python, torch, the libraries and the tasks
HEAP = 1.3  # what batches take on the CPU over what they hold
CORES_A_WORKER = 4
CPU, GPU, OFFLOADED = "cpu", "gpu", "offloaded"
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
    """One way to put the model on the machine. devices: of one worker. hours: None if unknown.

    batch: tokens of an evaluation. held: bytes of one worker on its devices (on the CPU: of memory).
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
    dtype: str = "bfloat16",
) -> Machine:
    """What a person says there is; cores and memory are this machine's where they are not said.

    Raises UsageError for a GPU without a name and without a memory.
    """
    memory = this_memory() if host is None else host
    if device == CPU:
        count = this_cores() if cores is None else cores
        flops = CORE_FLOPS * ON_CPU.get(dtype, 1.0)
        rate = f"{flops / 1e9:.0f} gigaflops a core (assumed; --calibrate times this machine's)"
        return Machine(CPU, count, memory, memory, flops, rate=rate)
    known = devices().get(device or "")
    if known is None and gpu_memory is None:
        raise UsageError(f"say which GPUs: --device {', '.join(devices())}, or their memory (--gpu-memory 80GB)")
    held = known["memory_gb"] * GB if known is not None and gpu_memory is None else gpu_memory
    sheet = "teraflops" if dtype in ("bfloat16", "float16") else "teraflops_float32"
    flops = known[sheet] * 1e12 * REACHED if known is not None else 0.0
    rate = f"{REACHED:.0%} of the data sheet's speed (assumed; --speed replaces it)" if known is not None else ""
    return Machine(device or "gpu", gpus, float(held or 0), memory, flops, rate=rate)


def planned_work(found: Plan, dtype: str, speed: float | None = None) -> PlannedWork:
    """The plan's tokens, those of gradients among them, and the largest share of logits of its tasks."""
    logits = max(cell.choices / (cell.prompt + cell.choices) for cell in found.cells)
    ranked = found.tokens["importance"] / GRADIENT
    return PlannedWork(found.shape, dtype, found.total, found.operations, speed, ranked=ranked, logits=logits)


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


def in_memory(weights: float, batch: float) -> float:
    """Bytes of a process on the CPU."""
    return PROCESS + weights + HEAP * batch


def _fitting(work: PlannedWork, there: Machine, one: bool) -> Iterator[PlacedWorkers]:
    if there.device == CPU:
        yield from _on_cores(work, there, one)
        return
    whole = work.fewest(there)
    if whole is not None:
        yield work.on_gpus(there, 1 if one else there.count // whole, whole)
    for name, room, link in ((FROM_MEMORY, there.host * SPARE, HOST_LINK), (FROM_DISK, float("inf"), there.disk)):
        if whole is None and work.weights <= room and work.held(OFFLOADED) <= there.memory * SPARE:
            yield work.placed(name, 1, 1, OFFLOADED, there.flops, link=link)


def _on_cores(work: PlannedWork, there: Machine, one: bool) -> Iterator[PlacedWorkers]:
    """As many workers of four cores as memory holds, one worker of all cores, or weights from disk."""
    for cores in dict.fromkeys((there.count if one else min(CORES_A_WORKER, there.count), there.count)):
        workers = there.count // cores
        while workers > 1 and not work.fits_on_cores(there, workers, driver=True):
            workers -= 1
        if workers * cores <= there.count // 2:
            continue  # memory would leave most cores idle
        if work.fits_on_cores(there, workers, driver=workers > 1):
            yield work.on_cores(there, workers, cores)
    room = there.host * SPARE
    if work.held_in_memory() > room >= work.held_in_memory(OFFLOADED):
        flops = there.flops * there.count
        yield work.placed(FROM_DISK, 1, there.count, OFFLOADED, flops, link=there.disk, on_cores=True)


@dataclass(frozen=True)
class PlannedWork:
    """A study of one model in one dtype. speed: tokens a second of one worker, in place of the machine's operations.

    ranked: tokens that gradients run. logits: the share of tokens whose logits are wanted, at most.
    """

    shape: Shape
    dtype: str
    tokens: float
    operations: float
    speed: float | None = None
    ranked: float = 0.0
    logits: float = 0.5

    @property
    def width(self) -> int:
        return WIDTHS[self.dtype]

    @property
    def weights(self) -> float:
        return float(self.shape.parameters * self.width)

    @property
    def stream(self) -> float:
        """Bytes of a token in front of every block: what knock-outs store, and gradients that run blocks again."""
        return float(self.shape.d_model * self.shape.layers * self.width)

    @property
    def block(self) -> float:
        """Bytes that a gradient keeps of a token in one block: no less than a forward pass has at once."""
        return self.shape.kept_in(self.dtype) / max(1, self.shape.layers)

    def batch(self, where: str) -> int:
        """Tokens of an evaluation's batch; where: `cpu`, `gpu` or `offloaded`."""
        return evaluation_tokens(where, self.shape.vocabulary)

    @property
    def token_logits(self) -> float:
        """Bytes of the logits that a token of a batch stands for."""
        return self.logits * self.shape.vocabulary * WIDTHS["float32"]

    def gradient(self, where: str) -> float:
        """Bytes of a gradient's batch; blocks are run again where weights are offloaded."""
        kept = self.stream + self.block if where == OFFLOADED else self.shape.kept_in(self.dtype)
        return GRADIENT_TOKENS * (kept + LOGIT_COPIES * self.token_logits)

    def knock_out(self, where: str) -> float:
        """Bytes of a knock-out's batch; an evaluation needs less."""
        return self.batch(where) * (self.stream + self.block + self.token_logits)

    def resting(self, where: str) -> float:
        """Bytes of weights; of two blocks, the one in work and the next, where they are offloaded."""
        return self.weights if where != OFFLOADED else 2 * self.weights / max(1, self.shape.layers)

    def held(self, where: str) -> float:
        """Bytes of a worker: weights, and the largest batch."""
        return self.resting(where) + max(self.gradient(where), self.knock_out(where))

    def held_in_memory(self, where: str = CPU) -> float:
        """The same on the CPU."""
        return in_memory(self.resting(where), max(self.gradient(where), self.knock_out(where)))

    def fewest(self, there: Machine) -> int | None:
        """The fewest GPUs that hold a worker."""
        return next((n for n in range(1, there.count + 1) if self.held(GPU) <= n * there.memory * SPARE), None)

    def on_gpus(self, there: Machine, workers: int, devices: int) -> PlacedWorkers:
        name = "a model on each GPU" if devices == 1 else f"a model over {devices} GPUs (--device auto)"
        return self.placed(name, workers, devices, GPU, there.flops)

    def fits_on_cores(self, there: Machine, workers: int, *, driver: bool) -> bool:
        """In the machine's memory. driver: whether the command itself stands beside them, with its weights."""
        beside = PROCESS + self.weights if driver else 0.0
        return workers * self.held_in_memory() + beside <= there.host * SPARE

    def on_cores(self, there: Machine, workers: int, cores: int) -> PlacedWorkers:
        return self.placed(f"{workers} x {cores} cores", workers, cores, CPU, there.flops * cores, on_cores=True)

    def weight_passes(self, where: str) -> float:
        """How often all weights are brought in: once a batch, and once more on a gradient's way back."""
        others = max(0.0, self.tokens - GRADIENT * self.ranked)
        return others / self.batch(where) + 2 * self.ranked / GRADIENT_TOKENS

    def placed(
        self,
        name: str,
        workers: int,
        devices: int,
        where: str,
        flops: float,
        *,
        link: float | None = None,
        on_cores: bool = False,
    ) -> PlacedWorkers:
        """link: bytes a second at which weights come in, None where they stay."""
        held = self.held_in_memory(where) if on_cores else self.held(where)
        read = 0.0 if link is None else self.weight_passes(where) * self.weights
        found = PlacedWorkers(name, workers, devices, self.batch(where), held, None, read)
        if self.speed is not None:
            seconds = self.tokens / self.speed
        elif flops:
            seconds = self.operations / flops
        else:
            return found
        if link is not None:
            seconds = max(seconds, read / link)
        return replace(found, hours=seconds / workers / 3600)


def parse_bytes(text: str) -> float:
    """`80GB`, `1.5 TB`, `512MiB` -> bytes. Raises UsageError for anything else."""
    import re

    units = {"mb": 1e6, "gb": 1e9, "tb": 1e12, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40, "g": 1e9}
    found = re.fullmatch(r"\s*([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*([A-Za-z]{1,3})\s*", text)
    if found is None or found[2].lower() not in units or float(found[1]) == 0:
        raise UsageError(f"{text!r} is no amount of memory: write, for example, 80GB or 512MiB")
    return float(found[1]) * units[found[2].lower()]
