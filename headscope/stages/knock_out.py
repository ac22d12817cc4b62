"""The knock-out stage: what a task loses when one head, or one FFN, is removed, on training documents.

Method 3.2. A unit is a shard of documents with every component removed in turn. Stored is the score `knock_out`, full
minus removed, by document: the gold continuation's log-likelihood (variant `log_likelihood`) and the metric (`metric`);
FFNs twice: at all positions, and with position 0 spared (`.../later`). By another ablation than zero it is called
`knock_out_mean` or `knock_out_resample`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ablation.knock_out import KnockOut, estimate_knock_out, knock_out
from ablation.statistics.by_cluster import by_cluster
from headscope.stages.cells import (
    Progress,
    TaskChoice,
    Tell,
    by_task_and_shots,
    cut_prompts,
    fingerprints,
    first,
    shards,
    text_length,
    title_of,
)
from headscope.stages.evaluation import check_ablation, check_references, replacement_for, way_of
from headscope.store.ahead import ahead
from headscope.store.comparisons import KnockOutVariant
from headscope.store.manifest import Stage
from headscope.store.scores import KNOCK_OUT
from headscope.store.writer import open_stage
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.replacement import Replacement
    from ablation.tasks import Task
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

SPLIT = "train"
SHARDS = {"head": 4, "ffn": 16}
PLACES = {"head": ("all",), "ffn": ("all", "later")}
OUTCOMES = ("log_likelihood", "metric")
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
    tasks: tuple[Task, ...] | None = None,
    progress: Tell | None = None,
) -> tuple[KnockedTask, ...]:
    """Remove every head, or every FFN, one at a time; `tasks` are the choice's training documents."""
    stage = knockout_stage(choice, component, ablation)
    loaded = choice.tasks(SPLIT) if tasks is None else tasks
    check_references(choice, loaded, ablation)
    counter = Progress(sum(len(task.documents) for task in loaded), progress)
    with open_stage(model, folder, stage) as run:
        run.record(documents=fingerprints(loaded), cut=cut_prompts(model, loaded))
        ahead(run.units, (partial(_asked, model, run, task, choice, component, ablation) for task in loaded))
        groups = by_task_and_shots(loaded).values()
        return tuple(_measured(model, run, draws, choice, component, ablation, counter) for draws in groups)


def _measured(
    model: HookedModel,
    run: RunWriter,
    draws: Sequence[Task],
    choice: TaskChoice,
    component: str,
    ablation: str,
    counter: Progress,
) -> KnockedTask:
    """One task and number of shots: the draws of its demonstrations side by side."""
    knock_outs = []
    for task in draws:
        replacement = replacement_for(model, choice, task, ablation, seed=choice.seed)
        pieces = list(_pieces(model, run, task, component, replacement, counter))
        made: Any = {"component": component, "ablation": ablation, "positions": PLACES[component]}
        knock_outs.append(KnockOut.assembled(model, task, pieces, **made))
    for outcome in OUTCOMES:
        for positions in PLACES[component]:
            _store(run, knock_outs, draws, outcome=outcome, positions=positions, ablation=ablation)
    loss = torch.cat([draw.differences() for draw in knock_outs]).mean(0)
    return KnockedTask(draws[0].name, draws[0].shots, sum(len(draw.documents) for draw in knock_outs), _worst(loss))


def _asked(model: HookedModel, run: RunWriter, task: Task, choice: TaskChoice, component: str, ablation: str) -> None:
    """Every unit of a task, for an engine."""
    replacement = replacement_for(model, choice, task, ablation, seed=choice.seed)
    list(_pieces(model, run, task, component, replacement, Progress(0)))


def _pieces(
    model: HookedModel, run: RunWriter, task: Task, component: str, replacement: Replacement | None, counter: Progress
) -> Iterator[dict[str, Tensor]]:
    """What every shard of the task loses, from the store where it is there."""
    for shard in shards(task, SHARDS[component]):
        key = {"component": component, "documents": shard.fingerprint, "ablation": way_of(replacement)}
        within = None if counter.tell is None else counter.within(len(shard.documents), title_of(task))
        compute = partial(_knocked, model, shard, component, replacement, within)
        yield run.units.get_or_compute({"what": KNOCK_OUT, **key}, compute, size=text_length(shard))
        counter.add(len(shard.documents), title_of(task))


def _knocked(
    model: HookedModel, shard: Task, component: str, replacement: Replacement | None, within: Any
) -> dict[str, Tensor]:
    part = knock_out(
        model,
        shard,
        component=component,
        limit=len(shard.documents),
        positions=PLACES[component],
        replacement=replacement,
        progress=within,
    )
    return part.pieces()


def _store(
    run: RunWriter,
    knock_outs: Sequence[KnockOut],
    draws: Sequence[Task],
    *,
    outcome: str,
    positions: str,
    ablation: str,
) -> None:
    """One score of one task and number of shots, item by item."""
    from interp.scores import FFNScores, HeadScores

    items = torch.cat([draw.differences(outcome=outcome, positions=positions) for draw in knock_outs])
    named = [draw.items(outcome) for draw in knock_outs]
    columns: dict[str, Any] = {
        "document": [name for names, _ in named for name in names],
        "cluster": [name for _, clusters in named for name in clusters],
        "demo_seed": [task.seed for task, (names, _) in zip(draws, named, strict=True) for _ in names],
    }
    variant = str(KnockOutVariant(outcome, "" if positions == "all" else positions))
    name = KNOCK_OUT if ablation == "zero" else f"{KNOCK_OUT}_{ablation}"
    score: HeadScores | FFNScores = (
        FFNScores.from_items(name, items, variant=variant)
        if items.dim() == 2
        else HeadScores.from_items(name, items, variant=variant, n_kv_heads=knock_outs[0].n_kv_heads)
    )
    task = draws[0]
    run.add_scores(by_cluster(score, columns["cluster"]), task=task.name, shots=task.shots, item_columns=columns)


def _worst(loss: Tensor, count: int = 3) -> tuple[tuple[str, float], ...]:
    """The components whose removal costs most."""
    flat = loss.flatten().nan_to_num(nan=-torch.inf)
    places = torch.sort(flat, descending=True, stable=True).indices[:count].tolist()
    named = [".".join(str(part) for part in np.unravel_index(at, tuple(loss.shape))) for at in places]
    return tuple((name, float(flat[at])) for name, at in zip(named, places, strict=True))


def estimated_seconds(model: HookedModel, tasks: Sequence[Task], component: str) -> float:
    """The trial's seconds a token, times the tokens of all tasks; the trial is the task with the longest prompts."""
    tokens = [tokens_of(model, first(task, TRIAL)) * len(task.documents) for task in tasks]
    longest = max(range(len(tasks)), key=lambda place: tokens[place])
    trial = first(tasks[longest], TRIAL)
    estimate = estimate_knock_out(model, trial, component=component, limit=len(trial.documents))
    return estimate.seconds / (tokens_of(model, trial) * len(trial.documents)) * sum(tokens)


def tokens_of(model: HookedModel, task: Task) -> float:
    """Mean number of tokens of a document: the prompt once, and all choices."""
    documents = list(task.token_documents(model))
    return sum(len(d.context) + sum(map(len, d.choices)) for d in documents) / len(documents)
