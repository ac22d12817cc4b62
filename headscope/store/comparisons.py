"""Rows of `comparisons.parquet`; a value that does not exist is NaN."""

from __future__ import annotations

from collections.abc import Iterable
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from ablation.statistics import holm
from headscope.store.tables import COMPARISONS

Row = dict[str, Any]
NO_INTERVAL = (nan, nan)
FULL = "full model"
INDUCTION_HEADS = "induction heads"
AGGREGATE = "aggregate"
INDUCTION_IMPORTANCE = "induction_importance"
ABOVE = "tasks above chance"
TRANSFER = "transfer"
DRAWN = ("random", "layer_matched")  # orders of removal that are drawn several times
# What `compare` writes and replaces as a whole; the other kinds belong to `prune` and the causal check.
KINDS = (
    "cross_task",
    "cross_task_signed",
    "cross_task_overlap",
    "cross_shot",
    "cross_shot_signed",
    "reliability",
    "induction_importance",
    "induction_importance_primary",
    "induction_importance_partial",
    "induction_importance_gain",
    "set_overlap",
    "set_overlap_expected_free",
    "set_overlap_expected_layer",
    "overlap",
    "overlap_expected_free",
    "overlap_expected_layer",
    "overlap_jaccard",
    "overlap_jaccard_expected_free",
    "overlap_jaccard_expected_layer",
    "retention_raw",
    "retention_excess",
    "exploratory_family",
)


def row(
    kind: str,
    a: str,
    b: str,
    shots: int,
    level: str,
    value: float,
    *,
    interval: tuple[float, float] = NO_INTERVAL,
    p: float = nan,
    p_holm: float = nan,
    n: int = 0,
) -> Row:
    """One comparison; `n` counts heads unless the kind says otherwise."""
    low, high = interval
    return {
        "kind": kind,
        "a": a,
        "b": b,
        "shots": shots,
        "level": level,
        "value": float(value),
        "ci_low": float(low),
        "ci_high": float(high),
        "p": float(p),
        "p_holm": float(p_holm),
        "n": int(n),
    }


def with_holm(rows: Iterable[Row]) -> list[Row]:
    """The rows with Holm's p over all of them that have a p."""
    held = list(rows)
    adjusted = holm(np.array([one["p"] for one in held], dtype=float))
    return [{**one, "p_holm": float(p)} for one, p in zip(held, adjusted, strict=True)]


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table, in the store's columns."""
    return pd.DataFrame(list(rows), columns=list(COMPARISONS.columns)).astype(dict(COMPARISONS.columns))
