"""Three verdicts, never two: shown, shown not to be, undecided with the documents that would decide (Method 4, 5).

**Removable shares.** With d(p) the paired change from the full model when p percent are removed, a share is harmless
where d(p) lies above the margin: -2 points of the metric, -.05 nats of `choice`, or, for `kept`, 95% of the choice gain
left, which is gain(p) - .95 gain(0) above 0.
1. Shown removable up to p: every p' <= p has a one-sided 95% lower bound above the margin.
2. Shown not removable from p on: every p' >= p of the steps tried has a one-sided 95% upper bound below the margin.
   Upwards and downwards the steps are tested in a fixed order and up to the first that fails, so that each claim is
   wrong in at most 5% of studies, however many steps there are.
3. In between it is undecided. For each step there: the documents with which one of the two bounds would pass four times
   in five if the change is truly the one seen. None would do where the change seen is the margin itself.
Bounds of a metric, which may show no variance at all, hold rare losses (lower) and rare gains (upper): intervals.py.
Several tasks count alike, and the pseudo-clusters stand in the task with the fewest clusters.

**One effect.** Shown: the two-sided 95% interval is off 0. Shown absent: both one-sided 5% tests put it inside the
margin (power.py). Undecided: neither, with the documents that would decide it either way if the effect is truly the one
seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

from ablation.statistics.curves import check_percents
from ablation.statistics.intervals import (
    PAIRED_GAIN,
    PAIRED_LOSS,
    ClusterSums,
    Estimate,
    PseudoClusters,
    TasksMean,
    mean_over_tasks,
)
from ablation.statistics.permutation import ROUNDING
from ablation.statistics.power import (
    LEVEL,
    POWER,
    copies_for,
    documents_for,
    documents_for_equivalence,
    equivalence_bound,
    fewest_documents,
)
from interp.errors import UsageError

RemovableOutcome = Literal["metric", "choice", "kept"]
Kind = Literal["shown", "absent", "undecided"]

MARGINS: dict[RemovableOutcome, float] = {"metric": 0.02, "choice": 0.05, "kept": 0.0}
CHOICE_MARGIN = MARGINS["choice"]
KEPT_SHARE = 0.95


@dataclass(frozen=True)
class TaskChange:
    """One task: each item's change from the full model at every step, the full model first, and the items' clusters.

    gain: the choice gain of the full model, item by item, for `kept` alone; the change is then that of the gain.
    """

    change: Float[np.ndarray, "percent item"]
    clusters: Int[np.ndarray, "item"]
    gain: Float[np.ndarray, "item"] | None = None


@dataclass(frozen=True)
class RemovableVerdict:
    """What is shown about the share that can go; bounds are one-sided, in the units of `difference`.

    difference: mean change from the full model; for `kept` the gain left beyond 95% of the full model's, in nats.
    shown: removable up to this percentage. refuted: not removable from this percentage on, None where that is shown
    nowhere. documents: for each step in between, how many would decide it; NaN where it is decided, infinite where no
    number would. kept: share of the gain that is left, for `kept`.
    """

    outcome: RemovableOutcome
    margin: float
    percents: Float[np.ndarray, "percent"]
    difference: Float[np.ndarray, "percent"]
    lower_bound: Float[np.ndarray, "percent"]
    upper_bound: Float[np.ndarray, "percent"]
    shown: float
    refuted: float | None
    documents: Float[np.ndarray, "percent"]
    kept: Float[np.ndarray, "percent"] | None
    n_tasks: int
    n_items: int
    n_clusters: int

    @property
    def undecided(self) -> tuple[float, ...]:
        """The percentages about which neither is shown."""
        return tuple(float(percent) for percent in self.percents[~np.isnan(self.documents)])

    @property
    def documents_next(self) -> float | None:
        """Documents (of all tasks together) that would decide the first undecided step; None where all is decided."""
        needed = self.documents[~np.isnan(self.documents)]
        return float(needed[0]) if needed.size else None


@dataclass(frozen=True)
class EffectVerdict:
    """An effect that is shown, shown to be absent (inside the margin), or neither.

    low, high: its two-sided interval. equivalence_bound: the smallest margin it is shown to lie within. within_margin:
    it does lie within the margin, also where it is shown to be there. documents: how many would decide it; None where
    it is decided, infinite where no number would.
    """

    kind: Kind
    value: float
    low: float
    high: float
    margin: float
    equivalence_bound: float
    within_margin: bool
    documents: float | None


def removable_verdict(
    tasks: Sequence[TaskChange], *, percents: Sequence[int | float], outcome: RemovableOutcome
) -> RemovableVerdict:
    """The verdict over these tasks, of which there may be one."""
    if outcome not in MARGINS:
        raise UsageError(f"Unknown outcome {outcome!r}; expected one of {', '.join(MARGINS)}.")
    if not tasks:
        raise UsageError("A removable share needs at least one task; got none. See which tasks pass the screen.")
    grid, margin = check_percents(percents, len(tasks[0].change)), MARGINS[outcome]
    changes = [_changes(task, outcome) for task in tasks]
    kept = _kept(tasks, changes) if outcome == "kept" else None
    sides = (PAIRED_LOSS, PAIRED_GAIN) if outcome == "metric" else ((), ())
    steps = [
        [
            ClusterSums.of(change[step], np.ones(change[step].shape), task.clusters)
            for task, change in zip(tasks, changes, strict=True)
        ]
        for step in range(len(grid))
    ]
    below, above = ([_pooled(sums, side) for sums in steps] for side in sides)
    lower = np.array([estimate.lower_bound() for estimate in below])
    upper = np.array([estimate.upper_bound() for estimate in above])
    value = np.array([estimate.value for estimate in below])
    # Nothing is removed at p = 0: what is there is there by definition, not by measurement.
    lower[0] = upper[0] = value[0]
    passes = np.logical_and.accumulate(lower > -margin + ROUNDING)
    fails = np.logical_and.accumulate((upper < -margin - ROUNDING)[::-1])[::-1]
    documents = np.full(len(grid), np.nan)
    for step in np.flatnonzero(~passes & ~fails):
        documents[step] = _documents(steps[step], sides, margin)
    return RemovableVerdict(
        outcome=outcome,
        margin=margin,
        percents=grid,
        difference=value,
        lower_bound=lower,
        upper_bound=upper,
        shown=float(grid[passes][-1]),
        refuted=float(grid[fails][0]) if fails.any() else None,
        documents=documents,
        kept=kept,
        n_tasks=len(tasks),
        n_items=below[0].n_items,
        n_clusters=sum(sums.above.size for sums in steps[0]),
    )


def effect_verdict(
    estimate: Estimate, *, margin: float = CHOICE_MARGIN, level: float = LEVEL, equivalence_level: float = LEVEL
) -> EffectVerdict:
    """The verdict on one effect, from its estimate by cluster or over tasks.

    level: of the two-sided test. equivalence_level: of each of the two one-sided ones; looks.py gives both where the
    documents come in blocks. An effect may be shown and lie within the margin: it is there, and small.
    """
    if not margin > 0:
        raise UsageError(f"An effect is absent where it lies within a margin above 0; got {margin}.")
    if not math.isfinite(estimate.stderr):
        return EffectVerdict("undecided", estimate.value, math.nan, math.nan, margin, math.nan, False, math.inf)
    bound = equivalence_bound(estimate, level=equivalence_level)
    reach = estimate.interval(1 - level)
    shown, within = not reach[0] <= 0 <= reach[1], bound < margin
    kind: Kind = "shown" if shown else "absent" if within else "undecided"
    documents = None
    if kind == "undecided":
        documents = min(
            documents_for(estimate.value, estimate, level=level),
            documents_for_equivalence(margin, estimate, effect=estimate.value, level=equivalence_level),
        )
    return EffectVerdict(kind, estimate.value, *reach, margin, bound, within, documents)


def _changes(task: TaskChange, outcome: RemovableOutcome) -> Float[np.ndarray, "percent item"]:
    """What the bounds are of: the change, or gain(p) - .95 gain(0) = change of the gain + .05 gain(0)."""
    if outcome == "metric" and not (np.abs(task.change) <= 1).all():
        raise UsageError(
            f"A metric changes by 1 at most on an item; got {task.change.min()} to {task.change.max()}. Give shares, "
            "not points."
        )
    if outcome != "kept":
        return task.change
    if task.gain is None:
        raise UsageError("What is kept of the choice gain needs the full model's gain, item by item: pass gain=.")
    return task.change + (1 - KEPT_SHARE) * task.gain


def _pooled(tasks: Sequence[ClusterSums], pseudo: tuple[PseudoClusters, ...], copies: float = 1.0) -> TasksMean:
    weakest = min(range(len(tasks)), key=lambda place: tasks[place].above.size)
    return mean_over_tasks(
        [task.estimate(pseudo=pseudo if place == weakest else (), copies=copies) for place, task in enumerate(tasks)]
    )


def _documents(tasks: Sequence[ClusterSums], sides: Sequence[tuple[PseudoClusters, ...]], margin: float) -> float:
    """How many documents would decide a step."""
    plain = _pooled(tasks, ())

    def slack(copies: float) -> float:
        below, above = (_pooled(tasks, side, copies) for side in sides)
        spare = float(norm.ppf(POWER)) * plain.stderr / math.sqrt(copies)
        return max(below.lower_bound() - spare + margin, -margin - above.upper_bound() - spare)

    smallest = min(task.above.size for task in tasks) - 1.0
    planned = replace(plain, freedom=smallest)  # Each task needs its two clusters.
    return fewest_documents(slack, planned, guess=copies_for(abs(plain.value + margin), plain))


def _kept(
    tasks: Sequence[TaskChange], changes: Sequence[Float[np.ndarray, "percent _"]]
) -> Float[np.ndarray, "percent"]:
    """Mean gain left over the full model's mean gain, tasks counting alike."""
    whole = float(np.mean([task.gain.mean() for task in tasks if task.gain is not None]))
    if not whole > 0:
        raise UsageError(
            f"The demonstrations bring {whole:.3f} nats of choice to the full model: there is no gain to keep a share "
            "of. Leave the tasks out that do not pass the screen."
        )
    beyond = np.mean([change.mean(axis=1) for change in changes], axis=0)
    return beyond / whole + KEPT_SHARE
