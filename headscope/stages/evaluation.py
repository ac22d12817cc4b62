"""Evaluations as work units: a shard of a task's documents under one mask, whatever order or stage asks for it.

The key of a unit is what determines its numbers: the documents, the mask and what stands in for what is removed. Equal
masks of different orders are therefore run once. What stands in for removed components (Method 3.3) is made of the
other split of the same task, at the same shots: what is evaluated never stands in for itself. Of documents that stand
in both splits, a few are left out, and many refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headscope.stages.cells import TaskChoice, shards
from headscope.store.ahead import Pending
from interp.errors import UsageError
from interp.masks import FFNMask, HeadMask

if TYPE_CHECKING:
    from ablation.engine.below import Below
    from ablation.evaluation import Evaluation
    from ablation.replacement import Replacement
    from ablation.tasks import Task
    from headscope.store.units import UnitStore
    from interp.model import HookedModel

EVALUATION_SHARD = 64
MOST_BELOW = 4
OTHER = {"train": "validation", "validation": "train"}


@dataclass(frozen=True)
class Shard:
    """Some documents of a task, tokenised, and the hash of their prompts."""

    task: Task
    documents: Sequence[Any]
    fingerprint: str

    @property
    def size(self) -> float:
        """Tokens, all choices included."""
        return float(sum(len(each.context) + sum(map(len, each.choices)) for each in self.documents))


@dataclass(frozen=True)
class StoredEvaluations:
    """Stands in for `ablation.evaluate`: finished units are read, not run.

    begin: a block below which most masks remove nothing: those begin there, from what the first of them kept. shard:
    documents a unit. most_below: how much of that is kept. A copy in another process has no store, and keeps little.
    """

    units: UnitStore
    begin: int = 0
    shard: int = EVALUATION_SHARD
    shards: dict[int, tuple[Shard, ...]] = field(default_factory=dict, repr=False)
    tasks: list[Task] = field(default_factory=list, repr=False)
    below: dict[tuple[str, ...], Below] = field(default_factory=dict, repr=False)
    most_below: int = 1000

    def __call__(
        self,
        model: HookedModel,
        task: Task,
        *,
        heads: HeadMask | Tensor | None = None,
        ffns: FFNMask | Tensor | None = None,
        replacement: Replacement | None = None,
    ) -> Evaluation:
        """The task's metric and log-likelihoods with these heads and FFNs removed (1 keeps, 0 removes)."""
        from ablation.evaluation import judged

        masks = {"heads": _values(heads), "ffns": _values(ffns)}
        shards, rows = self._sharded(model, task), []
        found = [self._unit(model, shard, masks, replacement) for shard in shards]
        if any(isinstance(unit, Pending) for unit in found):
            return judged(task, *_blank(shards))
        for unit in found:
            ends = unit["choices"].cumsum(0).tolist()
            values = unit["log_likelihoods"].tolist()
            rows += [values[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        return judged(task, [document for shard in shards for document in shard.documents], rows)

    def _unit(
        self, model: HookedModel, shard: Shard, masks: dict[str, Tensor | None], replacement: Replacement | None
    ) -> dict[str, Tensor]:
        compute = partial(self._run, model, shard, masks, replacement)
        return self.units.get_or_compute(_key(shard, masks, replacement), compute, size=shard.size)

    @property
    def shared_key(self) -> str:
        """One copy is enough for a worker (headscope/engine/)."""
        return f"evaluations of {self.shard} documents from block {self.begin}"

    def __getstate__(self) -> dict[str, Any]:
        kept = {"units": None, "begin": self.begin, "shard": self.shard, "most_below": MOST_BELOW}
        return {**kept, "shards": {}, "tasks": [], "below": {}}

    def _sharded(self, model: HookedModel, task: Task) -> tuple[Shard, ...]:
        """The task's shards, tokenised once."""
        if id(task) not in self.shards:
            self.tasks.append(task)  # held, so that its id stays its own
            self.shards[id(task)] = tuple(
                Shard(part, list(part.token_documents(model)), part.fingerprint) for part in shards(task, self.shard)
            )
        return self.shards[id(task)]

    def _run(
        self, model: HookedModel, shard: Shard, masks: dict[str, Tensor | None], replacement: Replacement | None
    ) -> dict[str, Tensor]:
        from ablation.engine.likelihood import log_likelihoods

        removed = any(mask is not None for mask in masks.values())
        likelihoods = log_likelihoods(
            model,
            shard.documents,
            heads=masks["heads"],
            ffns=masks["ffns"],
            replacement=replacement if removed else None,
            below=self._below(shard, replacement) if self.begin else None,
        )
        return {
            "log_likelihoods": torch.tensor([value for row in likelihoods for value in row], dtype=torch.float64),
            "choices": torch.tensor([len(row) for row in likelihoods]),
        }

    def _below(self, shard: Shard, replacement: Replacement | None) -> Below:
        """What stands below `begin`; let go of when heads are removed in another way."""
        from ablation.engine.below import Below

        way = tuple(way_of(replacement))
        for key in [key for key in self.below if key[1:] != way]:
            del self.below[key]
        while len(self.below) >= self.most_below and (shard.fingerprint, *way) not in self.below:
            del self.below[next(iter(self.below))]
        return self.below.setdefault((shard.fingerprint, *way), Below(self.begin))


def _key(shard: Shard, masks: dict[str, Tensor | None], replacement: Replacement | None) -> dict[str, Any]:
    removed = {name: _hash(mask) for name, mask in masks.items()}
    way = way_of(replacement) if any(removed.values()) else []
    return {"what": "evaluation", "documents": shard.fingerprint, **removed, "ablation": way}


def way_of(replacement: Replacement | None) -> list[str]:
    """What tells one way of removing from another."""
    return ["zero", ""] if replacement is None else [replacement.name, getattr(replacement, "mark", "")]


def _blank(shards: Sequence[Shard]) -> tuple[list[Any], list[list[float]]]:
    """The documents, and log-likelihoods that say nothing: while units are asked for, nobody reads them."""
    documents = [document for shard in shards for document in shard.documents]
    return documents, [[0.0] * len(document.choices) for document in documents]


def _hash(mask: Tensor | None) -> str | None:
    return None if mask is None else hashlib.sha256(mask.float().contiguous().numpy().tobytes()).hexdigest()


def _values(mask: HeadMask | FFNMask | Tensor | None) -> Tensor | None:
    """None where nothing is removed, so that the full model is one unit by every name."""
    values = mask.values if isinstance(mask, HeadMask | FFNMask) else mask
    return None if values is None or bool((values == 1).all()) else values


def check_ablation(name: str) -> None:
    """Raises UsageError for an unknown kind."""
    from ablation.names import ABLATIONS

    if name not in ABLATIONS:
        raise UsageError(f"{name!r} is no kind of ablation; the kinds are {', '.join(ABLATIONS)} (--ablation)")


def check_references(choice: TaskChoice, tasks: Sequence[Task], ablation: str, *, part: str | None = None) -> None:
    """Raises UsageError where a task has too few documents to stand in, before the stage is opened."""
    from ablation.names import COPIES, MINIMUM_DOCUMENTS

    check_ablation(ablation)
    for task in tasks if ablation != "zero" else ():
        references = reference_task(choice, task, MINIMUM_DOCUMENTS, part=part)
        count = len(references.documents)
        if (copies := count - len(without_copies(references, task).documents)) > COPIES:
            raise UsageError(
                f"{copies} of {count} reference documents of {task.name} are copies of evaluated ones: {ablation} "
                f"ablation needs disjoint ones, and the {OTHER[task.split]} split repeats the {task.split} split. Mend "
                "the documents, leave the task out, or take --ablation zero."
            )
        if count < MINIMUM_DOCUMENTS:
            raise UsageError(
                f"{ablation} ablation needs {MINIMUM_DOCUMENTS} reference documents; the {OTHER[task.split]} "
                f"split of {task.name} has {count}. Leave the task out, or take --ablation zero."
            )


def replaceable(choice: TaskChoice, split: str, ablation: str) -> tuple[str, ...]:
    """The tasks of a choice that have documents enough to stand in."""

    def enough(name: str) -> bool:
        alone = replace(choice, names=(name,), limit=1, limits=())
        try:
            check_references(choice, alone.tasks(split), ablation)
        except UsageError:
            return False
        return True

    return tuple(name for name in choice.names if ablation == "zero" or enough(name))


def replacement_for(
    model: HookedModel, choice: TaskChoice, task: Task, ablation: str, *, seed: int = 0, part: str | None = None
) -> Replacement | None:
    """None for `zero`, or a replacement made of the task's reference documents when it is first needed."""
    from ablation.names import MINIMUM_DOCUMENTS
    from ablation.replacement import Deferred

    check_ablation(ablation)
    if ablation == "zero":
        return None
    references = without_copies(reference_task(choice, task, MINIMUM_DOCUMENTS, part=part), task)
    made = partial(_made, model, ablation, references, task, seed)
    return Deferred(ablation, made, hashlib.sha256(f"{references.fingerprint}|{seed}".encode()).hexdigest())


def _made(model: HookedModel, ablation: str, references: Task, evaluated: Task, seed: int) -> Any:
    from ablation.names import COPIES, MINIMUM_DOCUMENTS
    from ablation.references import make_replacement

    documents = list(references.token_documents(model))
    how: dict[str, Any] = {"seed": seed, "minimum": MINIMUM_DOCUMENTS - COPIES}
    return make_replacement(model, ablation, documents, evaluated=evaluated.token_documents(model), **how)


def without_copies(references: Task, evaluated: Task) -> Task:
    """The reference documents whose prompt and answer are not those of an evaluated one."""
    seen = {(document.context, document.target) for document in evaluated.documents}
    texts = [(document.context, document.target) for document in references.documents]
    return references.select(place for place, text in enumerate(texts) if text not in seen)


def reference_task(choice: TaskChoice, task: Task, count: int, *, part: str | None = None) -> Task:
    """Documents of the split that is not evaluated, of the choice's part or of another."""
    from ablation.tasks import load_task

    return load_task(
        task.name,
        shots=task.shots,
        limit=count,
        seed=task.seed,
        data=choice.data,
        split=OTHER[task.split],
        demos=choice.demos,
        bos=choice.bos,
        labels=choice.labels,
        part=choice.part if part is None else part,
    )
