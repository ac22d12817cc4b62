"""The contest's rows: what the choice loses without heads of each kind, beside matched controls (Method 5).

a = the arm, b = the group of tasks (`extractive`, `abstractive`, `all tasks`), level = outcome/way/positions/share/
overlap (and the dose); `n` counts tasks unless said otherwise:

| kind | value |
|---|---|
| contest_drop | drop of the outcome; interval by document, tasks fixed; of doses and the negative control this alone |
| contest_beyond | the drop beyond the mean of the controls; interval by document |
| contest_effect | the same in sds of the controls; p if heads were exchangeable, Holm over all; `n` counts controls |
| contest_rank | place among the controls, 1 = the largest drop; `n` counts controls |
| contest_controls | median drop of the controls, 5th to 95th percentile; `n` counts controls |
| contest_ahead | the drop beyond the controls less that of the induction heads; interval by document |
| contest_level | a = `full model`, level = outcome: the mean itself |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from ablation.contest import (
    CLASS,
    DOSE,
    GROUPS,
    INDUCTION,
    NEGATIVE,
    OUTCOMES,
    TESTED,
    ContestTask,
    Match,
    RemovedSet,
    matches,
)
from ablation.statistics.intervals import band, cluster_mean, mean_over_tasks
from ablation.statistics.primary import primary
from ablation.statistics.standardised import FEWEST_CONTROLS, TaskDrops
from headscope.comparison.primary import mask_of
from headscope.store.comparisons import FULL, ContestLevel, Kind, Row, row, with_holm

Grid = Int[np.ndarray, "layer head"]


def contest_rows(tasks: Sequence[ContestTask], wanted: Sequence[RemovedSet], groups: Grid) -> Iterator[Row]:
    """All rows; nothing of groups without a task."""
    effects: list[Row] = []
    for group in GROUPS:
        held = [task for task in tasks if task.in_group(group)]
        for outcome in OUTCOMES if held else ():
            yield level_row(held, outcome, group)
            for match in matches(wanted):
                drops = match.of(held, outcome, group)
                rows = list(match_rows(match, drops, outcome, group, held[0].shots, groups))
                effects += [one for one in rows if one["kind"] == Kind.CONTEST_EFFECT]
                yield from (one for one in rows if one["kind"] != Kind.CONTEST_EFFECT)
            yield from ahead_rows(held, wanted, outcome, group)
    yield from with_holm(effects)


def match_rows(
    match: Match, drops: Sequence[TaskDrops], outcome: str, group: str, shots: int, groups: Grid
) -> Iterator[Row]:
    """The rows of one tested set; without controls enough, its drop alone."""
    key = (arm_of(match.tested), group, shots, level_of_set(match.tested, outcome))
    if not drops:
        return
    drop = mean_over_tasks([cluster_mean(task.tested, task.clusters) for task in drops])
    yield row(Kind.CONTEST_DROP, *key, drop.value, interval=drop.interval(), n=len(drops))
    if len(match.controls) < FEWEST_CONTROLS:
        return
    result = primary(
        drops,
        tested=mask_of(match.tested.heads.heads, groups),
        controls=np.stack([mask_of(one.heads.heads, groups) for one in match.controls]),
        groups=groups,
    )
    controls = result.effect.controls
    yield row(Kind.CONTEST_BEYOND, *key, result.beyond.value, interval=result.beyond.interval(), n=len(drops))
    yield row(Kind.CONTEST_RANK, *key, float(result.rank), n=result.n_controls)
    yield row(Kind.CONTEST_CONTROLS, *key, float(np.median(controls)), interval=band(controls), n=result.n_controls)
    p, effect = float("nan") if result.p is None else result.p, result.effect
    yield row(Kind.CONTEST_EFFECT, *key, effect.value, interval=(effect.low, effect.high), p=p, n=result.n_controls)


def ahead_rows(tasks: Sequence[ContestTask], wanted: Sequence[RemovedSet], outcome: str, group: str) -> Iterator[Row]:
    """Each arm's class-sized set against the induction heads, both beyond their controls, paired by document; and the
    rivals once more, each without what the other has.
    """
    sized = [one for one in matches(wanted) if is_sized(one.tested) and len(one.controls) >= FEWEST_CONTROLS]
    for match in sized:
        base = [other for other in sized if other.tested.heads.arm == INDUCTION and _alike(match.tested, other.tested)]
        if match.tested.heads.arm == INDUCTION or not base:
            continue
        pairs = list(zip(match.of(tasks, outcome, group), base[0].of(tasks, outcome, group), strict=True))
        if not pairs:
            continue
        ahead = mean_over_tasks([cluster_mean(_beyond(own) - _beyond(rival), own.clusters) for own, rival in pairs])
        key = (arm_of(match.tested), group, tasks[0].shots, level_of_set(match.tested, outcome))
        yield row(Kind.CONTEST_AHEAD, *key, ahead.value, interval=ahead.interval(), n=len(pairs))


def _beyond(task: TaskDrops) -> Any:
    return task.tested - task.controls.mean(axis=0)


def level_row(tasks: Sequence[ContestTask], outcome: str, group: str) -> Row:
    """The mean outcome of the whole model."""
    levels = [task.level(outcome, group) for task in tasks if outcome in task.full.outcomes]
    means = [float(level.mean()) for level in levels if level.size]
    value = float(np.mean(means)) if means else float("nan")
    return row(Kind.CONTEST_LEVEL, FULL, group, tasks[0].shots, ContestLevel(outcome), value, n=len(means))


def set_table(tasks: Sequence[ContestTask], wanted: Sequence[RemovedSet]) -> pd.DataFrame:
    """One row a set, way of removing, outcome and group of tasks: the mean drop, controls included."""
    found = []
    for group in GROUPS:
        held = [task for task in tasks if task.in_group(group)]
        for outcome in OUTCOMES if held else ():
            with_it = [task for task in held if outcome in task.full.outcomes]
            for one in wanted if with_it else ():
                drops = [task.drop(one, outcome, group) for task in with_it]
                values = [float(drop.mean()) for drop in drops if drop.size]
                mean = float(np.mean(values)) if values else float("nan")
                found.append({**described(one), "group": group, "outcome": outcome, "drop": mean})
    return pd.DataFrame(found)


def described(one: RemovedSet) -> dict[str, Any]:
    """A removal as columns."""
    heads = one.heads
    return {
        "arm": heads.arm,
        "share": heads.share,
        "overlap": heads.overlap,
        "role": heads.role,
        "draw": heads.draw,
        "dose": heads.dose,
        "ablation": one.ablation,
        "positions": one.positions,
        "heads": ",".join(f"{layer}.{head}" for layer, head in heads.heads),
    }


def arm_of(one: RemovedSet) -> str:
    return NEGATIVE if one.heads.role == NEGATIVE else one.heads.arm


def is_sized(one: RemovedSet) -> bool:
    """A tested set as large as the class, or what of it the rival does not have."""
    return (one.heads.role, one.heads.share) == (TESTED, CLASS)


def _alike(one: RemovedSet, other: RemovedSet) -> bool:
    """Removed in one way, shared heads kept in both or in neither."""
    return (one.ablation, one.positions, one.heads.overlap) == (other.ablation, other.positions, other.heads.overlap)


def level_of_set(one: RemovedSet, outcome: str) -> ContestLevel:
    heads = one.heads
    dose = f"{heads.dose:g}" if heads.role == DOSE else ""
    return ContestLevel(outcome, one.ablation, one.positions, heads.share, heads.overlap, dose)
