"""Two Ray workers of one thread beside one, on importance and on pruning: wall time, loading left out.

    python benchmarks/ray_workers.py [--model smollm2-135m] [--tasks ...] [--documents 20] [--workers 1,2]

Wall time, since workers are processes of their own: run it on a machine that nobody else uses, with a core a worker
and one more. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from side_by_side import row

import interp
from headscope.engine.ray import RayEngine, Resources, running
from headscope.stages.cells import TaskChoice
from headscope.stages.importance import measure_importance
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.store.manifest import versions

PRUNE = PruneChoice("head", ("own", "random"), percents=(0, 30, 60), draws=3)


def seconds(model: interp.HookedModel, source: str, choice: TaskChoice, workers: int, folder: Path) -> dict[str, float]:
    """Of each stage in a new run directory."""
    found: dict[str, float] = {}
    shutil.rmtree(folder, ignore_errors=True)
    identity = {name: value for name, value in model.identity().items() if name != "versions"}
    with running(RayEngine(source, {"check": False}, Resources(workers=workers, cpus=1))) as engine:
        engine.start({"identity": identity, "versions": versions()})
        for name, call in (
            ("importance", lambda: measure_importance(model, folder, choice)),
            ("prune", lambda: measure_pruning(model, folder, choice, PRUNE)),
        ):
            start = time.perf_counter()
            call()
            found[name] = time.perf_counter() - start
    return found


def main(*given: str) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tasks", default="probe_pattern,probe_capitals,probe_antonyms,probe_french")
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--workers", default="1,2")
    asked = parser.parse_args(given)
    torch.set_num_threads(1)
    model = interp.load_model(asked.model)
    choice = TaskChoice(tuple(asked.tasks.split(",")), (5,), limit=asked.documents, demos="fixed")
    counts = [int(count) for count in asked.workers.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        times = {count: seconds(model, asked.model, choice, count, Path(folder) / str(count)) for count in counts}
    fewest = min(counts)
    faster: dict[str, Any] = {
        f"{count} workers": {name: round(times[fewest][name] / value, 2) for name, value in times[count].items()}
        for count in counts
    }
    rows = [
        row(
            f"{name}, {count} Ray workers: times as fast as {fewest}",
            [times[fewest][name] / value],
            limit=count / fewest,
        )
        for count in counts
        if count != fewest
        for name, value in times[count].items()
    ]
    told = {"benchmark": "ray_workers", "model": asked.model, "seconds": times, "times_as_fast": faster}
    print(json.dumps({**told, "rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
