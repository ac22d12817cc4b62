"""Evaluations as work units: a shard of a cell's documents under one mask, whatever order or stage asks for it.

The key of a unit is what determines its numbers: the documents, the mask and what stands in for what is removed. Equal
masks of different orders are therefore run once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headscope.stages.cells import Cell, TaskChoice
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
Mask = HeadMask | FFNMask | Tensor | None
OTHER = {"train": "validation", "validation": "train"}


@dataclass(frozen=True)
class Shard:
    """Some documents of a cell, tokenised, and the hash of their prompts."""

    task: Task
    documents: Sequence[Any]
    fingerprint: str


@dataclass(frozen=True)
class Ablated:
    """What stands in for a removed component; the replacement is made when a unit first needs it."""

    name: str = "zero"
    told: str = ""
    make: Callable[[], Replacement | None] = lambda: None


@dataclass(frozen=True)
class Evaluator:
    """Evaluates cells under masks; finished units are read, not run."""

    model: HookedModel
    units: UnitStore
    shards: dict[int, tuple[Shard, ...]] = field(default_factory=dict, repr=False)
    below: dict[tuple[str, str, int], Below] = field(default_factory=dict, repr=False)
    cells: list[Cell] = field(default_factory=list, repr=False)

    def evaluate(
        self, cell: Cell, *, heads: Mask = None, ffns: Mask = None, ablated: Ablated | None = None, begin: int = 0
    ) -> Evaluation:
        """The cell's metric and log-likelihoods with these heads and FFNs removed (1 keeps, 0 removes).

        begin: a block below which most masks of this cell remove nothing: those begin there, from what the first kept,
        until `forget`.
        """
        from ablation.evaluation import judged

        masks = {"heads": _values(heads), "ffns": _values(ffns)}
        how = ablated or Ablated()
        rows: list[list[float]] = []
        for shard in self.of(cell):
            unit = self.units.get_or_compute(_key(shard, masks, how), partial(self._run, shard, masks, how, begin))
            ends = unit["choices"].cumsum(0).tolist()
            values = unit["log_likelihoods"].tolist()
            rows += [values[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        return judged(cell.task, [document for shard in self.of(cell) for document in shard.documents], rows)

    def of(self, cell: Cell) -> tuple[Shard, ...]:
        """The cell's shards, tokenised once."""
        if id(cell) not in self.shards:
            parts = cell.shards(EVALUATION_SHARD)
            self.cells.append(cell)  # held, so that its id stays its own
            self.shards[id(cell)] = tuple(
                Shard(part, list(part.token_documents(self.model)), part.fingerprint) for part in parts
            )
        return self.shards[id(cell)]

    def forget(self) -> None:
        """Let go of what stands below the blocks that evaluations began at."""
        self.below.clear()

    def _run(self, shard: Shard, masks: dict[str, Tensor | None], how: Ablated, begin: int) -> dict[str, Tensor]:
        from ablation.engine.below import Below
        from ablation.engine.likelihood import log_likelihoods

        any_removed = any(mask is not None for mask in masks.values())
        replacement = how.make() if any_removed else None
        found = log_likelihoods(
            self.model,
            shard.documents,
            heads=masks["heads"],
            ffns=masks["ffns"],
            replacement=replacement,
            below=self.below.setdefault((shard.fingerprint, how.name, begin), Below(begin)) if begin else None,
        )
        return {
            "log_likelihoods": torch.tensor([value for row in found for value in row], dtype=torch.float64),
            "choices": torch.tensor([len(row) for row in found]),
        }


def _key(shard: Shard, masks: dict[str, Tensor | None], how: Ablated) -> dict[str, Any]:
    removed = {name: _hash(mask) for name, mask in masks.items()}
    told = [how.name, how.told] if any(removed.values()) else []
    return {"what": "evaluation", "documents": shard.fingerprint, **removed, "ablation": told}


def _hash(mask: Tensor | None) -> str | None:
    return None if mask is None else hashlib.sha256(mask.float().contiguous().numpy().tobytes()).hexdigest()


def _values(mask: Mask) -> Tensor | None:
    """None where nothing is removed, so that the full model is one unit by every name."""
    values = mask.values if isinstance(mask, HeadMask | FFNMask) else mask
    return None if values is None or bool((values == 1).all()) else values


def check_ablation(name: str) -> None:
    """Raises UsageError for an unknown kind."""
    from ablation.replacement import ABLATIONS

    if name not in ABLATIONS:
        raise UsageError(f"{name!r} is no kind of ablation; the kinds are {', '.join(ABLATIONS)} (--ablation)")


def check_references(choice: TaskChoice, cells: Sequence[Cell], ablation: str) -> None:
    """Raises UsageError where a task has too few documents to stand in, before the stage is opened."""
    from ablation.replacement import MINIMUM_DOCUMENTS

    check_ablation(ablation)
    for cell in cells if ablation != "zero" else ():
        count = len(reference_task(choice, cell, MINIMUM_DOCUMENTS).documents)
        if count < MINIMUM_DOCUMENTS:
            raise UsageError(
                f"{ablation} ablation needs {MINIMUM_DOCUMENTS} reference documents; the {OTHER[cell.task.split]} "
                f"split of {cell.task.name} has {count}. Leave the task out, or take --ablation zero."
            )


def ablated(model: HookedModel, choice: TaskChoice, cell: Cell, ablation: str, *, seed: int = 0) -> Ablated:
    """`zero`, or a replacement made of the cell's reference documents when it is first needed."""
    from ablation.replacement import MINIMUM_DOCUMENTS, make_replacement

    check_ablation(ablation)
    if ablation == "zero":
        return Ablated()
    task = reference_task(choice, cell, MINIMUM_DOCUMENTS)

    @cache
    def made() -> Replacement | None:
        evaluated = cell.task.token_documents(model)
        return make_replacement(model, ablation, list(task.token_documents(model)), evaluated=evaluated, seed=seed)

    told = hashlib.sha256(f"{task.fingerprint}|{seed}".encode()).hexdigest()
    return Ablated(ablation, told, made)


def reference_task(choice: TaskChoice, cell: Cell, count: int) -> Any:
    """Documents of the split that is not evaluated."""
    from ablation.tasks import load_task

    return load_task(
        cell.task.name,
        shots=cell.task.shots,
        limit=count,
        seed=cell.demo_seed,
        data=choice.data,
        split=OTHER[cell.task.split],
        demos=choice.demos,
        bos=choice.bos,
    )
