"""Documents that stand in for removed components in `mean` and `resample` ablation (METHODS 3.3).

They come from the other split of the same task, at the same shots: what is evaluated never stands in for itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from headscope.stages.cells import Cell, TaskChoice
from headscope.stages.evaluation import Ablated
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.replacement import Replacement
    from interp.model import HookedModel


OTHER = {"train": "validation", "validation": "train"}


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
