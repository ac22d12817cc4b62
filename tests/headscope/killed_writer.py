"""A writer to be killed (forking.py): a stage of six units, with a table after every second one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from headscope.store.manifest import Stage
from headscope.store.writer import begin_stage
from interp.scores import HeadScores
from tests.headscope.forking import serve

UNITS = 6
IDENTITY = {"source": "tiny", "weight_hash": "00ff", "dtype": "float32"}
STAGE = Stage("induction", "quick", seed=3, versions={"torch": "1"})


def unit(number: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    return {"per_item": torch.rand(4, 3, 2, generator=generator)}


def work(folder: Path) -> None:
    with begin_stage(folder, IDENTITY, STAGE) as writer:
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
            "task": name,
            "shots": 0,
            "demo_seed": 0,
            "component": "head",
            "order": "own",
            "order_seed": 0,
            "ablation": "zero",
            "percent_heads": [0.0, 10.0],
            "percent_ffns": 0.0,
            "removed_heads": [0, 27],
            "removed_ffns": 0,
            "metric": "acc",
            "value": value,
            "stderr": 0.1,
            "n": 10,
        }
    )


if __name__ == "__main__":
    serve(work)
