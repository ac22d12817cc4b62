"""The primary: what the choice gain loses without the tested heads, against matched controls (Method 5).

1. The drop of each document: the full model's gain (choice with k demonstrations - with none), less the gain without
   the heads. Tasks count alike.
2. Its interval by documents, tasks fixed: these tasks. Beside it tasks random: tasks of this kind.
3. The same for the drop beyond the mean of the controls, paired by document; and its size in standard deviations of the
   controls, with its interval (standardised.py).
4. Where the tested set stands among its controls is told as a rank: controls share heads, so that the rank describes
   and tests nothing.
5. Three verdicts (verdict.py): on the drop, and on the drop beyond the controls' mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from ablation.statistics.intervals import TasksMean, cluster_mean, mean_over_random_tasks, mean_over_tasks
from ablation.statistics.permutation import RankP, rank_p_value
from ablation.statistics.spread_controls import CONTROLS
from ablation.statistics.standardised import StandardisedEffect, TaskDrops, exchangeable_p, standardised_effect
from ablation.statistics.verdict import CHOICE_MARGIN, EffectVerdict, effect_verdict
from interp.errors import UsageError


@dataclass(frozen=True)
class Primary:
    """The read-out; drops are in nats of choice (or the outcome's units), positive where the heads were needed.

    drop: the pooled drop with tasks fixed; random_tasks: with tasks taken for a sample (no interval with one task).
    beyond: the pooled drop beyond the controls' mean. effect: the same in standard deviations of the controls. rank: of
    the tested set among controls + 1, 1 = the largest drop. p: of the effect, if heads were exchangeable; None where
    the sets were not given. few_controls: fewer than 39.
    """

    tasks: tuple[str, ...]
    task_drops: tuple[float, ...]
    drop: TasksMean
    random_tasks: TasksMean
    beyond: TasksMean
    effect: StandardisedEffect
    rank: int
    n_controls: int
    few_controls: bool
    p: float | None
    verdict: EffectVerdict
    beyond_verdict: EffectVerdict


def primary(
    tasks: Sequence[TaskDrops],
    *,
    tested: Bool[np.ndarray, "layer head"] | None = None,
    controls: Bool[np.ndarray, "control layer head"] | None = None,
    groups: Int[np.ndarray, "layer head"] | None = None,
    margin: float = CHOICE_MARGIN,
    seed: int | np.random.Generator = 0,
) -> Primary:
    """The read-out from the drops of the screened tasks.

    tested, controls, groups: which heads each set removes, in the order of the drops, for p. Raises UsageError without
    a task, with fewer than three controls, and where sets and drops do not fit.
    """
    if not tasks:
        raise UsageError("The primary needs a task that passes the screen; got none.")
    effect = standardised_effect(tasks)
    estimates = [cluster_mean(task.tested, task.clusters) for task in tasks]
    drop = mean_over_tasks(estimates)
    ahead = [cluster_mean(task.tested - task.controls.mean(axis=0), task.clusters) for task in tasks]
    beyond = mean_over_tasks(ahead)
    found: RankP = rank_p_value(drop.value, effect.controls)
    return Primary(
        tasks=tuple(task.task for task in tasks),
        task_drops=tuple(estimate.value for estimate in estimates),
        drop=drop,
        random_tasks=mean_over_random_tasks(estimates),
        beyond=beyond,
        effect=effect,
        rank=1 + found.at_least_as_large,
        n_controls=effect.controls.size,
        few_controls=effect.controls.size < CONTROLS,
        p=_p(effect, tested, controls, groups, seed),
        verdict=effect_verdict(drop, margin=margin),
        beyond_verdict=effect_verdict(beyond, margin=margin),
    )


def _p(
    effect: StandardisedEffect,
    tested: Bool[np.ndarray, "layer head"] | None,
    controls: Bool[np.ndarray, "control layer head"] | None,
    groups: Int[np.ndarray, "layer head"] | None,
    seed: int | np.random.Generator,
) -> float | None:
    if tested is None or controls is None:
        return None
    if len(controls) != effect.controls.size:
        raise UsageError(f"There are drops of {effect.controls.size} control sets, but {len(controls)} sets of heads.")
    return exchangeable_p(effect.value, tested, controls, groups=groups, seed=seed)
