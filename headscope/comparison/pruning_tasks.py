"""All tasks above chance pruned together: the mean over tasks of what each loses, step by step (Method 4).

1. Differences from the full model, paired item by item; tasks whose full model is at chance are left out.
2. Every task counts alike, however many documents it has. Tasks are fixed and whole clusters of documents drawn: the
   variance is that within the tasks (tasks_mean.py).
3. Removable share: as for one task, the largest p up to which every one-sided 95% bound stays above the margin. One
   task of a hundred documents can never exclude a loss of 2 points; ten of them together can. The pseudo-clusters that
   stand for rare losses are put once, where a cluster weighs most: into the task with the fewest.

Rows of `comparisons`, a = `tasks above chance`, b = order (`transfer`: the mean over all other tasks' orders):

| kind | level | value | interval |
|---|---|---|---|
| pruned_metric, pruned_log_likelihood | component/ablation/step | mean change from the full model | 95% by cluster |
| removable_metric, removable_log_likelihood | component/ablation | the removable share in percent | none |
| unchanged_bound (b = `full model`) | component/ablation | the lower bound of a metric that nothing changes | none |
| tasks_above_chance (b = `full model`) | component/ablation | how many of the n tasks are above chance | none |
| pooled_task (b = a task) | component/ablation | 1 above chance and in the mean, else 0; n clusters | none |

All rows of one component, ablation and number of shots are over the tasks of its `pooled_task` rows: `stale` finds the
stored ones that a pruning of other tasks leaves behind.
A step is `p=50`, or `h=70,f=20` in the joint grid. `n` counts tasks. Random and layer-matched orders give the median
over their draws, and the 5th and 95th percentile as the interval.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from ablation.statistics.curves import LOG_LIKELIHOOD_MARGIN, METRIC_MARGIN, chance_check
from ablation.statistics.intervals import PAIRED_LOSS, PseudoClusters, cluster_mean
from ablation.statistics.tasks_mean import TasksMean, mean_over_tasks
from headscope.comparison.pruning_task import Curve, band
from headscope.store.comparisons import ABOVE, FULL, NO_INTERVAL, PRUNED, REMOVABLE, Kind, PruningLevel, Row, row
from headscope.store.names import DRAWN, TRANSFER

PLACE = ["shots", "place"]
MARGINS = {"metric": METRIC_MARGIN, "log_likelihood": LOG_LIKELIHOOD_MARGIN}


@dataclass(frozen=True)
class Loss:
    """One task: change from the full model by step and item, and the items' clusters."""

    task: str
    change: Float[np.ndarray, "step item"]
    clusters: Int[np.ndarray, "item"]


def together_rows(curves: Sequence[Curve], *, component: str, ablation: str) -> Iterator[Row]:
    """The rows of every number of shots and order; `curves` hold one draw of an order each, its demonstrations joined.

    Where no task is above chance there is the row that says so.
    """
    level = PruningLevel(component, ablation)
    for shots in sorted({curve.shots for curve in curves}):
        every = [curve for curve in curves if curve.shots == shots]
        kept = above_chance(every)
        found, tasks = (len({curve.task for curve in part}) for part in (kept, every))
        yield row(Kind.TASKS_ABOVE_CHANCE, ABOVE, FULL, shots, level, float(found), n=tasks)
        yield from _pooled(every, {curve.task for curve in kept}, shots, level)
        if kept:
            yield _unchanged(kept, shots, level)
        for order, draws in by_order(kept, {curve.task for curve in every}).items():
            for outcome in MARGINS:
                losses = [[_loss(tasks, outcome) for tasks in draw] for draw in draws]
                yield from _rows(losses, draws[0][0][0], order, shots, outcome, level)


def stale(stored: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Stored rows over tasks that must go when `rows` come: an order's older ones, and those over other tasks."""
    gone = []
    for place, fresh in _over_tasks(rows).groupby(PLACE):
        held = _over_tasks(stored)
        held = held[(held[PLACE] == list(place)).all(axis=1)]
        other = _tasks_of(held) != _tasks_of(fresh)
        gone.append(held if other else held[held["b"].isin(set(fresh["b"]))])
    return pd.concat(gone)[list(stored.columns)] if gone else stored.head(0)


def _over_tasks(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows over tasks, with `place` = component/ablation without the step."""
    found = rows[rows["a"] == ABOVE]
    return found.assign(place=[str(PruningLevel.parse(level).whole) for level in found["level"]])


def _tasks_of(rows: pd.DataFrame) -> set[tuple[str, float, int]]:
    """Task, whether it is in the mean, number of its clusters: other documents are another set."""
    found = rows[rows["kind"] == Kind.POOLED_TASK]
    return set(zip(found["b"], found["value"], found["n"], strict=True))


def _pooled(curves: Sequence[Curve], kept: set[str], shots: int, level: PruningLevel) -> Iterator[Row]:
    """Which tasks the rows of this number of shots are over."""
    first = {curve.task: curve for curve in reversed(curves)}
    for task in sorted(first):
        clusters = len(set(first[task].clusters))
        yield row(Kind.POOLED_TASK, ABOVE, task, shots, level, float(task in kept), n=clusters)


def above_chance(curves: Sequence[Curve]) -> list[Curve]:
    """The curves of tasks whose full model is above chance; a task of one cluster has no bound and is left out."""
    return [curve for curve in curves if curve.clustered and not is_at_chance(curve)]


def is_at_chance(curve: Curve) -> bool:
    """Whether the full model's lower bound is not above chance and the majority share."""
    metric = curve.metric[0]
    check = chance_check(metric, np.full(metric.size, curve.chance), curve.labels("metric"), majority=curve.majority)
    return check.at_chance


def by_order(curves: Sequence[Curve], sources: Collection[str]) -> dict[str, list[list[list[Curve]]]]:
    """For every order, for every draw of it, for every task its curves: one, or for `transfer` one each other source.

    sources: all tasks that were pruned, also those at chance: their rankings are another task's all the same. Orders
    that not every task has are left out, and so are those of a single source: their mean would be over other tasks.
    """
    tasks = sorted({curve.task for curve in curves})
    found: dict[str, dict[int, dict[str, list[Curve]]]] = {}
    for curve in curves:
        if curve.order != curve.task:
            name = TRANSFER if curve.order in sources else curve.order
            found.setdefault(name, {}).setdefault(curve.order_seed, {}).setdefault(curve.task, []).append(curve)
    wanted = {TRANSFER: len(set(sources)) - 1}
    return {
        name: [[draw[task] for task in tasks] for draw in draws.values()]
        for name, draws in found.items()
        if all(len(draw.get(task, ())) == wanted.get(name, 1) for draw in draws.values() for task in tasks)
    }


def _loss(curves: Sequence[Curve], outcome: str) -> Loss:
    """A task's change, the mean over its curves item by item."""
    changes = [values - values[:1] for values in (curve.values(outcome) for curve in curves)]
    return Loss(curves[0].task, np.mean(changes, axis=0), curves[0].labels(outcome))


def _rows(
    draws: Sequence[Sequence[Loss]], like: Curve, order: str, shots: int, outcome: str, level: PruningLevel
) -> Iterator[Row]:
    """Every step of one order, and its removable share where the steps are one curve."""
    plain = [mean_change(tasks) for tasks in draws]
    for step, name in enumerate(like.steps):
        if step:
            found = [estimates[step] for estimates in plain]
            values = np.array([one.value for one in found])
            interval = band(values) if order in DRAWN else found[0].interval()
            place = (PRUNED[outcome], ABOVE, order, shots, level.at(*name))
            yield row(*place, float(np.median(values)), interval=interval, n=len(draws[0]))
    if like.percents is not None:
        shares = np.array([_removable(tasks, like.percents, outcome) for tasks in draws], dtype=float)
        interval = band(shares) if order in DRAWN else NO_INTERVAL
        place = (REMOVABLE[outcome], ABOVE, order, shots, level)
        yield row(*place, float(np.median(shares)), interval=interval, n=len(draws[0]))


def mean_change(tasks: Sequence[Loss], pseudo: tuple[PseudoClusters, ...] = ()) -> list[TasksMean]:
    """The mean over tasks of the change at every step, with the variance within the tasks."""
    weakest = min(range(len(tasks)), key=lambda place: int(tasks[place].clusters.max()))
    added = [pseudo if place == weakest else () for place in range(len(tasks))]
    return [
        mean_over_tasks(
            [
                cluster_mean(task.change[step], task.clusters, pseudo=more)
                for task, more in zip(tasks, added, strict=True)
            ]
        )
        for step in range(len(tasks[0].change))
    ]


def _unchanged(curves: Sequence[Curve], shots: int, level: PruningLevel) -> Row:
    """Whether the documents of all tasks are enough to exclude a loss of 2 points at all; `n` counts tasks."""
    first = {curve.task: curve for curve in curves}.values()
    losses = [Loss(one.task, np.zeros((1, one.metric.shape[1])), one.labels("metric")) for one in first]
    (bound,) = mean_change(losses, PAIRED_LOSS)
    return row(Kind.UNCHANGED_BOUND, ABOVE, FULL, shots, level, bound.lower_bound(), n=len(losses))


def _removable(tasks: Sequence[Loss], percents: Sequence[int], outcome: str) -> int:
    """The largest percentage up to which every bound is above the margin."""
    bounds = mean_change(tasks, PAIRED_LOSS if outcome == "metric" else ())[1:]
    holds = [True]  # Nothing is removed at 0%.
    for bound in bounds:
        holds.append(holds[-1] and bound.lower_bound() > -MARGINS[outcome])
    return max(percent for percent, held in zip(percents, holds, strict=True) if held)
