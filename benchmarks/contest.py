"""Tokens that the contest runs, beside those that have to be run, and those of a plain loop over its sets.

    python benchmarks/contest.py [--model smollm2-135m] [--tasks probe_pattern,probe_capitals] [--documents 8]

A token through one block counts 1 / layers; every block is counted by a hook while the contest runs its removals.
1. What has to be run: of each different removal at all positions, every different beginning of a document once, from
   the lowest block of the set on; of one at the last position, that position and the answers behind it. And the whole
   model once.
2. The plain loop runs every choice of every document from the first block on, under each removal.
All tasks are taken, whatever the model learns of them. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from side_by_side import row, tokens_to_run

import headscope.stages.contest as stage
import interp
from ablation.contest import RemovedSet
from headscope.stages.cells import TaskChoice
from headscope.stages.induction import measure_induction


@contextmanager
def counted(model: interp.HookedModel) -> Iterator[list[int]]:
    """Tokens by block, one entry a call."""
    seen: list[int] = []

    def count(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        stream = args[0] if args else kwargs["hidden_states"]
        seen.append(stream.shape[0] * stream.shape[1])

    with ExitStack() as stack:
        for layer in range(model.n_layers):
            block = model.layout.block(model.hf, layer)
            stack.callback(block.register_forward_pre_hook(count, with_kwargs=True).remove)
        yield seen


def least(model: interp.HookedModel, task: Any, wanted: Sequence[RemovedSet]) -> float:
    """Tokens through the whole model that have to be run for a task."""
    inputs, behind = [], 0
    for document in task.token_documents(model):
        own = [(*c, *y[:-1]) for c, y in zip(document.contexts, document.choices, strict=True)]
        inputs += own
        behind += 1 + tokens_to_run([y[:-1] for y in document.choices])
    every = tokens_to_run(inputs)
    total = float(every)
    for heads, _, _, positions in {(o.heads.heads, o.heads.dose, o.ablation, o.positions) for o in wanted}:
        begin = min((layer for layer, _ in heads), default=model.n_layers)
        total += (1 - begin / model.n_layers) * (every if positions == "all" else behind)
    return total


def loop(model: interp.HookedModel, task: Any, wanted: Sequence[RemovedSet]) -> float:
    """Tokens of the plain loop."""
    rows = [
        len(c) + len(y) - 1 for d in task.token_documents(model) for c, y in zip(d.contexts, d.choices, strict=True)
    ]
    return float(sum(rows) * (1 + len(wanted)))


def main(*given: str) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tasks", default="probe_pattern,probe_capitals")
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--controls", type=int, default=3)
    asked = parser.parse_args(given)
    torch.set_num_threads(1)
    model = interp.load_model(asked.model, check=False)
    tasks = tuple(asked.tasks.split(","))
    choice = TaskChoice(tasks, shots=(0, asked.shots), limit=asked.documents, demos="fixed")
    found: dict[str, float] = {"run": 0.0, "least": 0.0, "loop": 0.0}
    sets = 0
    whole = stage.contest_task

    def measured(model: interp.HookedModel, task: Any, wanted: Sequence[RemovedSet], *args: Any, **more: Any) -> Any:
        nonlocal sets
        sets = len(wanted)
        found["least"] += least(model, task, wanted)
        found["loop"] += loop(model, task, wanted)
        with counted(model) as seen:
            result = whole(model, task, wanted, *args, **more)
        found["run"] += sum(seen) / model.n_layers
        return result

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(stage, "learnt_tasks", return_value=tasks),
        mock.patch.object(stage, "contest_task", measured),
    ):
        measure_induction(model, Path(folder) / "run", protocol="quick", sequences=4)
        stage.measure_contest(model, Path(folder) / "run", choice, stage.ContestChoice(controls=asked.controls))
    what = f"contest, {len(tasks)} tasks, {sets} removals: times the tokens that have to be run"
    rows = [row(what, [found["run"] / found["least"]], limit=1.0, peers={"plain loop": found["loop"] / found["least"]})]
    told = {"benchmark": "contest", "model": asked.model, "documents": asked.documents, "removals": sets}
    print(json.dumps({**told, "tokens": found, "rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
