"""Where a model can stand: by hand, at the edges of memory, and in the time that a planner may take."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ablation.engine.likelihood import default_budget
from docs.known_shapes import configurations, shape
from headscope.plan.calibration import measured_flops
from headscope.plan.placement import (
    DISK,
    GB,
    HOST_LINK,
    REACHED,
    SPARE,
    PlacedWorkers,
    PlannedWork,
    devices,
    machine,
    parse_bytes,
    placements,
)
from headscope.plan.shapes import Shape, known_shape, known_shapes
from interp.errors import UsageError
from tests.headscope.commands import command, done, refused

# What the makers of these models say of their size, in millions.
PUBLISHED = {
    "gpt2": 124,
    "facebook/opt-125m": 125,
    "facebook/opt-66b": 66_000,
    "EleutherAI/pythia-12b": 11_846,
    "meta-llama/Llama-3.1-8B": 8_030,
    "Qwen/Qwen3-0.6B": 596,
    "google/gemma-3-270m": 268,
    "allenai/OLMo-2-1124-7B": 7_299,
}


def planned(model: str, device: str, tokens: float = 1e6, **there: float) -> list[PlacedWorkers]:
    known = known_shape(model)
    assert known is not None
    operations = 2.0 * (known.parameters - known.embedding_parameters) * tokens
    kind = "float32" if device == "cpu" else "bfloat16"
    described = machine(device, dtype=kind, **there)  # type: ignore[arg-type]
    return placements(PlannedWork(known, kind, tokens, operations), described)


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_have_the_published_sizes(name: str) -> None:
    found = known_shape(name.upper())
    assert found is not None and found.parameters / 1e6 == pytest.approx(PUBLISHED[name], rel=0.005)


@pytest.mark.parametrize("name", ["facebook/opt-125m", "openai-community/gpt2", "Qwen/Qwen3-0.6B"])
def test_a_shape_is_the_models(name: str) -> None:
    assert known_shapes()[name.lower()] == (name, Shape(**shape(dict(configurations())[name])))


def test_a_model_that_fits_stands_on_every_gpu() -> None:
    (found,) = planned("gpt2", "a100", gpus=8)
    assert (found.workers, found.devices, found.bytes_read) == (8, 1, 0.0)
    rate = devices()["a100"]["teraflops"] * 1e12 * REACHED
    assert found.hours == pytest.approx(2 * 124_439_808 * 1e6 / rate / 8 / 3600)


def test_a_model_over_three_gpus_uses_them_in_turn() -> None:
    """Its weights alone would stand on two: a gradient's 1,024 tokens do not fit beside them."""
    (found,) = planned("facebook/opt-66b", "h100", gpus=8)
    assert (found.workers, found.devices) == (2, 3) and 2 * 80 * GB * SPARE < found.held < 3 * 80 * GB * SPARE


@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_batches_are_the_engines_own(place: str) -> None:
    """A vocabulary of 50,272 takes its share of a GPU's 8,192 tokens."""
    model = SimpleNamespace(hf=torch.nn.Linear(1, 1), device=torch.device(place), vocab_size=50_272)
    there = {"cpu": {"cores": 4, "host": 64 * GB}, "cuda": {"gpus": 1}}[place]
    found = planned("facebook/opt-125m", "cpu" if place == "cpu" else "h100", **there)
    assert {one.batch for one in found} == {default_budget(model)} == {1024 if place == "cpu" else 2669}  # type: ignore[arg-type]


def test_half_precision_on_cores_is_as_fast_as_measured() -> None:
    """The last column of the precision table of docs/scaling.md: times over float32's."""
    page = (Path(__file__).parents[3] / "docs" / "scaling.md").read_text(encoding="utf-8")
    whole = machine("cpu", cores=1, host=GB, dtype="float32").flops
    for dtype in ("bfloat16", "float16"):
        (row,) = re.findall(rf"^\| {dtype} \|.*\| ([0-9.]+) \|$", page, flags=re.MULTILINE)
        assert whole / machine("cpu", cores=1, host=GB, dtype=dtype).flops == pytest.approx(float(row))


def test_weights_stream_from_memory_or_disk_where_no_gpus_hold_them() -> None:
    rich, poor = (planned("facebook/opt-66b", "rtx4090", host=host * GB) for host in (256.0, 64.0))
    assert ["memory" in one.name for one in rich] == [True, False] and ["disk" in one.name for one in poor] == [True]
    weights, batches = 65_719_701_504 * 2, 1e6 / 2669
    assert poor[0].bytes_read == pytest.approx(weights * batches)
    assert poor[0].hours == pytest.approx(weights * batches / DISK / 3600), "the disk sets the pace"
    assert rich[0].hours is not None and rich[0].hours >= weights * batches / HOST_LINK / 3600


def test_nothing_fits_where_nothing_does() -> None:
    assert planned("facebook/opt-66b", "h100", gpu_memory=0.2 * GB) == []


def test_cores_share_memory() -> None:
    found = planned("facebook/opt-1.3b", "cpu", cores=16, host=64.0 * GB)
    driver = 4 * 1_315_758_080  # beside several workers the command itself holds the weights too
    assert {one.workers > 1 for one in found} == {True, False}
    assert all(one.held * one.workers + (driver if one.workers > 1 else 0) <= 64 * GB * SPARE for one in found)
    assert [one.device_hours for one in found] == sorted(one.device_hours for one in found)


def test_a_measured_speed_replaces_the_data_sheet() -> None:
    known = known_shape("gpt2")
    assert known is not None
    (found,) = placements(PlannedWork(known, "bfloat16", 7.2e6, 1e20, speed=1000.0), machine("h100", gpus=2))
    assert found.hours == pytest.approx(1.0)


def test_matrix_products_are_timed() -> None:
    assert measured_flops(64, "float32", rows=8, seconds=0.0) > 1e6


@pytest.mark.parametrize(("text", "size"), [("80GB", 80e9), ("1.5 tb", 1.5e12), ("512MiB", 512 * 2**20)])
def test_amounts_of_memory(text: str, size: float) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["80", "GB", "0GB", "80 parsecs", "-1GB"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(UsageError, match="write, for example, 80GB"):
        parse_bytes(text)


def test_the_command_without_a_network() -> None:
    shown = done("plan", "facebook/opt-66b", "--device", "h100", "--gpus", 8).out
    assert "65,720 million parameters" in shown and "a model over 3 GPUs" in shown
    told = json.loads(done("plan", "facebook/opt-66b", "--gpu-memory", "80GB", "--gpus", 8, "--json").out)
    assert told["placements"][0]["workers"] == 2 and told["placements"][0]["hours"] is None
    assert "nothing fits" in done("plan", "facebook/opt-66b", "--gpu-memory", "100MB").out
    refused(command("plan", "facebook/opt-66b", "--gpu-memory", "80"), "'80' is no amount of memory")
    refused(command("plan", "facebook/opt-66b", "--device", "tpu"), "'tpu' is not a value of --device")


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


LARGE = {
    "8 x 80 GB": ("--device", "h100", "--gpus", "8", "--memory", "1TB"),
    "24 GB and a disk": ("--device", "rtx4090", "--memory", "64GB"),
    "64 cores": ("--device", "cpu", "--cores", "64", "--memory", "512GB"),
}


@pytest.mark.slow
@pytest.mark.parametrize("where", LARGE.values(), ids=list(LARGE))
def test_it_takes_under_three_seconds_and_no_torch(where: tuple[str, ...], tmp_path: Path) -> None:
    """CPU seconds, in a process of its own with a home that has no cache and no network; the better of two."""
    asked = ["plan", "facebook/opt-66b", *where]
    code = (
        f"import sys; sys.argv = ['headscope', *{asked!r}]\nfrom headscope.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\nassert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    taken = []
    for _ in range(2):
        start = cpu_seconds_of_children()
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.DEVNULL)
        taken.append(cpu_seconds_of_children() - start)
    assert min(taken) < 3
