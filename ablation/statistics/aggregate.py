"""One table out of several tasks' tables: each divided by its total, then averaged (Method 4).

1. The total is of absolute values: the same for importances, and `signed` ones are not divided by almost nothing.
2. A task whose table has no value, or nothing but zeros, has no shares: it is left out, not averaged in.
3. A head that one of the tasks left has no value for stays NaN: a mean over fewer tasks would be another number.
`raw` is the paper's plain mean of the tables, in which a table of zeros counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from interp.errors import UsageError


@dataclass(frozen=True)
class TasksAggregate:
    """The table, and which tasks are in it; all NaN where none is."""

    table: Float[np.ndarray, "*part layer head"]
    used: Bool[np.ndarray, "task *part"]


def aggregate_tables(
    tables: Float[np.ndarray, "task *part layer head"], *, raw: bool = False
) -> Float[np.ndarray, "*part layer head"]:
    """The aggregate of every part (all documents, without some of them, one half) by itself."""
    return tasks_aggregate(tables, raw=raw).table


def tasks_aggregate(tables: Float[np.ndarray, "task *part layer head"], *, raw: bool = False) -> TasksAggregate:
    """The same, with the tasks that are in it. FFN scores are passed with one head a layer, `scores[..., None]`.

    Raises UsageError without a task.
    """
    if not len(tables):
        raise UsageError("An aggregate needs the scores of at least one task; got none.")
    total = np.nansum(np.abs(tables), axis=(-2, -1), keepdims=True)
    used = np.isfinite(tables).any(axis=(-2, -1), keepdims=True) & (raw | (total > 0))
    shares = np.divide(tables, 1.0 if raw else total, out=np.zeros(tables.shape), where=used)
    count = used.sum(axis=0)
    mean = np.divide(shares.sum(axis=0), count, out=np.full(shares.shape[1:], np.nan), where=count > 0)
    return TasksAggregate(table=mean, used=used[..., 0, 0])
