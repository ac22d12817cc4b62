"""How much can be removed? The paper: about 70% of the heads and about 20% of the FFNs of OPT-66B (its section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from headscope.findings import task_table
from headscope.findings.evidence import (
    FFNS,
    HEADS,
    JOINT,
    Evidence,
    at,
    change_told,
    formatted,
    over_others,
    table,
    tasks_told,
)
from headscope.findings.task_table import SHARES, by_task
from headscope.store.comparisons import POOLED, Kind, PruningLevel

PAPER_HEADS, PAPER_FFNS = 70, 20
ORDERS = ("own", "random", "layer_matched", "aggregate", "transfer", "signed", "inverse", "iterative")
CONTROLS = ("random", "layer_matched")
MEANT = {
    "random": "drawn at random",
    "layer_matched": "the own ranking with the heads of each layer shuffled",
    "aggregate": "the mean of the other tasks' importance, each divided by its sum",
    "transfer": "every other task's ranking in turn",
    "signed": "the task's signed importance",
    "signed_choice": "the task's signed importance to the choice",
    "inverse": "the own ranking, the most important first",
    "iterative": "ranked anew after every step",
}
BLIND = "Even if no answer changed, all these documents together could not exclude a loss of 2 points of accuracy."
HARMLESS = {
    SHARES[0]: ("accuracy", "accuracy is shown to fall by less than 2 points"),
    SHARES[1]: ("choice", "the choice is shown to fall by less than .05 nats"),
}
PAPER = "5 points at (70%, 20%) with 0 shots, 6 at (70%, 10%) with 1 and 4 at (60%, 20%) with 5"


def heads(evidence: Evidence) -> Iterator[str]:
    """Heads, in their own order against controls."""
    yield from _component(evidence, HEADS, "heads", PAPER_HEADS)


def ffns(evidence: Evidence) -> Iterator[str]:
    """FFNs, in their own order against random ones."""
    yield from _component(evidence, FFNS, "FFNs", PAPER_FFNS)


def _component(evidence: Evidence, level: PruningLevel, name: str, paper: int) -> Iterator[str]:
    counts = evidence.pruned_shots(level)
    if counts:
        yield from (f"- {line}" for line in _conditions(evidence, level, name))
        yield ""
    for shots in counts:
        chance, every = evidence.at_chance(shots, level), evidence.tasks(shots, level)
        chance = sorted({*chance, *evidence.untested(shots, level)})
        kept = [task for task in every if task not in chance]
        yield f"**{at(shots).capitalize()}**"
        yield ""
        yield from (f"- {line}" for line in _words(evidence, level, name, paper, shots, kept, chance))
        yield ""
        yield from by_task(evidence, level, shots, every, chance)


def _conditions(evidence: Evidence, level: PruningLevel, name: str) -> Iterator[str]:
    """What is removed how, in which orders."""
    orders = set(evidence.rows(kind=Kind.PRUNING_AREA, level=level)["b"])
    orders |= set(evidence.rows(kind=Kind.PRUNED_METRIC, a=POOLED)["b"]) & {"transfer"} if level == HEADS else set()
    yield (
        f"{name[0].upper()}{name[1:]} are pruned by zero ablation, the lowest in an order first. A task's own ranking "
        f"is by its {evidence.ranked_by(level.component)}; what pruning costs is measured on validation documents."
    )
    if listed := [f"{_named(order)}: {MEANT[order]}" for order in ORDERS if order in orders & set(MEANT)]:
        yield f"The other orders. {'; '.join(listed)}."


def _words(
    evidence: Evidence,
    level: PruningLevel,
    name: str,
    paper: int,
    shots: int,
    kept: Sequence[str],
    chance: Sequence[str],
) -> Iterator[str]:
    """The summary over the tasks that are above chance."""
    if chance:
        stays = "It stays" if len(chance) == 1 else "They stay"
        yield (
            f"On {len(chance)} of {len(chance) + len(kept)} tasks the full model is not shown to beat chance and the "
            f"most frequent answer ({', '.join(chance)}). {stays} out of the summary."
        )
    if not kept:
        yield "No task is shown to be above chance, so that nothing can be said about what it needs."
        return
    pooled = evidence.pooled(shots, level)
    if pooled and pooled != sorted(kept):
        yield (
            f"The tasks were pruned in several calls. What is said of tasks together is of the last call's "
            f"{len(pooled)} ({', '.join(pooled)}); what is said task by task is of all {len(kept)}."
        )
    yield from _together(evidence, level, name, paper, shots)
    yield from _at_the_papers_share(evidence, level, name, paper, shots)
    yield from _task_by_task(evidence, level, name, shots, kept)
    yield from _areas(evidence, level, name, shots, kept)


def _together(evidence: Evidence, level: PruningLevel, name: str, paper: int, shots: int) -> Iterator[str]:
    """The tasks as one curve: own order beside the controls."""
    for kind, (outcome, harmless) in HARMLESS.items():
        own = evidence.rows(kind=kind, level=level, shots=shots, a=POOLED, b="own")
        if not own["value"].notna().any():
            continue
        tasks = int(own["n"].iloc[0])
        controls = {order: evidence.rows(kind=kind, level=level, shots=shots, a=POOLED, b=order) for order in CONTROLS}
        shares = {
            order: task_table.share(evidence, kind, level, shots, order)
            for order in ("own", *(order for order, rows in controls.items() if len(rows)))
        }
        listed = "; ".join(
            f"{_named(order)} {'ranking' if order == 'own' else 'orders, median over draws'}: {words}"
            f"{over_others(controls.get(order, own), tasks)}"
            for order, words in shares.items()
        )
        together = f"the {tasks_told(tasks)} above chance together"
        what = f"Share of the {name} shown to be removable by {outcome}, {together}"
        beside = f"The paper removes about {paper}% of OPT-66B's."
        if set(shares.values()) == {task_table.UNDECIDED}:
            yield f"{what}: {task_table.UNDECIDED}. {BLIND} {beside}"
            continue
        blind = f" {BLIND}" if task_table.UNDECIDED in shares.values() else ""
        rule = f"A share counts as removable when, there and at every smaller step tried, {harmless}."
        yield f"{what}: {listed}. {rule}{blind} {beside}"


def _at_the_papers_share(evidence: Evidence, level: PruningLevel, name: str, paper: int, shots: int) -> Iterator[str]:
    changes = evidence.together(Kind.PRUNED_METRIC, level, shots)
    if changes.empty or "own" not in set(changes["b"]):
        return
    near = min(evidence.steps(level, shots, "own"), key=lambda p: abs(p - paper))
    step = changes[changes["percent"] == near]
    listed = changes_by_order(step, {order: _named(order) for order in ORDERS})
    yield (
        f"With {near}% of the {name} removed (the step tried that is nearest to the paper's {paper}%), the mean change "
        f"of accuracy over {tasks_told(step[step['b'] == 'own']['n'].iloc[0])} is: {listed}."
    )


def changes_by_order(step: pd.DataFrame, names: dict[str, str]) -> str:
    """The changes at one step, order by order; one over another number of tasks than the own order's says so."""
    own = step[step["b"] == "own"]["n"]
    count = int(own.iloc[0]) if len(own) else int(step["n"].max())
    by_order = [(name, step[step["b"] == order]) for order, name in names.items()]
    return ", ".join(f"{name} {change_told(rows)}{over_others(rows, count)}" for name, rows in by_order if len(rows))


def _task_by_task(evidence: Evidence, level: PruningLevel, name: str, shots: int, kept: Sequence[str]) -> Iterator[str]:
    """The spread over tasks, and where accuracy can't say."""
    metric, gold = (_values(evidence, kind, level, shots, "own", kept) for kind in SHARES)
    if metric.empty:
        return
    few = [task for task in metric.index if task_table.blind(evidence, level, shots, str(task)) and metric[task] == 0]
    decided = metric.drop(few)
    steps = evidence.steps(level, shots, "own")
    parts = [f"by accuracy: {_spread(decided, steps)}"] if len(decided) else []
    parts.append(f"by log-likelihood: {_spread(gold, steps)}")
    yield f"Share of the {name} shown to be removable task by task, own ranking, {'; '.join(parts)}."
    if few:
        yield (
            f"By accuracy {len(few)} of {tasks_told(len(metric))} can't be decided: taken alone their documents are "
            "too few to exclude a loss of 2 points even where no answer changes."
        )


def _spread(values: pd.Series, steps: Sequence[int]) -> str:
    low, median, high = (task_table.in_words(value, steps) for value in (values.min(), values.median(), values.max()))
    count = len(values)
    if values.min() == values.max():
        return f"{median}, on {'the one task' if count == 1 else f'each of {count} tasks'}"
    low, high = (words.partition(",")[0] for words in (low, high))
    return f"{median}, in the median of {count} tasks (from {low} to {high} from task to task)"


def _areas(evidence: Evidence, level: PruningLevel, name: str, shots: int, kept: Sequence[str]) -> Iterator[str]:
    """The area under the curve, beside the other orders'."""
    areas = {order: _values(evidence, "pruning_area", level, shots, order, kept) for order in ORDERS}
    most = len(areas["own"])
    listed = ", ".join(
        f"{_named(order)} {formatted(values.mean())}{'' if len(values) == most else f' (over {len(values)} tasks)'}"
        for order, values in areas.items()
        if len(values)
    )
    last = [steps[-1] for task in kept if (steps := evidence.steps(level, shots, "own", task))]
    if listed:
        reach = f" from 0 to {max(last)}% of the {name} removed" if last and min(last) == max(last) else ""
        yield (
            f"Area under the curve: accuracy above chance as a share of the full model's, averaged{reach} (1: pruning "
            f"costs nothing; 0: at chance on average), mean over {tasks_told(most)}: {listed}. Of random and "
            "layer-matched orders it is the median over draws."
        )
    own = evidence.rows(kind=Kind.PRUNING_AREA, level=level, shots=shots, b="own", a=list(kept)).set_index("a")["p"]
    draws = evidence.rows(kind=Kind.PRUNING_AREA, level=level, shots=shots, b="random", a=list(kept)).set_index("a")[
        "n"
    ]
    tested = pd.DataFrame({"p": own, "draws": draws}).dropna()
    if len(tested):
        best = int((tested["p"] * (tested["draws"] + 1) <= 1 + 1e-9).sum())
        count = int(tested["draws"].max())
        yield (
            f"The own order has a larger area than all {count} random orders on {best} of {tasks_told(len(tested))} "
            f"(rank p = {1 / (count + 1):.3f} there, the smallest that {count} orders can give, not corrected for the "
            "number of tasks)."
        )


def _values(
    evidence: Evidence, kind: str, level: PruningLevel, shots: int, order: str, tasks: Sequence[str]
) -> pd.Series:
    """By task, those that have the value."""
    rows = evidence.rows(kind=kind, level=level, shots=shots, b=order, a=list(tasks))
    return rows.set_index("a")["value"].dropna()


def _named(order: str) -> str:
    return order.replace("_", "-")


def joint(evidence: Evidence) -> Iterator[str]:
    """Mean change over the tasks above chance."""
    pruned = evidence.rows(kind=Kind.POOLED_TASKS, level=JOINT)
    for shots in sorted({int(count) for count in pruned["shots"]}):
        steps = evidence.together(Kind.PRUNED_METRIC, JOINT, shots, b="own")
        if steps.empty:
            yield f"**{at(shots).capitalize()}**: no task is shown to be above chance."
            yield ""
            continue
        columns = sorted(set(steps["heads"]))
        yield (
            f"**{at(shots).capitalize()}**, change of accuracy in points, mean over "
            f"{tasks_told(steps['n'].iloc[0])} above chance; heads and FFNs by zero ablation, in the tasks' "
            "own rankings as above:"
        )
        yield ""
        yield from table(
            ("FFNs removed", *(f"{share}% of heads" for share in columns)),
            ([f"{ffns}%", *(_cell(steps, heads, ffns) for heads in columns)] for ffns in sorted(set(steps["ffns"]))),
        )
        yield f"The paper reports losses of {PAPER} for OPT-66B, as (heads, FFNs)."
        yield ""


def _cell(changes: pd.DataFrame, heads: int, ffns: int) -> str:
    if not heads and not ffns:
        return "0"
    return change_told(changes[(changes["heads"] == heads) & (changes["ffns"] == ffns)], unit="")
