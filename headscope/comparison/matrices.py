"""Do tasks, and do numbers of shots, need the same heads? All pairs of rankings (Method 5).

For every pair: rho over all heads and within layers, each with its jackknife interval and its permutation p (Holm
within the matrix); rho* free of the noise of both rankings; Kendall's tau-b; and what the paper's released script calls
the rank correlation. The reliability of every ranking stands beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ablation.statistics import (
    Agreement,
    Level,
    agreement,
    bansal_released,
    kendall,
    overlap,
    permutation_test,
    reliability,
)
from ablation.statistics.clusters import same_clusters
from headscope.comparison.scored import Scored, Shelf
from headscope.store.comparisons import NO_INTERVAL, AtShots, Coefficient, Kind, RankCut, Row, ScoreName, row, with_holm
from headscope.store.names import AGGREGATE
from headscope.store.scores import IMPORTANCE

LEVELS: tuple[Level, ...] = ("global", "within_layer")
CROSS_TASK = {"token": Kind.CROSS_TASK, "signed": Kind.CROSS_TASK_SIGNED, "signed/choice": Kind.CROSS_TASK_CHOICE}
CROSS_SHOT = {"token": Kind.CROSS_SHOT, "signed": Kind.CROSS_SHOT_SIGNED, "signed/choice": Kind.CROSS_SHOT_CHOICE}
OVERLAPS = (5, 10, 20, 30)
BETWEEN_SHOTS = -1  # in the column `shots` of rows between two numbers, which stand in a and b
Pair = tuple[str | AtShots, Scored, str | AtShots, Scored]


def cross_task(shelf: Shelf, variant: str, shots: int) -> list[Row]:
    """Every pair of tasks at one number of shots, and how reliable each task's ranking is."""
    tasks = shelf.tasks(IMPORTANCE, variant, shots)
    scored = {task: shelf.of_task(IMPORTANCE, variant, task, shots) for task in tasks}
    pairs = [(a, scored[a], b, scored[b]) for a, b in combinations(tasks, 2)]
    rows = matrix(CROSS_TASK[variant], pairs, shelf, shots=shots)
    rows += [
        line for task in tasks for line in reliabilities(scored[task], task, str(ScoreName(IMPORTANCE, variant)), shots)
    ]
    return rows + (list(_overlaps(pairs, shots, shelf.seed)) if variant == "token" else [])


def cross_shot(shelf: Shelf, variant: str) -> list[Row]:
    """Every pair of numbers of shots, task by task and for the aggregate over the tasks that have them all."""
    shots = shelf.shots(IMPORTANCE, variant)
    measured = {count: set(shelf.tasks(IMPORTANCE, variant, count)) for count in shots}
    pairs: list[Pair] = []
    for few, many in combinations(shots, 2):
        shared = sorted(measured[few] & measured[many])
        for task in shared:
            a, b = (shelf.of_task(IMPORTANCE, variant, task, count) for count in (few, many))
            pairs.append((AtShots(task, few), a, AtShots(task, many), b))
        if len(shared) > 1:
            a, b = (shelf.aggregate(IMPORTANCE, variant, count, shared) for count in (few, many))
            pairs.append((AtShots(AGGREGATE, few), a, AtShots(AGGREGATE, many), b))
    return matrix(CROSS_SHOT[variant], pairs, shelf, shots=BETWEEN_SHOTS)


def matrix(kind: Kind, pairs: Sequence[Pair], shelf: Shelf, *, shots: int) -> list[Row]:
    """All statistics of all pairs, p corrected over the pairs."""
    rows: list[Row] = []
    for level in LEVELS:
        each = (_compared(kind, pair, shelf, level, shots, family=len(pairs)) for pair in pairs)
        rows += with_holm(line for part in each for line in part)
    for name, statistic in (("kendall", kendall), ("bansal_released", bansal_released)):
        for a, left, b, right in pairs:
            test = statistic(left.table, right.table)
            rows.append(row(kind, a, b, shots, name, test.value, n=test.n_heads))
    return rows


def agreed(a: Scored, b: Scored, level: Level) -> Agreement | None:
    """rho with its interval, and rho*; None where a ranking has too few clusters of documents for one."""
    left, right = a.resampled, b.resampled
    if left is None or right is None:
        return None
    return agreement(left, right, level=level, shared=shared(a, b))


def shared(a: Scored, b: Scored) -> bool:
    """Whether both were scored on the same documents, so that they share their noise."""
    left, right = a.resampled, b.resampled
    if left is None or right is None or a.documents_of != b.documents_of:
        return False
    return same_clusters(left, right)


def reliabilities(scored: Scored, name: str, ranking: str, shots: int) -> Iterator[Row]:
    """How well a ranking would agree with itself on other documents; `n` counts clusters of documents.

    name: whose ranking (a task, `aggregate`, or a score that needs no task), ranking: by what, empty for such a score.
    """
    if scored.resampled is None:
        return
    for level in LEVELS:
        repeat = reliability(scored.resampled, level=level)
        value = repeat.value if np.isfinite(repeat.value) else np.nan
        yield row(Kind.RELIABILITY, name, ranking, shots, level, value, n=repeat.n_clusters)


def _compared(kind: Kind, pair: Pair, shelf: Shelf, level: Level, shots: int, *, family: int) -> Iterator[Row]:
    """rho with its interval and p, then rho* with its own."""
    a, left, b, right = pair
    how: dict[str, Any] = {"groups": shelf.groups, "seed": shelf.seed}
    test = permutation_test(left.table, right.table, level=level, family=family, **how)
    agreement = agreed(left, right, level)
    interval = NO_INTERVAL if agreement is None else (agreement.ci_low, agreement.ci_high)
    yield row(kind, a, b, shots, level, test.value, interval=interval, p=test.p, n=test.n_heads)
    if agreement is not None:
        stretched = (agreement.star_low, agreement.star_high)
        yield row(
            kind, a, b, shots, Coefficient(level).corrected, agreement.rho_star, interval=stretched, n=agreement.n_heads
        )


def _overlaps(pairs: Sequence[Pair], shots: int, seed: int) -> Iterator[Row]:
    """Share of the top heads that two tasks have in common, p layer-matched."""
    for q in OVERLAPS:
        rows = []
        for a, left, b, right in pairs:
            shared = overlap(left.table, right.table, percents=(q,), seed=seed)
            values: dict[str, Any] = {"shots": shots, "level": RankCut("q", q), "n": shared.n_heads}
            rows.append(row(Kind.CROSS_TASK_OVERLAP, a, b, value=shared.share[0], p=shared.p_layer[0], **values))
        yield from with_holm(rows)
