"""Stored scores as arrays, and the aggregate over tasks (METHODS 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from headscope.store.run import Run
from interp.errors import UsageError


def tables(
    run: Run, score: str, variant: str, shots: int, *, tasks: Sequence[str], component: str = "head"
) -> Float[np.ndarray, "task layer *head"]:
    """One score of several tasks. Raises UsageError, naming what is missing, where one of them is not stored."""
    read = run.head_score if component == "head" else run.ffn_score
    return np.stack([read(score, variant, task=task, shots=shots).mean.double().numpy() for task in tasks])


def aggregate(tables: Float[np.ndarray, "task layer *head"], *, raw: bool = False) -> Float[np.ndarray, "layer *head"]:
    """Each task's scores divided by their total, then averaged; `raw` is the paper's plain mean.

    The total is of absolute values, which is the same for importances and keeps the sign of `signed` scores. A table
    of zeros adds nothing.
    """
    if not len(tables):
        raise UsageError("an aggregate ranking needs the scores of at least one task; got none")
    axes = tuple(range(1, tables.ndim))
    total = np.nansum(np.abs(tables), axis=axes, keepdims=True)
    shares = tables if raw else np.divide(tables, total, out=np.zeros_like(tables), where=total > 0)
    return np.asarray(shares.mean(axis=0))


def aggregate_without(
    scores: Float[np.ndarray, "task layer *head"], place: int, *, raw: bool = False
) -> Float[np.ndarray, "layer *head"]:
    """The aggregate of all tasks but one: what a pruned task may be ranked by (METHODS 4)."""
    return aggregate(np.delete(scores, place, axis=0), raw=raw)
