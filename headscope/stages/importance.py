"""The importance stage: each head's and FFN's importance to each task by gradient, on training documents.

METHODS 3.1.
1. One forward and one backward pass over a shard of documents is a unit.
2. The shards of all draws of the demonstrations make one score: `token`, `document` and `signed`, each document kept.
3. Beside them `head_norm`, the mean length of what a head writes: a control of the comparison (METHODS 5).
With shuffled labels the scores are called `importance_shuffled`: what is left of a ranking when the demonstrations'
answers mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ablation.head_norm import NORM_DOCUMENTS, norm_unit
from ablation.statistics.by_cluster import by_cluster
from headscope.stages.cells import Cell, Progress, TaskChoice, Tell, by_task_and_shots, fingerprints, shots_told
from headscope.store.manifest import Stage
from headscope.store.writer import open_stage
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.importance import Importance
    from ablation.tasks import Task
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

TENSORS = (
    "head_token",
    "head_plain",
    "group_token",
    "ffn_token",
    "ffn_plain",
    "log_likelihoods",
    "lengths",
    "target_lengths",
)
SPLIT = "train"
NAMES = {"true": "importance", "shuffled": "importance_shuffled"}
NORM = "head_norm"


@dataclass(frozen=True)
class RankedTask:
    """What was done for one task and number of shots: documents, mean gold log-likelihood, cut prompts."""

    task: str
    shots: int
    documents: int
    log_likelihood: float
    cut: int


def importance_stage(choice: TaskChoice, *, normalise: str = "uniform", frozen_norm: bool = False) -> Stage:
    """The manifest's entry."""
    protocol = choice.protocol | ({"frozen_norm": True} if frozen_norm else {})
    told = {"labels": choice.labels if choice.labels != "true" else None}
    told["normalise"] = normalise if normalise != "uniform" else None
    options = {"shots": list(choice.shots), **{name: value for name, value in told.items() if value is not None}}
    return Stage("importance", protocol, seed=choice.seed, tasks=choice.names, options=options)


def measure_importance(
    model: HookedModel,
    folder: str | Path,
    choice: TaskChoice,
    *,
    cells: tuple[Cell, ...] | None = None,
    normalise: str = "uniform",
    frozen_norm: bool = False,
    progress: Tell | None = None,
) -> tuple[RankedTask, ...]:
    """Score heads and FFNs for every task and number of shots; `cells` are the choice's training documents."""
    from ablation.importance import facts

    check_normalise(normalise)
    held = choice.cells(SPLIT) if cells is None else cells
    stage = importance_stage(choice, normalise=normalise, frozen_norm=frozen_norm)
    told = Progress(sum(len(cell.task.documents) for cell in held), progress)
    with open_stage(model, folder, stage) as run:
        run.record(documents=fingerprints(held), data={cell.task.name: cell.task.data for cell in held})
        ranked = [
            _rank(model, run, group, normalise=normalise, frozen_norm=frozen_norm, told=told)
            for group in by_task_and_shots(held).values()
        ]
        if note := facts(model, frozen_norm=frozen_norm).get("post_norm"):
            run.record(post_norm=note)
        run.record(cut={f"{one.task}, {shots_told(one.shots)}": one.cut for one in ranked if one.cut})
    return tuple(ranked)


def check_normalise(name: str) -> None:
    """Raises UsageError for an unknown normalisation, before anything is run."""
    from ablation.importance import NORMALISATIONS

    if name not in NORMALISATIONS:
        raise UsageError(f"{name!r} is no normalisation; there are {', '.join(NORMALISATIONS)} (--normalise)")


def _rank(
    model: HookedModel, run: RunWriter, group: Sequence[Cell], *, normalise: str, frozen_norm: bool, told: Progress
) -> RankedTask:
    """All scores of one task and number of shots, from the units of all its draws."""
    units = [unit for cell in group for unit in _units(model, run, cell, frozen_norm, told)]
    documents = [(cell.demo_seed, document) for cell in group for document in cell.task.documents]
    found = _joined(units, [document.id for _, document in documents])
    first = group[0].task
    columns = {
        "document": [document.id for _, document in documents],
        "cluster": [document.cluster for _, document in documents],
        "demo_seed": [seed for seed, _ in documents],
        "length": found.lengths.tolist(),
        "target_length": found.target_lengths.tolist(),
        "log_likelihood": found.log_likelihoods.tolist(),
    }
    _store(run, found, first, normalise=normalise, columns=columns)
    if first.labels == "true":
        _store_norm(model, run, group[0])
    cut = sum(int((unit["cut"] > 0).sum()) for unit in units)
    return RankedTask(first.name, first.shots, len(documents), float(found.log_likelihoods.mean()), cut)


def _units(
    model: HookedModel, run: RunWriter, cell: Cell, frozen_norm: bool, told: Progress
) -> list[dict[str, Tensor]]:
    units = []
    for shard in cell.shards():
        key = {"what": "importance", "documents": shard.fingerprint, "frozen_norm": frozen_norm}
        units.append(run.units.get_or_compute(key, partial(_unit, model, shard, frozen_norm)))
        told.add(len(shard.documents), cell.name)
    return units


def _unit(model: HookedModel, shard: Task, frozen_norm: bool) -> dict[str, Tensor]:
    from ablation.importance import importance

    documents = list(shard.token_documents(model))
    found = importance(model, documents, frozen_norm=frozen_norm)
    cut = torch.tensor([document.dropped + document.trimmed for document in documents])
    return {"cut": cut, **{name: getattr(found, name) for name in TENSORS}}


def _joined(units: Sequence[dict[str, Tensor]], documents: Sequence[str]) -> Importance:
    from ablation.importance import Importance

    whole: dict[str, Any] = {name: torch.cat([unit[name] for unit in units]) for name in TENSORS}
    return Importance(**whole, documents=tuple(documents))


def _store(run: RunWriter, found: Importance, task: Task, *, normalise: str, columns: dict[str, Any]) -> None:
    """`token`, `document` and `signed`, by the uniform normalisation and by another that was asked for."""
    from ablation.importance import POSITIONS

    name = NAMES[task.labels]
    place: dict[str, Any] = {"task": task.name, "shots": task.shots, "item_columns": columns}
    for way in dict.fromkeys(("uniform", normalise)):
        for positions in POSITIONS:
            heads = replace(found.heads(positions=positions, normalise=way), name=name)
            run.add_scores(by_cluster(heads, columns["cluster"]), **place)
            if way != "layer_l2":
                ffns = replace(found.ffns(positions=positions, normalise=way), name=name)
                run.add_scores(by_cluster(ffns, columns["cluster"]), **place)


def _store_norm(model: HookedModel, run: RunWriter, cell: Cell) -> None:
    from interp.scores import HeadScores

    task = cell.first(NORM_DOCUMENTS).task
    key = {"what": NORM, "documents": task.fingerprint}
    unit = run.units.get_or_compute(key, lambda: {"norm": norm_unit(model, list(task.token_documents(model)))})
    columns = {"document": [d.id for d in task.documents], "cluster": [d.cluster for d in task.documents]}
    score = HeadScores.from_items(NORM, unit["norm"], n_kv_heads=model.n_kv_heads)
    run.add_scores(score, task=task.name, shots=task.shots, item_columns=columns)
