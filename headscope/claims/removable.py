"""How much can be removed? The paper: about 70% of the heads and about 20% of the FFNs of OPT-66B (its section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from headscope.claims.evidence import (
    FFNS,
    HEADS,
    Evidence,
    at,
    bracket,
    change_told,
    number,
    percent,
    table,
)
from headscope.stages.pruning_together import ABOVE

PAPER_HEADS, PAPER_FFNS = 70, 20
PAPER_JOINT = "5 points at (70%, 20%) with 0 shots, 6 at (70%, 10%) with 1 and 4 at (60%, 20%) with 5"
MARGIN = -0.02
SHARES = ("removable_metric", "removable_log_likelihood")
ORDERS = ("own", "random", "layer_matched", "aggregate", "signed", "inverse", "iterative")
CONTROLS = ("random", "layer_matched")


def heads(evidence: Evidence) -> Iterator[str]:
    """Heads, in their own order against controls."""
    yield from _component(evidence, HEADS, "heads", PAPER_HEADS)


def ffns(evidence: Evidence) -> Iterator[str]:
    """FFNs, in their own order against random ones."""
    yield from _component(evidence, FFNS, "FFNs", PAPER_FFNS)


def _component(evidence: Evidence, level: str, name: str, paper: int) -> Iterator[str]:
    for shots in evidence.pruned_shots(level):
        chance, every = evidence.at_chance(shots, level), evidence.tasks(shots, level)
        chance = sorted({*chance, *evidence.untested(shots, level)})
        kept = [task for task in every if task not in chance]
        yield f"**{at(shots).capitalize()}**"
        yield ""
        yield from (f"- {line}" for line in _words(evidence, level, name, paper, shots, kept, chance))
        yield ""
        yield from _by_task(evidence, level, shots, every, chance)


def _words(
    evidence: Evidence, level: str, name: str, paper: int, shots: int, kept: Sequence[str], chance: Sequence[str]
) -> Iterator[str]:
    """The summary over the tasks that are above chance."""
    if chance:
        one = len(chance) == 1
        yield (
            f"{len(chance)} of {len(chance) + len(kept)} tasks {'is' if one else 'are'} not shown to be above chance "
            f"and the majority share with the full model ({', '.join(chance)}) and {'stays' if one else 'stay'} out of "
            "the summary."
        )
    if not kept:
        yield "No task is shown to be above chance, so that nothing can be said about what it needs."
        return
    yield from _together(evidence, level, name, paper, shots)
    yield from _task_by_task(evidence, level, name, shots, kept)
    yield from _areas(evidence, level, shots, kept)


def _together(evidence: Evidence, level: str, name: str, paper: int, shots: int) -> Iterator[str]:
    """The tasks as one curve: own order beside the controls; then the change at the paper's share."""
    own = [evidence.value(kind=kind, level=level, shots=shots, a=ABOVE, b="own") for kind in SHARES]
    if own[0] == own[0]:
        controls = [
            f"{order.replace('_', '-')} orders {percent(metric)} and {percent(gold)}"
            for order in CONTROLS
            for metric, gold in [[evidence.value(kind=kind, level=level, shots=shots, a=ABOVE, b=order)
                                  for kind in SHARES]]
            if metric == metric
        ]  # fmt: skip
        beside = f" (controls: {'; '.join(controls)})" if controls else ""
        yield (
            f"All tasks above chance together, by their own rankings: {percent(own[0])} of the {name} can go while "
            f"accuracy is shown to fall by less than 2 points at every step, and {percent(own[1])} while the right "
            f"answer's log-likelihood is shown to fall by less than .05 nats{beside}; the paper removes about {paper}% "
            "of OPT-66B's."
        )
    if blind(evidence, level, shots):
        yield (
            "Even together the documents are too few to exclude a loss of 2 points of accuracy where no answer "
            "changes: 0% by accuracy says nothing here."
        )
    yield from _at_the_papers_share(evidence, level, name, paper, shots)


def blind(evidence: Evidence, level: str, shots: int) -> bool:
    """Whether the documents of all tasks are too few to exclude a loss of 2 points even where nothing changes."""
    return evidence.value(kind="unchanged_bound", level=level, shots=shots, a=ABOVE) <= MARGIN


def _at_the_papers_share(evidence: Evidence, level: str, name: str, paper: int, shots: int) -> Iterator[str]:
    changes = evidence.together("pruned_metric", level, shots)
    if changes.empty or "own" not in set(changes["b"]):
        return
    near = min(sorted(set(changes["percent"])), key=lambda p: abs(p - paper))
    step = changes[changes["percent"] == near]
    told = [f"{order.replace('_', '-')} {change_told(step[step['b'] == order])}" for order in ORDERS
            if order in set(step["b"])]  # fmt: skip
    yield f"With {near}% of the {name} removed, the mean change of accuracy is: {', '.join(told)}."


def _task_by_task(evidence: Evidence, level: str, name: str, shots: int, kept: Sequence[str]) -> Iterator[str]:
    """The spread over tasks, and where accuracy can't say."""
    metric, gold = (_values(evidence, kind, level, shots, "own", kept) for kind in SHARES)
    if metric.empty:
        return
    yield (
        f"Task by task the removable share of the {name} is {_spread(metric)} by accuracy and {_spread(gold)} by "
        f"log-likelihood, over {len(metric)} tasks."
    )
    bounds = evidence.rows(kind="unchanged_bound", level=level, shots=shots, a=list(kept))
    few = int((bounds["value"] <= MARGIN).sum())
    if few:
        yield (
            f"On {few} of these tasks the documents are too few to exclude a loss of 2 points of accuracy even where "
            "no answer changes, so that their own share by accuracy is 0% whatever the model does."
        )


def _spread(values: pd.Series) -> str:
    return f"{percent(values.median())} in the median ({percent(values.min())} to {percent(values.max())})"


def _areas(evidence: Evidence, level: str, shots: int, kept: Sequence[str]) -> Iterator[str]:
    """The area under the curve, beside the other orders'."""
    areas = {order: _values(evidence, "pruning_area", level, shots, order, kept).mean() for order in ORDERS}
    told = ", ".join(f"{order.replace('_', '-')} {number(value)}" for order, value in areas.items() if value == value)
    if told:
        yield f"Area under the curve (1 = costs nothing), mean over tasks: {told}."
    own = evidence.rows(kind="pruning_area", level=level, shots=shots, b="own", a=list(kept))
    tested = own[own["p"].notna()]
    draws = evidence.rows(kind="pruning_area", level=level, shots=shots, b="random", a=list(kept))["n"]
    if len(tested) and len(draws):
        least = 1 / (int(draws.max()) + 1)
        best = int((tested["p"] <= least + 1e-9).sum())
        yield (
            f"The own order has a larger area than all {draws.max()} random orders on {best} of {len(tested)} tasks "
            f"(rank p = {least:.3f} there, the smallest there can be, not corrected for the number of tasks)."
        )


def _by_task(evidence: Evidence, level: str, shots: int, tasks: Sequence[str], chance: Sequence[str]) -> Iterator[str]:
    """One row a task: full model, areas with intervals, removable shares."""
    rows = []
    for task in tasks:
        full = evidence.rows(kind="full_metric", level=level, shots=shots, a=task).iloc[0]
        name = f"{task} (not above chance)" if task in chance else task
        cells = [name, number(full["value"]), number(full["ci_low"])]
        for order in ("own", "random"):
            area = evidence.rows(kind="pruning_area", level=level, shots=shots, a=task, b=order)
            cells.append(_with_interval(area))
        for order in ("own", "random"):
            shares = [evidence.value(kind=kind, level=level, shots=shots, a=task, b=order) for kind in SHARES]
            cells.append(" / ".join(percent(share) for share in shares))
        rows.append(cells)
    headings = ("task", "accuracy, full model", "its one-sided 95% bound", "area, own order", "area, random orders",
                "removable by accuracy / log-likelihood, own order", "the same, random orders")  # fmt: skip
    yield from table(headings, rows)


def _with_interval(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "-"
    one = rows.iloc[0]
    return number(one["value"]) + bracket(one["ci_low"], one["ci_high"])


def joint(evidence: Evidence) -> Iterator[str]:
    """Heads and FFNs together, mean change over the tasks above chance."""
    pruned = evidence.rows(kind="tasks_above_chance", level="both/zero")
    for shots in sorted({int(count) for count in pruned["shots"]}):
        found = evidence.together("pruned_metric", "both/zero", shots, b="own")
        if found.empty:
            yield f"**{at(shots).capitalize()}**: no task is shown to be above chance."
            yield ""
            continue
        columns = sorted(set(found["heads"]))
        yield (
            f"**{at(shots).capitalize()}**, change of accuracy in points, mean over {found['n'].iloc[0]} tasks above "
            "chance, heads and FFNs in their own orders:"
        )
        yield ""
        yield from table(
            ("FFNs removed", *(f"{share}% of heads" for share in columns)),
            ([f"{ffns}%", *(_cell(found, heads, ffns) for heads in columns)] for ffns in sorted(set(found["ffns"]))),
        )
        yield f"The paper reports losses of {PAPER_JOINT} for OPT-66B."
        yield ""


def _cell(changes: pd.DataFrame, heads: int, ffns: int) -> str:
    if not heads and not ffns:
        return "0"
    return change_told(changes[(changes["heads"] == heads) & (changes["ffns"] == ffns)], unit="")


def _values(evidence: Evidence, kind: str, level: str, shots: int, order: str, tasks: Sequence[str]) -> pd.Series:
    return evidence.rows(kind=kind, level=level, shots=shots, b=order, a=list(tasks))["value"].dropna()
