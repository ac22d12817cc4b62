"""Tasks pruned together: the mean over tasks of what each loses, step by step (Method 4).

1. Differences from the full model, paired item by item. The tasks are those that passed the screen; where there was no
   screen, those whose full model is above chance.
2. Every task counts alike, however many documents it has. Tasks are fixed and whole clusters of documents drawn: the
   variance is that within the tasks (ablation/statistics/intervals.py).
3. Removable share: three verdicts, as for one task (verdict.py). One task of a hundred documents can
   never exclude a loss of 2 points; ten of them together can.

Rows of `comparisons`, a = `pooled tasks`, b = order (`transfer`: the mean over all other tasks' orders):

| kind | level | value | interval |
|---|---|---|---|
| pruned_OUTCOME | component/ablation/step | mean change from the full model, of the choice gain for `kept` | 95% |
| pruned_kept (b = `full model`) | component/ablation | the full model's choice gain itself | 95% by cluster |
| removable_, not_removable_, deciding_OUTCOME | component/ablation | as for one task (pruning_task.py) | none |
| unchanged_bound (b = `full model`) | component/ablation | the lower bound of a metric that nothing changes | none |
| pooled_tasks (b = `full model`) | component/ablation | how many of the n tasks are in the mean | none |
| pooled_task (b = a task) | component/ablation | 1 in the mean, else 0; n clusters | none |

Outcomes are metric, choice, mass, margin, per token and kept; a task that lacks one is left out of it alone. All rows
of one component, ablation and number of shots are over the tasks of its `pooled_task` rows: `stale` finds the stored
ones that a pruning of other tasks leaves behind. A step is `p=50`, or `h=70,f=20` in the joint grid. `n` counts tasks.
Random and layer-matched orders give the median over their draws, and the 5th and 95th percentile as the interval.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ablation.statistics.intervals import PAIRED_LOSS, TasksMean, band, cluster_mean, mean_over_tasks
from ablation.statistics.verdict import TaskChange, removable_verdict
from headscope.comparison.pruning_task import JUDGED, KEPT, Curve, has_gain, verdict_rows
from headscope.store.comparisons import FULL, POOLED, PRUNED, Kind, PruningLevel, Row, row
from headscope.store.names import DRAWN, TRANSFER

PLACE = ["shots", "place"]
Drawn = list[list[list[Curve]]]  # of an order: draws, of each the tasks, of each its curves


def together_rows(curves: Sequence[Curve], *, component: str, ablation: str, screened: bool = False) -> Iterator[Row]:
    """The rows of every number of shots and order. screened: all these tasks passed a screen."""
    level = PruningLevel(component, ablation)
    for shots in sorted({curve.shots for curve in curves}):
        every = [curve for curve in curves if curve.shots == shots]
        kept = [curve for curve in every if curve.clustered] if screened else above_chance(every)
        pooled, tasks = (len({curve.task for curve in part}) for part in (kept, every))
        yield row(Kind.POOLED_TASKS, POOLED, FULL, shots, level, float(pooled), n=tasks)
        yield from _pooled(every, {curve.task for curve in kept}, shots, level)
        if kept:
            yield _unchanged(kept, shots, level)
            yield from _full_gain(kept, shots, level)
        for order, draws in by_order(kept, {curve.task for curve in every}).items():
            for outcome in PRUNED:
                yield from _rows(draws, order, shots, outcome, level)


def stale(stored: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Stored rows over tasks that must go when `rows` come: an order's older ones, and those over other tasks."""
    gone = []
    for key, fresh in _over_tasks(rows).groupby(PLACE):
        before = _over_tasks(stored)
        before = before[(before[PLACE] == list(key)).all(axis=1)]
        other = _tasks_of(before) != _tasks_of(fresh)
        gone.append(before if other else before[before["b"].isin(set(fresh["b"]))])
    return pd.concat(gone)[list(stored.columns)] if gone else stored.head(0)


def _over_tasks(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows over pruned tasks, with `place` = component/ablation without the step."""
    over = rows[(rows["a"] == POOLED) & (rows["kind"] != Kind.FFN_NEEDED)]
    return over.assign(place=[str(PruningLevel.parse(level).whole) for level in over["level"]])


def _tasks_of(rows: pd.DataFrame) -> set[tuple[str, float, int]]:
    """Task, whether it is in the mean, number of its clusters: other documents are another set."""
    pooled = rows[rows["kind"] == Kind.POOLED_TASK]
    return set(zip(pooled["b"], pooled["value"], pooled["n"], strict=True))


def _pooled(curves: Sequence[Curve], kept: set[str], shots: int, level: PruningLevel) -> Iterator[Row]:
    """Which tasks the rows of this number of shots are over."""
    first = {curve.task: curve for curve in reversed(curves)}
    for task in sorted(first):
        clusters = len(set(first[task].clusters))
        yield row(Kind.POOLED_TASK, POOLED, task, shots, level, float(task in kept), n=clusters)


def above_chance(curves: Sequence[Curve]) -> list[Curve]:
    """The curves of tasks whose full model is above chance; a task of one cluster has no bound and is left out."""
    return [curve for curve in curves if curve.check is not None and not curve.check.at_chance]


def by_order(curves: Sequence[Curve], sources: Collection[str]) -> dict[str, Drawn]:
    """For every order, for every draw of it, for every task its curves: one, or for `transfer` one each other source.

    sources: all tasks that were pruned, also those at chance: their rankings are another task's all the same. Orders
    that not every task has are left out, and so are those of a single source: their mean would be over other tasks.
    """
    tasks = sorted({curve.task for curve in curves})
    grouped: dict[str, dict[int, dict[str, list[Curve]]]] = {}
    for curve in curves:
        if curve.order != curve.task:
            name = TRANSFER if curve.order in sources else curve.order
            grouped.setdefault(name, {}).setdefault(curve.order_seed, {}).setdefault(curve.task, []).append(curve)
    wanted = {TRANSFER: len(set(sources)) - 1}
    return {
        name: [[draw[task] for task in tasks] for draw in draws.values()]
        for name, draws in grouped.items()
        if all(len(draw.get(task, ())) == wanted.get(name, 1) for draw in draws.values() for task in tasks)
    }


def _rows(draws: Drawn, order: str, shots: int, outcome: str, level: PruningLevel) -> Iterator[Row]:
    """Every step of one order, and what is removable where the steps are one curve."""
    losses = [[_change(tasks, outcome) for tasks in draw if outcome in tasks[0].changes] for draw in draws]
    if not losses[0]:
        return
    like, n = draws[0][0][0], len(losses[0])
    plain = [mean_change(tasks) for tasks in losses]
    for step, name in enumerate(like.steps):
        if step:
            of_tasks = [estimates[step] for estimates in plain]
            values = np.array([estimate.value for estimate in of_tasks])
            interval = band(values) if order in DRAWN else of_tasks[0].interval()
            yield row(
                PRUNED[outcome], POOLED, order, shots, level.at(*name), float(np.median(values)), interval=interval, n=n
            )
    if like.percents is not None and outcome in JUDGED:
        judged: Any = outcome
        with_gain = losses if outcome != KEPT or has_gain(losses[0]) else []
        verdicts = [removable_verdict(tasks, percents=like.percents, outcome=judged) for tasks in with_gain]
        yield from verdict_rows(verdicts, judged, (POOLED, order, shots, level), n=n)


def _change(curves: Sequence[Curve], outcome: str) -> TaskChange:
    """A task's change, the mean over its curves item by item."""
    held = [curve.changes[outcome] for curve in curves]
    return replace(held[0], change=np.mean([one.change for one in held], axis=0))


def mean_change(tasks: Sequence[TaskChange]) -> list[TasksMean]:
    """The mean over tasks of the change at every step, with the variance within the tasks."""
    return [
        mean_over_tasks([cluster_mean(task.change[step], task.clusters) for task in tasks])
        for step in range(len(tasks[0].change))
    ]


def _full_gain(curves: Sequence[Curve], shots: int, level: PruningLevel) -> Iterator[Row]:
    """What the demonstrations bring the full model, over the tasks: what the kept share is a share of."""
    first = {curve.task: curve for curve in curves if KEPT in curve.changes}.values()
    held = [(curve.changes[KEPT].gain, curve.changes[KEPT].clusters) for curve in first]
    estimates = [cluster_mean(gain, clusters) for gain, clusters in held if gain is not None]
    if estimates:
        gain = mean_over_tasks(estimates)
        key = (Kind.PRUNED_KEPT, POOLED, FULL, shots, level)
        yield row(*key, gain.value, interval=gain.interval(), n=gain.n_tasks)


def _unchanged(curves: Sequence[Curve], shots: int, level: PruningLevel) -> Row:
    """Whether the documents of all tasks are enough to exclude a loss of 2 points at all; `n` counts tasks."""
    first = {curve.task: curve for curve in curves}
    weakest = min(first, key=lambda task: len(set(first[task].clusters)))
    bound = mean_over_tasks(
        [
            cluster_mean(np.zeros(curve.metric.shape[1]), curve.labels, pseudo=PAIRED_LOSS if task == weakest else ())
            for task, curve in first.items()
        ]
    )
    return row(Kind.UNCHANGED_BOUND, POOLED, FULL, shots, level, bound.lower_bound(), n=len(first))
