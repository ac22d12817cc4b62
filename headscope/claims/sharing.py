"""Do tasks, and do numbers of shots, need the same heads? (the paper's section 5.4)"""

from __future__ import annotations

from collections.abc import Iterator

from headscope.claims.evidence import HEADS, Evidence, at, points
from headscope.comparison import sentences
from headscope.figures.stored import chosen

ORDERS = ("own", "aggregate", "random")


def rankings(evidence: Evidence) -> Iterator[str]:
    """Tasks against tasks, shots against shots, the released script's number beside ours."""
    for part in (sentences.tasks_told, sentences.shots_told):
        yield from (f"- {sentence}" for sentence in part(evidence.comparisons))


def transfer(evidence: Evidence) -> Iterator[str]:
    """A task pruned by other tasks' rankings, which leave it out."""
    for shots in evidence.pruned_shots():
        tasks = [task for task in evidence.tasks(shots) if task not in evidence.at_chance(shots)]
        changes = {order: evidence.change("head", shots, order, tasks) for order in ORDERS}
        others = _others(evidence, shots, tasks)
        percents = [p for p, _ in changes["own"].index if p]
        if not percents or not tasks:
            continue
        near = min(percents, key=lambda p: abs(p - 50))
        told = [f"{_said(order)} {points(float(change.loc[(near, 0.0), 'change']))}"
                for order, change in changes.items() if (near, 0.0) in change.index]  # fmt: skip
        told += [f"another task's ranking {points(others[near])}"] if near in others else []
        yield (
            f"- {near:.0f}% of heads removed at {at(shots)}, change of accuracy over {len(tasks)} tasks above chance: "
            f"{', '.join(told)}."
        )


def _others(evidence: Evidence, shots: int, tasks: list[str]) -> dict[float, float]:
    """Mean change by percentage when each task is pruned by each other task's ranking."""
    rows = chosen(evidence.metrics, component="head", shots=shots, metric="acc", ablation="zero", task=tasks)
    full = rows[rows["percent_heads"] == 0].groupby("task")["value"].mean()
    names = set(evidence.tasks(shots, HEADS))
    by_other = rows[rows["order"].isin(names)].groupby(["percent_heads", "task"])["value"].mean().unstack("task")
    return {} if by_other.empty else dict((by_other - full).mean(axis=1).items())


def _said(order: str) -> str:
    return {"own": "own ranking", "aggregate": "aggregate of the other tasks", "random": "random orders"}[order]
