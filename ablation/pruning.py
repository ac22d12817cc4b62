"""Pruning: a task's outcomes as more and more heads, kv groups and FFNs are removed.

Bansal et al. 2023, sections 5.1-5.3; Method 4.
One order from the full model, floor(p n / 100) components removed at p = 0, 10, ..., 90; for heads and FFNs together
the grid {0..70} x {0..50}. The unit of heads is the single head or the kv group, whose heads go together. Evaluate on
other documents than those that made the order. The area under a curve is in statistics/curves.py, what can be removed
in statistics/verdict.py; everything they need is kept, item by item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from ablation.evaluation import LOG_LIKELIHOOD, METRIC, Evaluate, Evaluation, evaluate
from ablation.gains import Shots
from ablation.gold import refuse_no_documents
from ablation.names import UNITS
from ablation.orders import Order, Scores, by_scores
from ablation.provenance import refuse_other_model
from ablation.references import make_replacement
from ablation.replacement import Replacement
from ablation.statistics.curves import ChanceCheck, PruningArea, area_under_curve, chance_check
from ablation.statistics.verdict import RemovableOutcome, RemovableVerdict, TaskChange, removable_verdict
from interp.errors import UsageError
from interp.masks import FFNMask, HeadMask
from interp.scores import Ranking
from interp.shown import one_line

if TYPE_CHECKING:
    import pandas as pd

    from interp.model import HookedModel

Orderlike = Order | Ranking | Scores
Orders = Orderlike | tuple[Orderlike, Orderlike]
PERCENTS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90)
GRID = tuple((heads, ffns) for ffns in range(0, 60, 10) for heads in range(0, 80, 10))


@one_line
@dataclass(frozen=True)
class PrunedStep:
    """The task with some heads and FFNs removed."""

    percent_heads: float
    percent_ffns: float
    removed_heads: int
    removed_ffns: int
    evaluation: Evaluation


@one_line
@dataclass(frozen=True)
class Pruning:
    """All steps of one order on one task. The first is the full model where the percentages begin at 0.

    component: `head`, `kv_group`, `ffn` or `both`. order_seed tells random orders of one name apart.
    """

    task: str
    shots: int
    demo_seed: int
    component: str
    order: str
    order_seed: int
    ablation: str
    chance: float
    majority: float
    steps: tuple[PrunedStep, ...]

    def rows(self, outcomes: Sequence[str] = (METRIC, LOG_LIKELIHOOD)) -> list[dict[str, Any]]:
        """One row a step and outcome, in the columns of `metrics.parquet`; the metric by its own name."""
        return [row for step in self.steps for row in self._rows(step, outcomes)]

    def to_frame(self, outcomes: Sequence[str] = (METRIC, LOG_LIKELIHOOD)) -> pd.DataFrame:
        """The same as a table."""
        import pandas as pd

        return pd.DataFrame(self.rows(outcomes))

    def values(self, outcome: str) -> Float[np.ndarray, "percent item"]:
        """An outcome (`choice`, `mass`, `sum`, `metric`, ...) by step and item."""
        return np.stack([step.evaluation.outcome(outcome).values for step in self.steps])

    def labels(self, outcome: str) -> Int[np.ndarray, "item"]:
        """The cluster of each item of an outcome, as numbers."""
        return self.steps[0].evaluation.outcome(outcome).labels

    def metric(self) -> Float[np.ndarray, "percent unit"]:
        """The metric by step and unit."""
        return np.stack([step.evaluation.values for step in self.steps])

    def gold_log_likelihoods(self) -> Float[np.ndarray, "percent document"]:
        """The gold continuation's log-likelihood by step and document, in nats."""
        return np.stack([step.evaluation.gold_log_likelihoods for step in self.steps])

    def area(self) -> PruningArea:
        """The normalised area under the metric's curve; 1 = pruning costs nothing."""
        metric = self.metric()
        chance = np.full(metric.shape[1], self.chance)
        return area_under_curve(metric, chance, self.labels(METRIC), percents=self.percents, majority=self.majority)

    def above_chance(self) -> ChanceCheck:
        """The full model's metric beside chance and the majority share, of the joint grid too."""
        metric = self.metric()[0]
        return chance_check(metric, np.full(metric.size, self.chance), self.labels(METRIC), majority=self.majority)

    def removable(self, outcome: RemovableOutcome = "choice") -> RemovableVerdict:
        """How much is shown removable, shown not to be, or undecided: in nats of `choice`, or points of the `metric`.

        How much of the choice gain is kept needs the task without demonstrations too: `removable_gain`.
        """
        if outcome == "kept":
            raise UsageError("what is kept of the choice gain is of two prunings: removable_gain(few, none)")
        return removable_verdict([self.change(outcome)], percents=self.percents, outcome=outcome)

    def change(self, outcome: str) -> TaskChange:
        """Each item's change from the full model by step: what verdicts over several tasks are made of."""
        values = self.values(outcome)
        return TaskChange(values - values[0], self.labels(outcome))

    @property
    def sizes(self) -> list[tuple[float, float]]:
        """Percent of heads and percent of FFNs of every step."""
        return [(float(step.percent_heads), float(step.percent_ffns)) for step in self.steps]

    @property
    def percents(self) -> list[float]:
        """The percentages of a single curve. Raises UsageError for the joint grid, which has none."""
        if self.component == "both":
            raise UsageError("the joint grid of heads and FFNs has no single curve: take one of them at a time")
        return [sum(size) for size in self.sizes]

    def _rows(self, step: PrunedStep, outcomes: Sequence[str]) -> Iterator[dict[str, Any]]:
        run = {
            "task": self.task,
            "shots": self.shots,
            "demo_seed": self.demo_seed,
            "component": self.component,
            "order": self.order,
            "order_seed": self.order_seed,
            "ablation": self.ablation,
        }
        sizes = {
            "percent_heads": step.percent_heads,
            "percent_ffns": step.percent_ffns,
            "removed_heads": step.removed_heads,
            "removed_ffns": step.removed_ffns,
        }
        for name in outcomes:
            found = step.evaluation.outcome(name)
            metric = step.evaluation.metric_name if name == METRIC else name
            measured = {"metric": metric, "value": found.mean, "stderr": found.stderr, "n": len(found.values)}
            yield {**run, **sizes, **measured}


def prune(
    model: HookedModel,
    task: Any,
    order: Orders,
    *,
    component: str | None = None,
    unit: str | None = None,
    percents: Sequence[Any] | Any = None,
    ablation: str = "zero",
    references: Sequence[Any] | None = None,
    replacement: Replacement | None = None,
    full: Evaluation | None = None,
    evaluate: Evaluate = evaluate,
    progress: Callable[[int, int], None] | None = None,
) -> Pruning:
    """Evaluate a task with components removed in an order, lowest first.

    order: an Order (orders.py), a Ranking or scores; for component `both` a pair, heads first. unit: what an order of
    heads removes, `head` or `group`; unset, what the order is of. percents: numbers, or for `both` pairs (heads, FFNs).
    ablation: `zero`; `mean` and `resample` need `references`, token documents that are
    not evaluated (or a `replacement` made of them before). full: the evaluation of the whole model, where it is known.
    evaluate: what evaluates a step, called as evaluate(model, task, heads=, ffns=, replacement=). progress(done, total)
    counts steps.
    Raises UsageError for an order of another model or kind.
    """
    orders = tuple(_as_order(one) for one in (order if isinstance(order, tuple) else (order,)))
    kind = _check(model, orders, component, unit)
    refuse_no_documents(task, whole=True)
    if replacement is None:
        evaluated = task.token_documents(model) if ablation != "zero" else ()
        replacement = make_replacement(model, ablation, references, evaluated=evaluated)
    steps: list[PrunedStep] = []
    sizes = list(_sizes(kind, percents))
    for heads, ffns in sizes:
        masks, counts = _masks(orders, kind, heads, ffns)
        if full is None or any(counts):
            found = evaluate(model, task, heads=masks[0], ffns=masks[1], replacement=replacement)
            full = found if not any(counts) else full
        else:
            found = full
        steps.append(PrunedStep(heads, ffns, *counts, found))
        if progress is not None:
            progress(len(steps), len(sizes))
    names = dict.fromkeys(one.name for one in orders)
    return Pruning(
        task=task.name,
        shots=task.shots,
        demo_seed=task.seed,
        component=kind,
        order="+".join(names),
        order_seed=orders[0].seed,
        ablation="zero" if replacement is None else replacement.name,
        chance=task.chance,
        majority=task.majority,
        steps=tuple(steps),
    )


def gain_change(few: Pruning, none: Pruning) -> TaskChange:
    """What of the choice gain each step costs, item by item, beside the full model's gain: for verdicts over tasks.

    few, none: one order's prunings with demonstrations and without. Raises UsageError where they are not.
    """
    names = ("task", "component", "order", "order_seed", "ablation", "sizes")
    if any(getattr(few, name) != getattr(none, name) for name in names):
        raise UsageError(
            f"the choice gain is lost by one order on one task: got {few.task} by {few.order} at {few.sizes} and "
            f"{none.task} by {none.order} at {none.sizes} (percent of heads, of FFNs)"
        )
    gains = np.stack(
        [Shots(a.evaluation, b.evaluation).gain("choice") for a, b in zip(few.steps, none.steps, strict=True)]
    )
    return TaskChange(gains - gains[0], few.labels("choice"), gain=gains[0])


def removable_gain(few: Pruning, none: Pruning) -> RemovableVerdict:
    """How much can go with 95% of the choice gain kept: the share to compare models by (Method 4)."""
    return removable_verdict([gain_change(few, none)], percents=few.percents, outcome="kept")


def _as_order(order: Orderlike) -> Order:
    if isinstance(order, Order):
        return order
    if isinstance(order, Ranking):
        return Order(order.name, order)
    return by_scores(order)


def _check(model: HookedModel, orders: tuple[Order, ...], component: str | None, unit: str | None) -> str:
    """`head`, `kv_group`, `ffn` or `both`: what the orders are of, if it was asked for and is of this model."""
    kinds = tuple(order.kind for order in orders)
    single = tuple("head" if kind == "kv_group" else kind for kind in kinds)
    found = {("head",): kinds[0], ("ffn",): "ffn", ("head", "ffn"): "both"}.get(single)
    wanted = {"kv_group": "head"}.get(str(component), component)
    if found is None or wanted not in (None, *({"head"} if found == "kv_group" else {found})):
        raise UsageError(
            f"component {component!r} was asked for with an order of {' and '.join(kinds)}: give an order "
            "of heads, of FFNs, or for 'both' the pair (heads, FFNs)"
        )
    _check_unit(model, kinds[0], unit if component != "kv_group" else "group")
    for order in orders:
        rows, *columns = order.ranking.scores.shape
        shape = (rows, *(column * (order.width or 1) for column in columns))
        refuse_other_model(model, order.provenance, shape, f"the order {order.name!r} of {order.kind}s")
    return found


def _check_unit(model: HookedModel, kind: str, unit: str | None) -> None:
    if unit not in (None, *UNITS):
        raise UsageError(f"{unit!r} is no unit of pruning; there are {', '.join(UNITS)} (--unit)")
    alone = model.n_heads == model.n_kv_heads and kind != "ffn"  # each head is a group of its own
    if not alone and unit is not None and (kind == "kv_group") != (unit == "group"):
        raise UsageError(
            f"unit {unit!r} was asked for with an order of {kind}s: rank kv groups by importance(...).kv_groups(), "
            "single heads by importance(...).heads()"
        )


def _sizes(kind: str, percents: Sequence[Any] | Any) -> Iterator[tuple[float, float]]:
    """(percent of heads, percent of FFNs) of every step."""
    told, width = ("pairs (heads, FFNs)", 2) if kind == "both" else ("numbers", 1)
    if isinstance(percents, str) or not isinstance(percents, Iterable | None):
        raise UsageError(f"percents of {kind!r} are {told}, for example (0, 10), got {percents!r}")
    for given in percents if percents is not None else GRID if kind == "both" else PERCENTS:
        pair = given if isinstance(given, tuple) else (given,)
        if isinstance(given, tuple) != (kind == "both") or len(pair) != width or not all(map(_is_number, pair)):
            raise UsageError(f"percents of {kind!r} are {told}, got {given!r}")
        if isinstance(given, tuple):
            yield float(given[0]), float(given[1])
        else:
            yield (0.0, float(given)) if kind == "ffn" else (float(given), 0.0)


def _is_number(given: object) -> bool:
    return isinstance(given, int | float | np.integer | np.floating) and not isinstance(given, bool)


def _masks(
    orders: tuple[Order, ...], kind: str, heads: float, ffns: float
) -> tuple[tuple[HeadMask | None, FFNMask | None], tuple[int, int]]:
    """The masks of a step, and how many components (heads or groups, FFNs) each removes."""
    head_order = orders[0] if kind != "ffn" else None
    ffn_order = orders[-1] if kind in ("ffn", "both") else None
    head_mask = head_order.mask(heads) if head_order is not None else None
    ffn_mask = ffn_order.mask(ffns) if ffn_order is not None else None
    counts = (head_order.removed(heads) if head_order else 0, ffn_order.removed(ffns) if ffn_order else 0)
    return (head_mask, ffn_mask), counts  # type: ignore[return-value]
