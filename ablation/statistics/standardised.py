"""The standardised effect: how many of its controls' standard deviations a tested set lies from their mean (Method 5).

    effect = (tested - mean of controls) / sd of controls

Two questions, answered apart:
1. How sure is this number? Documents are drawn, in whole clusters and with the tasks fixed, and so are the controls.
   Numerator and denominator are linear in the documents to first order, so that both have their variances and their
   covariance by cluster; drawing N controls adds sd²/N to the one and sd²/(2(N - 1)) to the other. The interval is
   Fieller's (1954) for their ratio: it is not symmetric, and has no end on a side where the controls' spread is not
   shown to be above 0.
2. Is the set unusual, if its heads are not? The controls are no independent draws from the sets there could be: they
   share heads with one another and none with the tested set, and by rank or by a t test a set of ordinary heads looks
   unusual in one study of eight instead of one of twenty (simulated: 11 heads in 6 of 30 layers of 9). So the effect is
   compared with what these very sets would get if the effects of heads added up and were drawn at random: each head's
   by itself, and with part of their variance (`share`) common to a key-value group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import t

from ablation.statistics.intervals import TasksMean, cluster_mean, mean_over_tasks
from ablation.statistics.kv_groups import group_of_valid
from ablation.statistics.permutation import ROUNDING, permutation_count
from interp.errors import UsageError

FEWEST_CONTROLS = 3
GROUP_SHARE = 0.4


@dataclass(frozen=True)
class TaskDrops:
    """One task: the drop of every item, for the tested set and for each control set, and the items' clusters."""

    task: str
    tested: Float[np.ndarray, "item"]
    controls: Float[np.ndarray, "control item"]
    clusters: Int[np.ndarray, "item"]


@dataclass(frozen=True)
class StandardisedEffect:
    """The effect in standard deviations of the controls, with its 95% interval (infinite on a side that has no end).

    controls: the drop of each control, over all tasks.
    """

    value: float
    low: float
    high: float
    control_mean: float
    control_deviation: float
    controls: Float[np.ndarray, "control"]


def standardised_effect(tasks: Sequence[TaskDrops], *, confidence: float = 0.95) -> StandardisedEffect:
    """The effect over tasks that count alike. Raises UsageError with fewer than three controls, or unequal numbers."""
    counts = {len(task.controls) for task in tasks}
    if len(counts) != 1 or min(counts) < FEWEST_CONTROLS:
        raise UsageError(
            f"A standardised effect needs the same controls in every task, {FEWEST_CONTROLS} or more; got "
            f"{[len(task.controls) for task in tasks]}. Run the control sets first."
        )
    tested = float(np.mean([task.tested.mean() for task in tasks]))
    controls = np.mean([task.controls.mean(axis=1) for task in tasks], axis=0)
    count, mean, deviation = controls.size, float(controls.mean()), float(controls.std(ddof=1))
    if deviation == 0:
        return StandardisedEffect(math.nan, -math.inf, math.inf, mean, deviation, controls)
    # How the controls' standard deviation moves with each control, to first order.
    slope = (controls - mean) / ((count - 1) * deviation)
    ahead = [task.tested - task.controls.mean(axis=0) for task in tasks]
    wide = [slope @ task.controls for task in tasks]
    tops, bottoms, sums = (
        _by_documents(tasks, values) for values in (ahead, wide, [a + b for a, b in zip(ahead, wide, strict=True)])
    )
    covariance = (sums.stderr**2 - tops.stderr**2 - bottoms.stderr**2) / 2
    low, high = fieller(
        tested - mean,
        deviation,
        tops.stderr**2 + deviation**2 / count,
        bottoms.stderr**2 + deviation**2 / (2 * (count - 1)),
        covariance,
        reach=float(t.ppf((1 + confidence) / 2, min(tops.freedom, count - 1))),
    )
    return StandardisedEffect((tested - mean) / deviation, low, high, mean, deviation, controls)


def fieller(
    top: float, bottom: float, top_variance: float, bottom_variance: float, covariance: float, *, reach: float
) -> tuple[float, float]:
    """Fieller's interval of top / bottom for a positive bottom: every ratio r that top - r bottom does not reject."""
    a = bottom**2 - reach**2 * bottom_variance
    b = top * bottom - reach**2 * covariance
    c = top**2 - reach**2 * top_variance
    inside = b**2 - a * c
    if a <= 0 or inside < 0:  # The bottom may be 0, and its ratio anything.
        return -math.inf, math.inf
    return (b - math.sqrt(inside)) / a, (b + math.sqrt(inside)) / a


def exchangeable_p(
    effect: float,
    tested: Bool[np.ndarray, "layer head"],
    controls: Bool[np.ndarray, "control layer head"],
    *,
    groups: Int[np.ndarray, "layer head"] | None = None,
    share: float = GROUP_SHARE,
    family: int = 1,
    seed: int | np.random.Generator = 0,
) -> float:
    """How often such sets of heads that have nothing in them get a standardised effect as far from 0; two-sided.

    share: of the variance of heads' effects that lies between key-value groups. The larger of the p at 0 and at `share`
    is given, so that it need not be known. NaN for an effect that is (controls that do not differ).
    """
    if not math.isfinite(effect):
        return math.nan
    if not 0 <= share < 1:
        raise UsageError(f"The share of variance between groups lies in [0, 1); got {share}.")
    sets = np.concatenate([tested[None], controls])
    used = np.asarray(sets.any(axis=0))
    members = sets[:, used].astype(np.float64)
    group_of = group_of_valid(groups, used)
    generator, draws = np.random.default_rng(seed), permutation_count(family)
    own = generator.standard_normal((draws, members.shape[1])) @ members.T
    found = [_as_extreme(own, effect)]
    if group_of is not None and share > 0:
        labels = np.unique(group_of, return_inverse=True)[1]
        between = generator.standard_normal((draws, int(labels.max()) + 1))[:, labels] @ members.T
        found.append(_as_extreme(math.sqrt(1 - share) * own + math.sqrt(share) * between, effect))
    return max(found)


def _as_extreme(outcomes: Float[np.ndarray, "draw set"], effect: float) -> float:
    """(b + 1) / (B + 1) with the tested set first; controls that do not differ have no effect to beat."""
    spread = outcomes[:, 1:].std(axis=1, ddof=1)
    ahead = outcomes[:, 0] - outcomes[:, 1:].mean(axis=1)
    drawn = np.divide(ahead, spread, out=np.full(len(outcomes), np.inf), where=spread > ROUNDING)
    return float(((np.abs(drawn) >= abs(effect) - ROUNDING).sum() + 1) / (len(outcomes) + 1))


def _by_documents(tasks: Sequence[TaskDrops], values: Sequence[Float[np.ndarray, "_"]]) -> TasksMean:
    return mean_over_tasks([cluster_mean(drops, task.clusters) for task, drops in zip(tasks, values, strict=True)])
