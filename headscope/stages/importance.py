"""The importance stage: each head's and FFN's importance to each task by gradient, on training documents.

Method 3.1.
1. One forward and one backward pass over a shard of documents is a unit.
2. The shards of all draws of the demonstrations make one score: `token`, `document` and `signed`, each document kept;
   with objective `choice` they are called `token/choice` and so on, and documents without a choice are left out; for
   removal by the mean `.../mean`, of reference documents (evaluation.py).
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

from ablation.gradient_recheck import told_of
from ablation.head_norm import NORM_DOCUMENTS, norm_unit
from ablation.importance import POSITIONS, Importance, facts, importance
from ablation.names import ESTIMATED
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
    sources_of,
    text_length,
    title_of,
    unlabelled_rows,
)
from headscope.stages.evaluation import check_references, replacement_for, way_of
from headscope.store.ahead import ahead
from headscope.store.manifest import Stage
from headscope.store.scores import GROUPED, IMPORTANCE, NORM, SHUFFLED
from headscope.store.writer import open_stage
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.replacement import Replacement
    from ablation.tasks import Task
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

SPLIT = "train"
NAMES = {"true": IMPORTANCE, "shuffled": SHUFFLED}
USUAL = {"labels": "true", "objective": "sum", "ablation": "zero", "normalise": "uniform"}


@dataclass(frozen=True)
class RankedTask:
    """What was done for one task and number of shots: documents, mean gold log-likelihood, cut prompts."""

    task: str
    shots: int
    documents: int
    log_likelihood: float
    cut: int


def importance_stage(
    choice: TaskChoice,
    *,
    objective: str = "sum",
    ablation: str = "zero",
    normalise: str = "uniform",
    frozen_norm: bool = False,
) -> Stage:
    """The manifest's entry: options are named where they are not the usual ones."""
    protocol = choice.protocol | ({"frozen_norm": True} if frozen_norm else {})
    chosen = {"labels": choice.labels, "objective": objective, "ablation": ablation, "normalise": normalise}
    unusual = {name: value for name, value in chosen.items() if value != USUAL[name]}
    options = {"shots": list(choice.shots), **unusual}
    return Stage("importance", protocol, seed=choice.seed, tasks=choice.names, options=options)


def measure_importance(
    model: HookedModel,
    folder: str | Path,
    choice: TaskChoice,
    *,
    tasks: tuple[Task, ...] | None = None,
    objective: str = "sum",
    ablation: str = "zero",
    normalise: str = "uniform",
    frozen_norm: bool = False,
    progress: Tell | None = None,
) -> tuple[RankedTask, ...]:
    """Score heads and FFNs for every task and number of shots; `tasks` are the choice's training documents.

    objective: what is differentiated, `sum` or `choice`. ablation: the removal whose cost is estimated, `zero` or
    `mean`. Raises UsageError for `choice` where a task has none to make, and where too few documents make a mean.
    """
    check_normalise(normalise)
    check_objective(objective)
    check_estimated(ablation)
    given = choice.tasks(SPLIT) if tasks is None else tasks
    loaded, left_out = choosing(model, given) if objective == "choice" else (given, {})
    check_references(choice, loaded, ablation)
    how: dict[str, Any] = {"objective": objective, "frozen_norm": frozen_norm}
    stage = importance_stage(choice, ablation=ablation, normalise=normalise, **how)
    counter = Progress(sum(len(task.documents) for task in loaded), progress)
    with open_stage(model, folder, stage, sources=sources_of(loaded)) as run:
        run.record(unlabelled=unlabelled_rows(loaded))
        run.record(documents=fingerprints(loaded), data={task.name: task.data for task in loaded})
        run.record(without_choice=left_out)
        work = _Ranking(model, run, choice, ablation, how, normalise, counter)
        ahead(run.units, (partial(work.asked, task) for task in loaded))
        ranked = [work.ranked(draws) for draws in by_task_and_shots(loaded).values()]
        if note := facts(model, frozen_norm=frozen_norm).get("post_norm"):
            run.record(post_norm=note)
        run.record(cut={f"{task.task}, {shots_told(task.shots)}": task.cut for task in ranked if task.cut})
        run.record(running_check=told_of(model, frozen_norm=frozen_norm))
    return tuple(ranked)


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


def check_estimated(ablation: str) -> None:
    """Raises UsageError for a removal that no gradient speaks of, before anything is run."""
    if ablation not in ESTIMATED:
        raise UsageError(
            f"importance by gradient estimates removal by {' or by '.join(ESTIMATED)}, not by {ablation!r}: `headscope "
            "knockout` measures it"
        )


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


@dataclass(frozen=True)
class _Ranking:
    """One stage at work."""

    model: HookedModel
    run: RunWriter
    choice: TaskChoice
    ablation: str
    how: dict[str, Any]
    normalise: str
    counter: Progress

    def asked(self, task: Task) -> None:
        """Every unit of a task, for an engine."""
        list(replace(self, counter=Progress(0))._units(task))

    def ranked(self, draws: Sequence[Task]) -> RankedTask:
        """All scores of one task and number of shots, from the units of all its draws."""
        units = [unit for task in draws for unit in self._units(task)]
        documents = [(task.seed, document) for task in draws for document in task.documents]
        columns: dict[str, Any] = {
            "document": [document.id for _, document in documents],
            "cluster": [document.cluster for _, document in documents],
            "demo_seed": [seed for seed, _ in documents],
        }
        named: dict[str, Any] = {"documents": columns["document"], "clusters": columns["cluster"]}
        importance = Importance.assembled(units, objective=self.how["objective"], ablation=self.ablation, **named)
        columns |= {
            "length": importance.lengths.tolist(),
            "target_length": importance.target_lengths.tolist(),
            "log_likelihood": importance.log_likelihoods.tolist(),
        }
        ranked = draws[0]
        _store(self.run, importance, ranked, normalise=self.normalise, columns=columns)
        if ranked.labels == "true":
            _store_norm(self.model, self.run, ranked)
        cut = sum(int((unit["cut"] > 0).sum()) for unit in units)
        likelihood = float(importance.log_likelihoods.mean())
        return RankedTask(ranked.name, ranked.shots, len(documents), likelihood, cut)

    def _units(self, task: Task) -> Iterator[dict[str, Tensor]]:
        replacement = replacement_for(self.model, self.choice, task, self.ablation, seed=self.choice.seed)
        for shard in shards(task):
            key = {"what": "importance", "documents": shard.fingerprint, "frozen_norm": self.how["frozen_norm"]}
            key |= {"objective": self.how["objective"]} if self.how["objective"] != "sum" else {}
            key |= {"ablation": way_of(replacement)} if replacement is not None else {}
            compute = partial(_unit, self.model, shard, replacement, self.how)
            yield self.run.units.get_or_compute(key, compute, size=text_length(shard))
            self.counter.add(len(shard.documents), title_of(task))


def _unit(model: HookedModel, shard: Task, replacement: Replacement | None, how: dict[str, Any]) -> dict[str, Tensor]:
    documents = list(shard.token_documents(model))
    cut = torch.tensor([document.dropped + document.trimmed for document in documents])
    return {"cut": cut, **importance(model, shard, replacement=replacement, **how).pieces()}


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
