"""What `headscope plan` says of two commands beside what they take: peak memory of a process of its own, and CPU time.

`importance` (a gradient) and `knockout --component ffn` (an evaluation) on the model that comes with headscope and two
with random weights. Times are CPU seconds of one thread, over those of the command with one document: a plan leaves
out what a command takes whatever is asked. Before each the speed of a forward pass is timed anew.

    python benchmarks/plan.py [--shapes smollm2-135m,gpt2-like,wide-ffn] [--documents 16] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

TASK, SHOTS = "probe_capitals", 5
COMMANDS = ("importance", "knockout")
KNOCKED = 4  # a knock-out removes every FFN twice: fewer documents say as much
SIZES: dict[str, dict[str, Any]] = {
    "gpt2-like": {"model_type": "gpt2", "n_embd": 512, "n_layer": 18, "n_head": 8, "vocab_size": 65_536},
    "wide-ffn": {
        "model_type": "llama",
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "intermediate_size": 3072,
        "vocab_size": 49_152,
    },
    "small": {
        "model_type": "llama",
        "hidden_size": 256,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 1024,
        "vocab_size": 49_152,
    },
}


@dataclass(frozen=True)
class Compared:
    """One command on one shape. Memory in bytes, time in CPU seconds; the ratios are of planned over real."""

    shape: str
    command: str
    planned_memory: float
    memory: float
    planned_seconds: float
    seconds: float

    @property
    def of_memory(self) -> float:
        return self.planned_memory / self.memory

    @property
    def of_seconds(self) -> float:
        return self.planned_seconds / self.seconds


def model_of(shape: str, folder: Path) -> str:
    """The model's name, or the folder that one of random weights is written to, with the other's tokenizer."""
    if shape not in SIZES:
        return shape
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from interp import load_model

    torch.manual_seed(0)
    hf = AutoModelForCausalLM.from_config(AutoConfig.for_model(**SIZES[shape]))
    hf.save_pretrained(folder / shape)
    load_model("smollm2-135m", check=False).tokenizer.save_pretrained(folder / shape)
    return str(folder / shape)


def compared(shape: str, command: str, *, documents: int, rounds: int) -> Compared:
    """In a process of its own, whose peak is the command's."""
    with tempfile.TemporaryDirectory() as folder:
        asked = [model_of(shape, Path(folder)), command, str(documents), str(rounds)]
        done = subprocess.run([sys.executable, __file__, "--one", *asked], check=True, capture_output=True, text=True)  # noqa: S603
    return Compared(shape, command, **json.loads(done.stdout.splitlines()[-1]))


def one(source: str, command: str, documents: int, rounds: int) -> dict[str, float]:
    """Peak memory of a first run, then times; between them the speed that the plan asks for."""
    import torch

    from headscope.plan.cost import speed
    from headscope.stages.cells import TaskChoice
    from interp import load_model

    torch.set_num_threads(1)
    model = load_model(source, device="cpu", dtype="float32", check=False)
    choice = TaskChoice((TASK,), (SHOTS,), limit=documents if command == "importance" else documents // KNOCKED)
    run = runs(command)
    run(model, choice)
    held = memory_high_water()
    planned_memory, tokens = planned(model, command, choice)
    planned_seconds, taken = [], []
    for _ in range(rounds):
        planned_seconds.append(tokens / speed(model, clock=time.process_time))
        whole, least = (cpu_seconds(run, model, replace(choice, limit=limit)) for limit in (choice.limit, 1))
        taken.append(whole - least)
    return {
        "planned_memory": planned_memory,
        "memory": held,
        "planned_seconds": median(planned_seconds),
        "seconds": median(taken),
    }


def cpu_seconds(run: Callable[..., Any], *asked: Any) -> float:
    start = time.process_time()
    run(*asked)
    return time.process_time() - start


def planned(model: Any, command: str, choice: Any) -> tuple[float, float]:
    """Bytes of the process, and tokens through the whole model."""
    from headscope.plan.budget import NAMED
    from headscope.plan.cost import GRADIENT, plan_study
    from headscope.plan.placement import CPU, in_memory, planned_work

    found = plan_study(model.hf.config, model.tokenizer, choice, NAMED["small"])
    work, (cell,) = planned_work(found, "float32"), found.cells
    times, batch = (GRADIENT, work.gradient) if command == "importance" else (1 + model.n_layers, work.knock_out)
    return in_memory(work.weights, batch(CPU)), (choice.limit - 1) * cell.unit * times


def memory_high_water() -> float:
    """The most this program has held, in bytes; what started it does not count."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return float(line.split()[1]) * 1024


def runs(command: str) -> Callable[..., Any]:
    from functools import partial

    from headscope.stages.importance import measure_importance
    from headscope.stages.knock_out import measure_knock_out

    stage = measure_importance if command == "importance" else partial(measure_knock_out, component="ffn")

    def run(model: Any, choice: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            stage(model, Path(folder) / "run", choice)

    return run


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        source, command, documents, rounds = sys.argv[2:]
        print(json.dumps(one(source, command, int(documents), int(rounds))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="smollm2-135m,gpt2-like,wide-ffn")
    parser.add_argument("--documents", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for shape in arguments.shapes.split(","):
        for command in COMMANDS:
            found = compared(shape, command, documents=arguments.documents, rounds=arguments.rounds)
            print(told(found), flush=True)


def told(found: Compared) -> str:
    return (
        f"{found.shape}, {found.command}: memory {found.planned_memory / 1e9:.2f} GB planned, {found.memory / 1e9:.2f} "
        f"taken ({found.of_memory:.2f}); {found.planned_seconds:.1f} CPU seconds planned, {found.seconds:.1f} taken "
        f"({found.of_seconds:.2f})"
    )


if __name__ == "__main__":
    main()
