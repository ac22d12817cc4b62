"""The iterative order of a cell as a work unit: scored again, on training documents, after every step (METHODS 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headscope.stages.cells import Cell, TaskChoice
from headscope.stages.evaluation import Evaluator

if TYPE_CHECKING:
    from ablation.orders import Order

ITERATIVE_DOCUMENTS = 32


def iterative(evaluator: Evaluator, choice: TaskChoice, cell: Cell, component: str, percents: Sequence[int]) -> Order:
    """The order, from the first training documents of the cell's task at its number of shots."""
    from ablation.iterative import iterative_order
    from ablation.orders import Order
    from ablation.tasks import load_task
    from interp.scores import Ranking

    task = load_task(
        cell.task.name,
        shots=cell.task.shots,
        limit=ITERATIVE_DOCUMENTS,
        seed=choice.seed,
        data=choice.data,
        split="train",
        demos=choice.demos,
        bos=choice.bos,
    )
    key = {"what": "iterative", "component": component, "documents": task.fingerprint, "percents": list(percents)}

    def compute() -> dict[str, object]:
        found = iterative_order(evaluator.model, task, component=component, percents=percents)
        return {"places": found.ranking.scores}

    places = evaluator.units.get_or_compute(key, compute)["places"]  # type: ignore[arg-type]
    return Order("iterative", Ranking("head" if component == "head" else "ffn", "iterative", places))
