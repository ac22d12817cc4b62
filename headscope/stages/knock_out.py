"""The knock-out stage: what a task loses when one head, or one FFN, is removed, on training documents.

METHODS 3.2. A unit is a shard of documents with every component removed in turn. Stored is the score `knock_out`, full
minus removed, by document: the gold continuation's log-likelihood (variant `log_likelihood`) and the metric (`metric`);
FFNs twice: at all positions, and with position 0 spared (`.../later`). By another ablation than zero it is called
`knock_out_mean` or `knock_out_resample`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ablation.statistics.by_cluster import by_cluster
from headscope.stages.cells import Cell, Progress, TaskChoice, Tell, by_task_and_shots, cut_prompts, fingerprints
from headscope.stages.evaluation import ablated, check_ablation, check_references
from headscope.store.comparisons import KnockOutVariant
from headscope.store.manifest import Stage
from headscope.store.writer import open_stage
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.knock_out import KnockOut
    from ablation.tasks import Task
    from headscope.stages.evaluation import Ablated
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

SPLIT = "train"
SHARDS = {"head": 4, "ffn": 16}
KNOCK_OUT = "knock_out"
TRIAL = 16


@dataclass(frozen=True)
class KnockedTask:
    """What one task and number of shots gave: the components whose removal costs most, in nats."""

    task: str
    shots: int
    documents: int
    worst: tuple[tuple[str, float], ...]


def knockout_stage(choice: TaskChoice, component: str, ablation: str) -> Stage:
    """The manifest's entry; heads and FFNs have a protocol each."""
    if component not in SHARDS:
        raise UsageError(f"{component!r} can't be knocked out; there are head and ffn (--component)")
    check_ablation(ablation)
    options = {"shots": list(choice.shots), "ablation": ablation}
    command = f"knockout --component {component}"
    return Stage(command, choice.protocol, seed=choice.seed, tasks=choice.names, options=options)


def measure_knock_out(
    model: HookedModel,
    folder: str | Path,
    choice: TaskChoice,
    *,
    component: str,
    ablation: str = "zero",
    cells: tuple[Cell, ...] | None = None,
    progress: Tell | None = None,
) -> tuple[KnockedTask, ...]:
    """Remove every head, or every FFN, one at a time; `cells` are the choice's training documents."""
    stage = knockout_stage(choice, component, ablation)
    held = choice.cells(SPLIT) if cells is None else cells
    check_references(choice, held, ablation)
    told = Progress(sum(len(cell.task.documents) for cell in held), progress)
    with open_stage(model, folder, stage) as run:
        run.record(documents=fingerprints(held), cut=cut_prompts(model, held))
        groups = by_task_and_shots(held).values()
        return tuple(_measured(model, run, group, choice, component, ablation, told) for group in groups)


def _measured(
    model: HookedModel,
    run: RunWriter,
    group: Sequence[Cell],
    choice: TaskChoice,
    component: str,
    ablation: str,
    told: Progress,
) -> KnockedTask:
    """One task and number of shots: the draws of its demonstrations side by side."""
    found = []
    for cell in group:
        how = ablated(model, choice, cell, ablation, seed=choice.seed)
        found.append(_cell(model, run, cell, component, how, told))
    first = group[0].task
    for outcome, positions in _wanted(component):
        _store(run, found, group, outcome=outcome, positions=positions, ablation=ablation)
    loss = torch.cat([one.differences() for one in found]).mean(0)
    return KnockedTask(first.name, first.shots, sum(len(one.documents) for one in found), _worst(loss))


def _wanted(component: str) -> list[tuple[str, str]]:
    places = ("all", "later") if component == "ffn" else ("all",)
    return [(outcome, positions) for outcome in ("log_likelihood", "metric") for positions in places]


def _cell(model: HookedModel, run: RunWriter, cell: Cell, component: str, how: Ablated, told: Progress) -> KnockOut:
    """All shards of one cell, put together."""
    units = []
    for shard in cell.shards(SHARDS[component]):
        place = {"component": component, "documents": shard.fingerprint, "ablation": [how.name, how.told]}
        within = told.within(len(shard.documents), cell.name)
        compute = partial(_unit, model, shard, component, how, within)
        units.append(run.units.get_or_compute({"what": KNOCK_OUT, **place}, compute))
        told.add(len(shard.documents), cell.name)
    return _joined(model, cell.task, component, how.name, units)


def _unit(model: HookedModel, shard: Task, component: str, how: Ablated, within: Any) -> dict[str, Tensor]:
    from ablation.knock_out import knock_out

    documents = list(shard.token_documents(model))
    found = knock_out(
        model, documents, component=component, limit=len(documents), replacement=how.make(), progress=within
    )
    return {"plain": torch.from_numpy(found.plain), "removed": torch.from_numpy(found.removed)}


def _joined(
    model: HookedModel, task: Task, component: str, ablation: str, units: Sequence[dict[str, Tensor]]
) -> KnockOut:
    from ablation.knock_out import KnockOut, all_removals

    documents = list(task.token_documents(model))
    counts = tuple(len(document.choices) for document in documents)
    ends = np.cumsum(counts)[:-1]
    plain = torch.cat([unit["plain"] for unit in units]).numpy()
    removed = torch.cat([unit["removed"] for unit in units], dim=1).numpy()
    score = task.score(np.split(plain, ends))
    return KnockOut(
        component=component,
        ablation=ablation,
        removals=all_removals(model, component),
        documents=tuple(d.id for d in documents),
        clusters=tuple(d.cluster for d in documents),
        gold=tuple(d.gold for d in documents),
        choices=counts,
        plain=plain,
        removed=removed,
        plain_metric=score.values,
        metric=np.stack([task.score(np.split(row, ends)).values for row in removed]),
        units=score.units,
        unit_clusters=score.clusters,
        grid=(model.n_layers,) if component == "ffn" else (model.n_layers, model.n_heads),
        n_kv_heads=model.n_kv_heads,
    )


def _store(
    run: RunWriter, found: Sequence[KnockOut], group: Sequence[Cell], *, outcome: str, positions: str, ablation: str
) -> None:
    """One score of one task and number of shots, item by item."""
    from interp.scores import FFNScores, HeadScores

    items = torch.cat([one.differences(outcome=outcome, positions=positions) for one in found])
    by_unit = outcome == "metric"
    columns: dict[str, Any] = {
        "document": [name for one in found for name in (one.units if by_unit else one.documents)],
        "cluster": [name for one in found for name in (one.unit_clusters if by_unit else one.clusters)],
        "demo_seed": [
            cell.demo_seed
            for cell, one in zip(group, found, strict=True)
            for _ in (one.units if by_unit else one.documents)
        ],
    }
    variant = str(KnockOutVariant(outcome, "" if positions == "all" else positions))
    name = KNOCK_OUT if ablation == "zero" else f"{KNOCK_OUT}_{ablation}"
    score: HeadScores | FFNScores = (
        FFNScores.from_items(name, items, variant=variant)
        if items.dim() == 2
        else HeadScores.from_items(name, items, variant=variant, n_kv_heads=found[0].n_kv_heads)
    )
    task = group[0].task
    run.add_scores(by_cluster(score, columns["cluster"]), task=task.name, shots=task.shots, item_columns=columns)


def _worst(loss: Tensor, count: int = 3) -> tuple[tuple[str, float], ...]:
    """The components whose removal costs most."""
    flat = loss.flatten().nan_to_num(nan=-torch.inf)
    places = torch.sort(flat, descending=True, stable=True).indices[:count].tolist()
    named = [".".join(str(part) for part in np.unravel_index(place, tuple(loss.shape))) for place in places]
    return tuple((name, float(flat[place])) for name, place in zip(named, places, strict=True))


def estimated_seconds(model: HookedModel, cells: Sequence[Cell], component: str) -> float:
    """The trial's seconds a token, times the tokens of all cells; the trial is the cell with the longest prompts."""
    from ablation.knock_out import estimate_knock_out

    tokens = [tokens_of(model, cell.first(TRIAL)) * len(cell.task.documents) for cell in cells]
    longest = max(range(len(cells)), key=lambda place: tokens[place])
    trial = cells[longest].first(TRIAL)
    found = estimate_knock_out(model, trial.task, component=component, limit=len(trial.task.documents))
    return found.seconds / (tokens_of(model, trial) * len(trial.task.documents)) * sum(tokens)


def tokens_of(model: HookedModel, cell: Cell) -> float:
    """Mean number of tokens of a document: the prompt once, and all choices."""
    documents = list(cell.task.token_documents(model))
    return sum(len(d.context) + sum(map(len, d.choices)) for d in documents) / len(documents)
