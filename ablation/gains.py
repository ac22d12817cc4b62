"""What demonstrations are worth: a task with them, with others' labels in them, and without (Method 4).

By the labels of the demonstrations:
    gain = true - none        learning = true - shuffled        format = shuffled - none        gain = learning + format
document by document, in any outcome of outcomes.py. Beside a gain, or a drop of it, stand its levels: what the model
scores in each condition. A drop that comes from the level at 0 shots says nothing about demonstrations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ablation.evaluation import LOG_LIKELIHOOD, Evaluate, Evaluation, evaluate
from ablation.names import DEMO_DRAWS
from ablation.outcomes import Outcome, with_choices
from ablation.tasks.task import Task
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.model import HookedModel

CONTRASTS = {"gain": ("few", "none"), "learning": ("few", "shuffled"), "format": ("shuffled", "none")}
CONDITIONS = ("few", "none", "shuffled")


@dataclass(frozen=True)
class Shots:
    """A task's evaluations with k demonstrations, with none, and with k that have shuffled labels, where there are any.

    All of the same documents in the same order.
    """

    few: Evaluation
    none: Evaluation
    shuffled: Evaluation | None = None

    def __post_init__(self) -> None:
        for other in (self.none, self.shuffled):
            if other is not None and (self.few.documents, self.few.units) != (other.documents, other.units):
                raise UsageError(
                    "the task with and without demonstrations must have the same documents in the same order: load "
                    "both with the same split and limit"
                )

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The contrasts there are."""
        return tuple(CONTRASTS) if self.shuffled is not None else ("gain",)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The outcomes that all conditions have, and the gold log-likelihood by document."""
        held = [one.outcomes for one in (self.few, self.none, self.shuffled) if one is not None]
        return (*(name for name in held[0] if all(name in other for other in held)), LOG_LIKELIHOOD)

    def contrast(self, outcome: str, name: str = "gain") -> Outcome:
        """`gain`, `learning` or `format` item by item. Raises UsageError for one that was not evaluated."""
        if name not in CONTRASTS:
            raise UsageError(f"{name!r} is no contrast; there are {', '.join(CONTRASTS)}")
        more, less = (self._evaluation(condition, name) for condition in CONTRASTS[name])
        return more.outcome(outcome).minus(less.outcome(outcome))

    def gain(self, outcome: str) -> Float[np.ndarray, "item"]:
        """What the demonstrations are worth, item by item."""
        return self.contrast(outcome).values

    def clusters(self, outcome: str) -> tuple[str, ...]:
        """The cluster of each item."""
        return self.few.outcome(outcome).clusters

    def levels(self, outcome: str) -> dict[str, float]:
        """The mean in each condition: `few`, `none`, `shuffled` (NaN where it was not evaluated)."""
        held = {name: getattr(self, name) for name in CONDITIONS}
        return {name: float("nan") if one is None else one.outcome(outcome).mean for name, one in held.items()}

    def _evaluation(self, condition: str, contrast: str) -> Evaluation:
        found: Evaluation | None = getattr(self, condition)
        if found is None:
            raise UsageError(
                f"{contrast} compares with demonstrations whose labels are shuffled, and none were evaluated: pass the "
                "task loaded with labels='shuffled'"
            )
        return found


@dataclass(frozen=True)
class Conditions:
    """The tasks that `Shots` are the evaluations of: with k demonstrations, with none, with shuffled labels."""

    few: Any
    none: Any
    shuffled: Any = None

    @property
    def tasks(self) -> dict[str, Any]:
        """Those that there are, by condition."""
        return {name: getattr(self, name) for name in CONDITIONS if getattr(self, name) is not None}

    def evaluated(self, model: HookedModel, *, evaluate: Evaluate = evaluate, **options: Any) -> Shots:
        """Every condition, by `evaluate(model, task, **options)`."""
        return Shots(**{name: evaluate(model, task, **options) for name, task in self.tasks.items()})


def with_common_choices(model: HookedModel, conditions: Conditions) -> tuple[Conditions, tuple[str, ...]]:
    """The documents that have a choice to make in every condition, and a sentence for each of the others."""
    found = {name: with_choices(task, model) for name, task in conditions.tasks.items()}
    common = set.intersection(*({document.id for document in task.documents} for task, _ in found.values()))
    kept = {
        name: task.select(place for place, document in enumerate(task.documents) if document.id in common)
        for name, (task, _) in found.items()
    }
    return Conditions(**kept), tuple(dict.fromkeys(reason for _, reasons in found.values() for reason in reasons))


def mixed_draws(draws: Sequence[Task]) -> Task:
    """One task out of several that differ in the draw of their demonstrations: the k-th unit is from draw k mod n.

    The same price as one draw, and the intervals over documents contain the draw. Raises UsageError for tasks of other
    documents.
    """
    first = draws[0]
    if len({tuple(document.id for document in task.documents) for task in draws}) > 1:
        raise UsageError(
            f"draws of {first.name} are mixed document by document, but they hold different documents: load them with "
            "the same split, part and limit, and other seeds"
        )
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(d.unit for d in first.documents))}
    places = ((place, numbers[document.unit] % len(draws)) for place, document in enumerate(first.documents))
    return replace(first, documents=tuple(draws[draw].documents[place] for place, draw in places))


def load_conditions(name: str, *, shots: int, draws: int = DEMO_DRAWS, seed: int = 0, **options: Any) -> Conditions:
    """A task with `shots` demonstrations, with none and with shuffled labels, from `draws` draws of demonstrations.

    `options` as in load_task. Draw k is that of seed + k.
    """
    from ablation.tasks.loading import load_task

    if shots < 1 or draws < 1:
        raise UsageError(
            f"demonstrations are compared with none: ask for 1 shot and 1 draw at least, got {shots}, {draws}"
        )

    def drawn(labels: str) -> Task:
        return mixed_draws(
            [load_task(name, shots=shots, seed=seed + k, labels=labels, **options) for k in range(draws)]
        )

    return Conditions(drawn("true"), load_task(name, shots=0, seed=seed, **options), drawn("shuffled"))
