"""The importance stage: each head's and FFN's importance to each task by gradient, on training documents.

Method 3.1.
1. One forward and one backward pass over a shard of documents is a unit.
2. The shards of all draws of the demonstrations make one score: `token`, `document` and `signed`, each document kept;
   with objective `choice` they are called `token/choice` and so on, and documents without a choice are left out.
3. Beside them `head_norm`, the mean length of what a head writes: a control of the comparison (Method 5).
With shuffled labels the scores are called `importance_shuffled`: what is left of a ranking when the demonstrations'
answers mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ablation.head_norm import NORM_DOCUMENTS, norm_unit
from ablation.importance import POSITIONS, Importance, facts, importance
from ablation.outcomes import with_choices
from headscope.stages.cells import (
    Progress,
    TaskChoice,
    Tell,
    by_task_and_shots,
    fingerprints,
    first,
    shards,
    shots_told,
    text_length,
    title_of,
    unlabelled_rows,
)
from headscope.store.ahead import ahead
from headscope.store.manifest import Stage
from headscope.store.scores import GROUPED, IMPORTANCE, NORM, SHUFFLED
from headscope.store.writer import open_stage
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.tasks import Task
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

SPLIT = "train"
NAMES = {"true": IMPORTANCE, "shuffled": SHUFFLED}


@dataclass(frozen=True)
class RankedTask:
    """What was done for one task and number of shots: documents, mean gold log-likelihood, cut prompts."""

    task: str
    shots: int
    documents: int
    log_likelihood: float
    cut: int


def importance_stage(
    choice: TaskChoice, *, objective: str = "sum", normalise: str = "uniform", frozen_norm: bool = False
) -> Stage:
    """The manifest's entry."""
    protocol = choice.protocol | ({"frozen_norm": True} if frozen_norm else {})
    unusual = {"labels": choice.labels if choice.labels != "true" else None}
    unusual["objective"] = objective if objective != "sum" else None
    unusual["normalise"] = normalise if normalise != "uniform" else None
    options = {"shots": list(choice.shots), **{name: value for name, value in unusual.items() if value is not None}}
    return Stage("importance", protocol, seed=choice.seed, tasks=choice.names, options=options)


def measure_importance(
    model: HookedModel,
    folder: str | Path,
    choice: TaskChoice,
    *,
    tasks: tuple[Task, ...] | None = None,
    objective: str = "sum",
    normalise: str = "uniform",
    frozen_norm: bool = False,
    progress: Tell | None = None,
) -> tuple[RankedTask, ...]:
    """Score heads and FFNs for every task and number of shots; `tasks` are the choice's training documents.

    objective: what is differentiated, `sum` or `choice`. Raises UsageError for `choice` where a task has none to make.
    """
    check_normalise(normalise)
    check_objective(objective)
    given = choice.tasks(SPLIT) if tasks is None else tasks
    loaded, left_out = choosing(model, given) if objective == "choice" else (given, {})
    how: dict[str, Any] = {"objective": objective, "frozen_norm": frozen_norm}
    stage = importance_stage(choice, normalise=normalise, **how)
    counter = Progress(sum(len(task.documents) for task in loaded), progress)
    with open_stage(model, folder, stage) as run:
        run.record(unlabelled=unlabelled_rows(loaded))
        run.record(documents=fingerprints(loaded), data={task.name: task.data for task in loaded})
        run.record(without_choice=left_out)
        ahead(run.units, (partial(_asked, model, run, task, how) for task in loaded))
        ranked = [
            _rank(model, run, draws, how, normalise=normalise, counter=counter)
            for draws in by_task_and_shots(loaded).values()
        ]
        if note := facts(model, frozen_norm=frozen_norm).get("post_norm"):
            run.record(post_norm=note)
        run.record(cut={f"{task.task}, {shots_told(task.shots)}": task.cut for task in ranked if task.cut})
    return tuple(ranked)


def variant_of(positions: str, objective: str) -> str:
    """The name of a stored variant: `signed`, `signed/choice`."""
    return positions if objective == "sum" else f"{positions}/{objective}"


def check_normalise(name: str) -> None:
    """Raises UsageError for an unknown normalisation, before anything is run."""
    from ablation.names import NORMALISATIONS

    if name not in NORMALISATIONS:
        raise UsageError(f"{name!r} is no normalisation; there are {', '.join(NORMALISATIONS)} (--normalise)")


def check_objective(name: str) -> None:
    """Raises UsageError for an unknown objective, before anything is run."""
    from ablation.names import OBJECTIVES

    if name not in OBJECTIVES:
        raise UsageError(f"{name!r} is no objective; there are {', '.join(OBJECTIVES)} (--objective)")


def choosing(model: HookedModel, tasks: Sequence[Task]) -> tuple[tuple[Task, ...], dict[str, list[str]]]:
    """The tasks' documents that have a choice to make, and a sentence for each of the others, by task.

    Raises UsageError for a task none of whose documents has one.
    """
    found = [(task, *with_choices(task, model)) for task in tasks]
    for task, kept, reasons in found:
        if not kept.documents:
            raise UsageError(
                f"no document of {task.name} has a choice to make ({reasons[0]}): leave the task out (--tasks), or "
                "take --objective sum"
            )
    return tuple(kept for _, kept, _ in found), {title_of(task): list(told) for task, _, told in found if told}


def _rank(
    model: HookedModel, run: RunWriter, draws: Sequence[Task], how: dict[str, Any], *, normalise: str, counter: Progress
) -> RankedTask:
    """All scores of one task and number of shots, from the units of all its draws."""
    units = [unit for task in draws for unit in _units(model, run, task, how, counter)]
    documents = [(task.seed, document) for task in draws for document in task.documents]
    columns: dict[str, Any] = {
        "document": [document.id for _, document in documents],
        "cluster": [document.cluster for _, document in documents],
        "demo_seed": [seed for seed, _ in documents],
    }
    named: dict[str, Any] = {"documents": columns["document"], "clusters": columns["cluster"]}
    importance = Importance.assembled(units, objective=how["objective"], **named)
    columns |= {
        "length": importance.lengths.tolist(),
        "target_length": importance.target_lengths.tolist(),
        "log_likelihood": importance.log_likelihoods.tolist(),
    }
    ranked = draws[0]
    _store(run, importance, ranked, normalise=normalise, columns=columns)
    if ranked.labels == "true":
        _store_norm(model, run, ranked)
    cut = sum(int((unit["cut"] > 0).sum()) for unit in units)
    return RankedTask(ranked.name, ranked.shots, len(documents), float(importance.log_likelihoods.mean()), cut)


def _units(
    model: HookedModel, run: RunWriter, task: Task, how: dict[str, Any], counter: Progress
) -> Iterator[dict[str, Tensor]]:
    for shard in shards(task):
        key = {"what": "importance", "documents": shard.fingerprint, "frozen_norm": how["frozen_norm"]}
        key |= {"objective": how["objective"]} if how["objective"] != "sum" else {}
        yield run.units.get_or_compute(key, partial(_unit, model, shard, how), size=text_length(shard))
        counter.add(len(shard.documents), title_of(task))


def _asked(model: HookedModel, run: RunWriter, task: Task, how: dict[str, Any]) -> None:
    """Every unit of a task, for an engine."""
    list(_units(model, run, task, how, Progress(0)))


def _unit(model: HookedModel, shard: Task, how: dict[str, Any]) -> dict[str, Tensor]:
    documents = list(shard.token_documents(model))
    cut = torch.tensor([document.dropped + document.trimmed for document in documents])
    return {"cut": cut, **importance(model, shard, **how).pieces()}


def _store(run: RunWriter, importance: Importance, task: Task, *, normalise: str, columns: dict[str, Any]) -> None:
    """`token`, `document` and `signed`, uniformly normalised and as it was asked for; the first of kv groups too."""
    name = NAMES[task.labels]
    where: dict[str, Any] = {"task": task.name, "shots": task.shots, "item_columns": columns}
    for way in dict.fromkeys(("uniform", normalise)):
        for positions in POSITIONS:
            run.add_scores(replace(importance.heads(positions=positions, normalise=way), name=name), **where)
            if way != "layer_l2":
                run.add_scores(replace(importance.ffns(positions=positions, normalise=way), name=name), **where)
    if name == IMPORTANCE and importance.group_token.shape[-1] < importance.head_token.shape[-1]:
        for positions in POSITIONS:
            run.add_scores(
                replace(importance.group_heads(positions=positions), name=GROUPED), task=task.name, shots=task.shots
            )


def _store_norm(model: HookedModel, run: RunWriter, ranked: Task) -> None:
    from interp.scores import HeadScores

    task = first(ranked, NORM_DOCUMENTS)
    key = {"what": NORM, "documents": task.fingerprint}
    unit = run.units.get_or_compute(key, lambda: {"norm": norm_unit(model, list(task.token_documents(model)))})
    columns = {"document": [d.id for d in task.documents], "cluster": [d.cluster for d in task.documents]}
    score = HeadScores.from_items(NORM, unit["norm"], n_kv_heads=model.n_kv_heads)
    run.add_scores(score, task=task.name, shots=task.shots, item_columns=columns)
