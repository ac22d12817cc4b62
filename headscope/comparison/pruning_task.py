"""What a task's pruning curves come to: area, removable share, and the full model against chance (Method 4).

Rows of `comparisons`, a = task, b = order, level = component/ablation; outcomes are metric, choice and kept (95% of the
choice gain), those of them that the task has:

| kind | value | interval |
|---|---|---|
| pruning_area | normalised area under the curve of the metric; p its rank among the random orders' | 95% by cluster |
| removable_OUTCOME | shown removable up to this percentage | none |
| not_removable_OUTCOME | shown not removable from this percentage on; no row where that is shown nowhere | none |
| deciding_OUTCOME | documents that decide the first undecided step, or infinite; `n` those at hand; no row if none | |
| full_metric (b = `full model`) | the metric of the full model; its low bound | one-sided 95% |
| at_chance (b = `full model`) | 1 where the bound is not above chance and the majority share | chance, majority |
| unchanged_bound (b = `full model`) | the lower bound of a metric that nothing changes; `n` counts clusters | none |

Where `unchanged_bound` is not above -.02, the documents are too few for any `removable_metric` above 0.
Random and layer-matched orders give the median over their draws, and the 5th and 95th percentile as the interval; the
other two verdicts are of single orders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from ablation.evaluation import METRIC
from ablation.pruning import gain_change, removable_gain
from ablation.statistics import ChanceCheck, PruningArea, rank_p_value
from ablation.statistics.intervals import PAIRED_LOSS, band, cluster_mean, cluster_numbers
from ablation.statistics.verdict import RemovableOutcome, RemovableVerdict, TaskChange
from headscope.store.comparisons import (
    DECIDING,
    FULL,
    NO_INTERVAL,
    NOT_REMOVABLE,
    RELATED,
    REMOVABLE,
    Kind,
    PruningLevel,
    Row,
    row,
)
from headscope.store.names import DRAWN

if TYPE_CHECKING:
    from ablation.pruning import Pruning

ACC = "acc"
KEPT = "kept"
JUDGED: tuple[RemovableOutcome, ...] = ("metric", "choice", "kept")


@dataclass(frozen=True)
class Curve:
    """One order on one task: the metric of every unit at every step, and the changes of each outcome.

    percents: of the components removed; None for the joint grid, whose steps are no single curve. changes: from the
    full model, by outcome (`metric`, `choice`, `mass`, `margin`, `per_token`, `kept`), those that the task has.
    verdicts: what is removable, by outcome; none of a grid, or of a task whose demonstrations bring nothing to keep.
    check, area, verdicts: nothing where there is a single cluster of documents, which has no interval.
    """

    task: str
    shots: int
    order: str
    order_seed: int
    steps: tuple[tuple[int, int], ...]
    percents: tuple[int, ...] | None
    check: ChanceCheck | None
    area: PruningArea | None
    metric: Float[np.ndarray, "percent unit"]
    clusters: tuple[str, ...]
    changes: Mapping[str, TaskChange]
    verdicts: Mapping[str, RemovableVerdict]

    @classmethod
    def of(cls, pruning: Pruning, none: Pruning | None = None) -> Curve:
        """none: the same order on the task without demonstrations, for what is kept of the choice gain."""
        first = pruning.steps[0].evaluation
        changes = {
            name: pruning.change(name) for name in (METRIC, "choice", "mass", *RELATED) if name in first.outcomes
        }
        if none is not None and "choice" in changes and "choice" in none.steps[0].evaluation.outcomes:
            changes[KEPT] = gain_change(pruning, none)
        clustered, single = len(set(first.clusters)) > 1, pruning.component != "both"
        return cls(
            pruning.task,
            pruning.shots,
            pruning.order,
            pruning.order_seed,
            tuple((int(heads), int(ffns)) for heads, ffns in pruning.sizes),
            tuple(map(int, pruning.percents)) if single else None,
            pruning.above_chance() if clustered else None,
            pruning.area() if clustered and single else None,
            pruning.metric(),
            first.clusters,
            changes,
            dict(_verdicts(pruning, none, changes)) if clustered and single else {},
        )

    @property
    def labels(self) -> Int[np.ndarray, "unit"]:
        """The cluster of every unit, numbered."""
        return cluster_numbers(self.clusters)

    @property
    def clustered(self) -> bool:
        """Whether there are two clusters or more, so that there are intervals."""
        return len(set(self.clusters)) > 1


def _verdicts(
    few: Pruning, none: Pruning | None, changes: Mapping[str, TaskChange]
) -> Iterator[tuple[str, RemovableVerdict]]:
    """What is removable of the order, by every outcome that is judged."""
    for outcome in JUDGED:
        if outcome != KEPT and outcome in changes:
            yield outcome, few.removable(outcome)
        elif outcome in changes and none is not None and has_gain([changes[KEPT]]):
            yield outcome, removable_gain(few, none)


def summary_rows(curves: Sequence[Curve], *, component: str, ablation: str) -> Iterator[Row]:
    """The rows of one task and number of shots; the joint grid has none of its own."""
    by_order: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve.percents is not None:
            by_order.setdefault(curve.order, []).append(curve)
    level = PruningLevel(component, ablation)
    areas = {name: [draw.area for draw in draws] for name, draws in by_order.items()}
    for index, (name, draws) in enumerate(by_order.items()):
        if index == 0:
            yield from _full(draws[0], level)
        yield from _order(name, draws, areas, level)


def _order(
    name: str, draws: list[Curve], areas: dict[str, list[PruningArea | None]], level: PruningLevel
) -> Iterator[Row]:
    """One order: its area and what is removable."""
    first = draws[0]
    key = (first.task, name, first.shots, level)
    known = [area for area in areas[name] if area is not None]
    if known:
        values = np.array([area.value for area in known])
        interval = (known[0].ci_low, known[0].ci_high) if name not in DRAWN else band(values)
        p = _rank_p(values[0], areas.get("random", [])) if name not in DRAWN else float("nan")
        yield row(Kind.PRUNING_AREA, *key, float(np.median(values)), interval=interval, p=p, n=len(draws))
    for outcome in JUDGED:
        verdicts = [draw.verdicts[outcome] for draw in draws if outcome in draw.verdicts]
        yield from verdict_rows(verdicts, outcome, key, n=len(draws))


def verdict_rows(
    verdicts: Sequence[RemovableVerdict], outcome: RemovableOutcome, key: tuple[str, str, int, PruningLevel], *, n: int
) -> Iterator[Row]:
    """What is shown removable in an order, of every draw of it; nothing where there is no gain to keep."""
    if not verdicts:
        return
    shown = np.array([verdict.shown for verdict in verdicts])
    drawn = key[1] in DRAWN
    yield row(REMOVABLE[outcome], *key, float(np.median(shown)), interval=band(shown) if drawn else NO_INTERVAL, n=n)
    if not drawn:
        yield from _other_verdicts(verdicts[0], outcome, key, n)


def _other_verdicts(
    verdict: RemovableVerdict, outcome: str, key: tuple[str, str, int, PruningLevel], n: int
) -> Iterator[Row]:
    """Shown not to be removable, and what would decide the steps between."""
    if verdict.refuted is not None:
        yield row(NOT_REMOVABLE[outcome], *key, verdict.refuted, n=n)
    if verdict.documents_next is not None:
        yield row(DECIDING[outcome], *key, verdict.documents_next, n=verdict.n_items)


def has_gain(tasks: Sequence[TaskChange]) -> bool:
    """Whether the demonstrations bring the full model something to keep a share of, over these tasks."""
    gains: list[Any] = [task.gain for task in tasks]
    return all(gain is not None for gain in gains) and float(np.mean([gain.mean() for gain in gains])) > 0


def _full(curve: Curve, level: PruningLevel) -> Iterator[Row]:
    """The full model's metric against chance; `n` counts items."""
    key, check = (curve.task, FULL, curve.shots, level), curve.check
    metric, n = float(curve.metric[0].mean()), curve.metric.shape[1]
    low = check.lower_bound if check is not None else float("nan")
    yield row(Kind.FULL_METRIC, *key, metric, interval=(low, float("nan")), n=n)
    if check is not None:
        chances = (check.chance, check.majority)
        yield row(Kind.AT_CHANCE, *key, float(check.at_chance), interval=chances, n=n)
        unchanged = cluster_mean(np.zeros(n), curve.labels, pseudo=PAIRED_LOSS)
        yield row(Kind.UNCHANGED_BOUND, *key, unchanged.lower_bound(), n=unchanged.n_clusters)


def _rank_p(value: float, controls: Sequence[PruningArea | None]) -> float:
    """How often a random order does at least as well: (1 + #) / (N + 1)."""
    others = np.array([area.value for area in controls if area is not None])
    if not others.size or not np.isfinite([value, *others]).all():
        return float("nan")
    return rank_p_value(value, others).p
