"""What a task's pruning curves come to: area, removable share, and the full model against chance (Method 4).

Rows of `comparisons`, a = task, b = order, level = component/ablation:

| kind | value | interval |
|---|---|---|
| pruning_area | normalised area under the curve of the metric; p its rank among the random orders' | 95% by cluster |
| removable_metric, removable_log_likelihood | the removable share in percent | none |
| full_metric (b = `full model`) | the metric of the full model; its low bound | one-sided 95% |
| at_chance (b = `full model`) | 1 where the bound is not above chance and the majority share | chance, majority |

| unchanged_bound (b = `full model`) | the lower bound of a metric that nothing changes; `n` counts clusters | none |

Where `unchanged_bound` is not above -.02, the documents are too few for any `removable_metric` above 0.
Random and layer-matched orders give the median over their draws, and the 5th and 95th percentile as the interval.
The draws of the demonstrations are items of the same clusters: documents are what is independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from ablation.statistics import PruningArea, area_under_curve, rank_p_value, removable_share
from ablation.statistics.curves import Outcome
from ablation.statistics.intervals import PAIRED_LOSS, cluster_mean
from headscope.store.comparisons import FULL, NO_INTERVAL, REMOVABLE, Kind, PruningLevel, Row, row
from headscope.store.names import DRAWN

if TYPE_CHECKING:
    from ablation.pruning import Pruning

ACC = "acc"
OUTCOMES: tuple[Outcome, ...] = ("metric", "log_likelihood")


@dataclass(frozen=True)
class Curve:
    """One order on one cell: the metric and the gold log-likelihood of every item at every step.

    percents: of the components removed; None for the joint grid, whose steps are no single curve.
    """

    task: str
    shots: int
    order: str
    order_seed: int
    steps: tuple[tuple[int, int], ...]
    percents: tuple[int, ...] | None
    chance: float
    majority: float
    metric: Float[np.ndarray, "percent unit"]
    clusters: tuple[str, ...]
    gold: Float[np.ndarray, "percent document"]
    document_clusters: tuple[str, ...]

    @classmethod
    def of(cls, found: Pruning) -> Curve:
        first = found.steps[0].evaluation
        sizes = [(int(step.percent_heads), int(step.percent_ffns)) for step in found.steps]
        both = found.component == "both"
        return cls(
            found.task,
            found.shots,
            found.order,
            found.order_seed,
            tuple(sizes),
            None if both else tuple(heads + ffns for heads, ffns in sizes),
            found.chance,
            found.majority,
            found.metric(),
            first.clusters,
            found.gold_log_likelihoods(),
            first.document_clusters,
        )

    def values(self, outcome: str) -> Float[np.ndarray, "percent item"]:
        """`metric` by unit, or `log_likelihood` by document."""
        return self.metric if outcome == "metric" else self.gold

    def labels(self, outcome: str) -> Int[np.ndarray, "item"]:
        """The cluster of every item, numbered."""
        return numbered(self.clusters if outcome == "metric" else self.document_clusters)

    @property
    def clustered(self) -> bool:
        """Whether there are two clusters or more, so that there are intervals."""
        return len(set(self.clusters)) > 1


def with_demonstrations_joined(curves: Sequence[Curve]) -> list[Curve]:
    """One curve a draw of an order: the draws of the demonstrations side by side, as items of the same clusters."""
    by_draw: dict[tuple[str, int], list[Curve]] = {}
    for curve in curves:
        by_draw.setdefault((curve.order, curve.order_seed), []).append(curve)
    return [_joined(draws) for draws in by_draw.values()]


def summary_rows(curves: Sequence[Curve], *, component: str, ablation: str) -> Iterator[Row]:
    """The rows of one task and number of shots, from joined curves; the joint grid has none of its own."""
    by_order: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve.percents is not None:
            by_order.setdefault(curve.order, []).append(curve)
    level = PruningLevel(component, ablation)
    areas = {name: [_area(draw) for draw in draws] for name, draws in by_order.items()}
    for place, (name, draws) in enumerate(by_order.items()):
        if place == 0:
            yield from _full(draws[0], areas[name][0], level)
        yield from _order(name, draws, areas, level)


def _order(
    name: str, draws: list[Curve], areas: dict[str, list[PruningArea | None]], level: PruningLevel
) -> Iterator[Row]:
    """One order: its area and its removable shares."""
    first = draws[0]
    place = (first.task, name, first.shots, level)
    found = [area for area in areas[name] if area is not None]
    if found:
        values = np.array([area.value for area in found])
        interval = (found[0].ci_low, found[0].ci_high) if name not in DRAWN else band(values)
        p = _rank_p(values[0], areas.get("random", [])) if name not in DRAWN else float("nan")
        yield row(Kind.PRUNING_AREA, *place, float(np.median(values)), interval=interval, p=p, n=len(draws))
    for outcome in OUTCOMES:
        shares = [share for share in (_removable(draw, outcome) for draw in draws) if share is not None]
        if shares:
            interval = band(np.array(shares, dtype=float)) if name in DRAWN else NO_INTERVAL
            yield row(REMOVABLE[outcome], *place, float(np.median(shares)), interval=interval, n=len(draws))


def _full(curve: Curve, area: PruningArea | None, level: PruningLevel) -> Iterator[Row]:
    """The full model's metric against chance; `n` counts items."""
    place = (curve.task, FULL, curve.shots, level)
    metric, n = float(curve.metric[0].mean()), curve.metric.shape[1]
    low = area.check.lower_bound if area is not None else float("nan")
    yield row(Kind.FULL_METRIC, *place, metric, interval=(low, float("nan")), n=n)
    if area is not None:
        told = (area.check.chance, area.check.majority)
        yield row(Kind.AT_CHANCE, *place, float(area.check.at_chance), interval=told, n=n)
        unchanged = cluster_mean(np.zeros(n), curve.labels("metric"), pseudo=PAIRED_LOSS)
        yield row(Kind.UNCHANGED_BOUND, *place, unchanged.lower_bound(), n=unchanged.n_clusters)


def _joined(curves: Sequence[Curve]) -> Curve:
    first = curves[0]
    return Curve(
        first.task,
        first.shots,
        first.order,
        first.order_seed,
        first.steps,
        first.percents,
        first.chance,
        first.majority,
        np.concatenate([one.metric for one in curves], axis=1),
        sum((one.clusters for one in curves), ()),
        np.concatenate([one.gold for one in curves], axis=1),
        sum((one.document_clusters for one in curves), ()),
    )


def _area(curve: Curve) -> PruningArea | None:
    """None where there is a single cluster of documents, which has no interval."""
    if curve.percents is None or not curve.clustered:
        return None
    labels, chance = curve.labels("metric"), np.full(curve.metric.shape[1], curve.chance)
    return area_under_curve(curve.metric, chance, labels, percents=curve.percents, majority=curve.majority)


def _removable(curve: Curve, outcome: Outcome) -> float | None:
    """None with a single cluster, as above."""
    if curve.percents is None or not curve.clustered:
        return None
    values, labels = curve.values(outcome), curve.labels(outcome)
    return removable_share(values, labels, percents=curve.percents, outcome=outcome).percent


def _rank_p(value: float, controls: Sequence[PruningArea | None]) -> float:
    """How often a random order does at least as well: (1 + #) / (N + 1)."""
    others = np.array([one.value for one in controls if one is not None])
    if not others.size or not np.isfinite([value, *others]).all():
        return float("nan")
    return rank_p_value(value, others).p


def band(values: Float[np.ndarray, "draw"]) -> tuple[float, float]:
    """5th and 95th percentile over draws."""
    if not np.isfinite(values).all():
        return NO_INTERVAL
    return float(np.quantile(values, 0.05)), float(np.quantile(values, 0.95))


def numbered(labels: Sequence[str]) -> Int[np.ndarray, "item"]:
    """Equal labels, equal numbers."""
    return np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64)
