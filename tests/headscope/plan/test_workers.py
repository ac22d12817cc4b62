"""headscope plan --engine ray: workers that fit, by hand, and what does not; a core's share of the machine's speed."""

from __future__ import annotations

import json

import pytest
import torch

from ablation.batch_sizes import GRADIENT_TOKENS
from headscope.plan import calibration
from headscope.plan.placement import (
    CORE_FLOPS,
    CPU,
    GB,
    HEAP,
    LOGIT_COPIES,
    PROCESS,
    REACHED,
    Machine,
    PlacedWorkers,
    PlannedWork,
    devices,
    machine,
)
from headscope.plan.shapes import Shape, known_shape
from headscope.plan.workers import Asked, all_held, workers_placed
from interp.errors import UsageError
from tests.headscope.commands import command, done, refused

TOKENS = 1e6
BRIEF = ("--tasks", "probe_pattern", "--shots", "0")
EIGHT = ("--cpus-per-worker", 8)
CORES = ("--device", CPU, "--cores", 64, "--memory", "256GB")
GPUS = ("--device", "h100", "--gpus", 8, "--memory", "1TB")


def shape_of(model: str) -> Shape:
    found = known_shape(model)
    assert found is not None
    return found


def work_of(model: str, dtype: str, speed: float | None = None) -> PlannedWork:
    shape = shape_of(model)
    return PlannedWork(shape, dtype, TOKENS, 2.0 * (shape.parameters - shape.embedding_parameters) * TOKENS, speed)


def cores(count: int, memory: float) -> Machine:
    return machine(CPU, cores=count, host=memory * GB, dtype="float32")


def test_each_worker_has_its_own_cores() -> None:
    """Twice the workers or twice the cores a worker: half the hours."""
    work = work_of("gpt2", "float32")

    def hours(workers: int, cpus: int) -> float:
        found = workers_placed(work, cores(64, 256), Asked(workers, cpus=cpus))
        assert found.hours is not None and (found.workers, found.devices) == (workers, cpus)
        return found.hours

    assert hours(4, 2) == pytest.approx(work.operations / (8 * CORE_FLOPS) / 3600)
    assert hours(8, 2) == pytest.approx(hours(4, 2) / 2) == pytest.approx(hours(4, 4))


def test_memory_of_workers_and_driver() -> None:
    """The process, the weights and a gradient's batch of the size that importance runs; the driver's weights beside."""
    work, there = work_of("facebook/opt-1.3b", "float32"), cores(64, 64)
    found = workers_placed(work, there, Asked(4, cpus=4))
    weights, kept = 4 * 1_315_758_080, 2_329_856 + work.logits * 50_272 * 4 * LOGIT_COPIES
    assert found.held == pytest.approx(PROCESS + weights + HEAP * GRADIENT_TOKENS * kept)
    assert all_held(work, there, found) == pytest.approx(4 * found.held + PROCESS + weights) and found.batch == 1024


def test_as_many_as_fit_where_nobody_says_how_many() -> None:
    work, there = work_of("facebook/opt-1.3b", "float32"), cores(64, 64)
    most = workers_placed(work, there, Asked())
    workers_placed(work, there, Asked(most.workers))
    with pytest.raises(UsageError, match=rf"give at most {most.workers} --workers"):
        workers_placed(work, there, Asked(most.workers + 1))
    assert workers_placed(work_of("gpt2", "float32"), cores(6, 64), Asked(cpus=4)).workers == 1, "of six cores"


def test_gpus_hold_whole_models() -> None:
    work, there = work_of("facebook/opt-66b", "bfloat16"), machine("h100", gpus=8, host=1000 * GB)

    def found(**asked: int) -> PlacedWorkers:
        return workers_placed(work, there, Asked(**asked))

    assert (found().workers, found().devices) == (2, 3) and (found(gpus=4).workers, found(gpus=4).devices) == (2, 4)
    rate = devices()["h100"]["teraflops"] * 1e12 * REACHED
    assert found(workers=1, gpus=3).hours == pytest.approx(work.operations / rate / 3600)
    assert all_held(work, there, found()) == PROCESS + work.weights, "the driver's"


@pytest.mark.parametrize(
    ("where", "asked", "words"),
    [
        (CORES, ("--workers", 40, "--cpus-per-worker", 2), "40 workers of 2 cores need 80, and there are 64"),
        (CORES, ("--workers", 2), "2 workers of 301.3 GB in float32 and the command's own 263.5 GB need 866.0"),
        (CORES, ("--gpus-per-worker", 1), "--gpus-per-worker 1 is of GPUs"),
        (GPUS, ("--workers", 3, "--gpus-per-worker", 3), "3 workers of 3 GPUs need 9, and there are 8"),
        (GPUS, ("--gpus-per-worker", 2), "2 x h100 have 144.0 GB to spare: give --gpus-per-worker 3"),
        ((*GPUS[:4], "--memory", "100GB"), ("--workers", 2), "the machine has 90.0 GB to spare: say how much there is"),
        (("--gpu-memory", "10GB"), ("--workers", 1), "1 x gpu has 9.0 GB to spare: without --engine ray"),
    ],
)
def test_what_does_not_fit_is_refused(where: tuple[object, ...], asked: tuple[object, ...], words: str) -> None:
    refused(command("plan", "facebook/opt-66b", *BRIEF, *where, "--engine", "ray", *asked), words)


def test_options_that_do_not_go_together() -> None:
    refused(command("plan", "gpt2", "--workers", 3), "--workers is of --engine ray")
    refused(command("plan", "gpt2", "--speed", 3, "--calibrate"), "give one of them")
    refused(
        command("plan", "gpt2", *BRIEF, "--device", "h100", "--calibrate"),
        "--calibrate times what is here, and h100 is not",
    )


def test_the_command_says_what_workers_hold() -> None:
    where = ("--device", CPU, "--cores", 8, "--memory", "32GB")
    shown = done("plan", "facebook/opt-125m", *BRIEF, *where, "--engine", "ray", "--workers", 3).out
    assert "workers and the command itself hold" in shown and "of the machine's 32 GB of memory" in shown
    (ray,) = placements("--engine", "ray", "--workers", 3, "--cpus-per-worker", 2)
    (alone,) = placements("--engine", "local")
    assert (ray["workers"], ray["devices"]) == (3, 2) and (alone["workers"], alone["devices"]) == (1, 8)
    assert ray["hours"] == pytest.approx(alone["hours"] * 8 / 6)


def placements(*asked: object) -> list[dict[str, float]]:
    where = ("--device", CPU, "--cores", 8, "--memory", "32GB")
    return list(json.loads(done("plan", "facebook/opt-125m", *BRIEF, *where, *asked, "--json").out)["placements"])


def test_a_calibrated_worker_has_its_cores_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The products were timed with all threads: eight workers of a core are no faster than one of eight."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(calibration, "measured_flops", lambda *_: 80e9 * threads)
    eight, one = (placements("--engine", "ray", "--workers", *each, "--calibrate") for each in ((8,), (1, *EIGHT)))
    assert eight[0]["hours"] == pytest.approx(one[0]["hours"])
    (assumed,) = placements("--engine", "ray", "--workers", 8)
    assert eight[0]["hours"] == pytest.approx(assumed["hours"] * CORE_FLOPS / (calibration.PRODUCTS * 80e9))
    told = json.loads(done("plan", "facebook/opt-125m", *BRIEF, "--calibrate", "--json").out)
    whole = calibration.PRODUCTS * 80e9 * threads / (told["operations"] / told["total"])
    assert told["seconds"] == pytest.approx(told["total"] / whole), "one process, with all threads"
