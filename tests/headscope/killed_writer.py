"""A writer to be killed: run as a script, it imports everything once, then forks a child for every line on stdin.

Each child does the same stage of work into the folder that the line names: six units, a table after every second one.
The pid goes to stdout when the work begins, "done" when it has ended. The folder's state, and not the child, knows what
was finished.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from headscope.run import Run
from headscope.store.manifest import Stage
from interp.scores import HeadScores

UNITS = 6
IDENTITY = {"source": "tiny", "weight_hash": "00ff", "dtype": "float32"}
STAGE = Stage("induction", "quick", seed=3, versions={"torch": "1"})


def unit(number: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    return {"per_item": torch.rand(4, 3, 2, generator=generator)}


def work(folder: Path) -> None:
    with Run.create(folder, IDENTITY, STAGE) as writer:
        for number in range(UNITS):
            found = writer.units.get_or_compute({"number": number}, lambda number=number: unit(number))
            if number % 2:
                name = f"score_{number}"
                writer.add_scores(HeadScores.from_items(name, found["per_item"], n_kv_heads=1))
                writer.add_metrics(metrics(name, float(found["per_item"].mean())))
        writer.add_classes(np.array([["copying", ""]] * 3))


def metrics(name: str, value: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": name, "shots": 0, "demo_seed": 0, "component": "head", "order": "own", "order_seed": 0,
            "ablation": "zero", "percent_heads": [0.0, 10.0], "percent_ffns": 0.0, "removed_heads": [0, 27],
            "removed_ffns": 0, "metric": "acc", "value": value, "stderr": 0.1, "n": 10,
        }
    )  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(Path(line.strip()))
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print("done" if status == 0 else f"status {status}", flush=True)


if __name__ == "__main__":
    main()
