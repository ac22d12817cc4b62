"""Do the induction heads stand high in their layers? T, the secondary question beside the primary (Method 5).

1. Importance is what removing a head costs the choice, by exact knock-out (mean, else zero) where all heads were
   knocked out; else `signed` with objective `choice` (mean, else zero): the first of these that most tasks have.
   Aggregate over tasks at the most shots.
2. T and its p are those of ablation/statistics/class_rank.py; the interval is a delete-a-group jackknife by document.
3. Holm is over T and the primary's secondary effects together: they are secondaries of one study.

Rows of `comparisons`: `class_rank` (a = `induction heads`, b = the importance, level = `within_layer`; n = classed
heads in the mean) and `class_rank_detectable` (the least true T that is found with 80% power; low end: T at p = .05).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import norm

from ablation.statistics import class_rank, holm
from ablation.statistics.class_rank import rankable, within_layers
from ablation.statistics.jackknife import jackknife_variance
from headscope.comparison.scored import Scored, Shelf
from headscope.store.comparisons import (
    INDUCTION_HEADS,
    NO_INTERVAL,
    PRIMARY_ASKED,
    RELATED,
    CausalLevel,
    Coefficient,
    Kind,
    Row,
    ScoreName,
    row,
)
from headscope.store.scores import IMPORTANCE, KNOCK_OUT

MEASURES = (  # the first of those that most tasks have
    ScoreName(f"{KNOCK_OUT}_mean", "choice"),
    ScoreName(KNOCK_OUT, "choice"),
    ScoreName(IMPORTANCE, "signed/choice/mean"),
    ScoreName(IMPORTANCE, "signed/choice"),
)


def class_ranks(shelf: Shelf, shots: int) -> Iterator[Row]:
    """T and what it could show; nothing where no head is classed or no importance to the choice is stored."""
    heads = shelf.induction_heads
    measured = {name: len(shelf.tasks(name.score, name.variant, shots)) for name in MEASURES}
    measure = max(MEASURES, key=measured.__getitem__)
    if heads is None or not heads.any() or not measured[measure]:
        return
    importance = shelf.aggregate(measure.score, measure.variant, shots)
    tested = class_rank(importance.table, heads, groups=shelf.groups, family=FAMILY, seed=shelf.seed)
    key = (INDUCTION_HEADS, str(measure), shots, Coefficient.WITHIN_LAYER)
    interval, n = interval_of(importance, heads, tested.value), tested.n_classed
    yield row(Kind.CLASS_RANK, *key, tested.value, interval=interval, p=tested.p, n=n)
    yield row(Kind.CLASS_RANK_DETECTABLE, *key, tested.detectable, interval=(tested.critical, math.nan), n=n)


FAMILY = 12  # as many permutations as so many secondaries ask for


def interval_of(importance: Scored, heads: Bool[np.ndarray, "layer head"], value: float) -> tuple[float, float]:
    """By documents; NaN where they are too few."""
    parts = importance.resampled
    valid = rankable(importance.table)
    if parts is None or not math.isfinite(value):
        return NO_INTERVAL
    moved = _rank(parts.deleted, heads, valid)
    reach = float(norm.ppf(0.975)) * math.sqrt(jackknife_variance(moved, parts.kept_groups))
    return value - reach, value + reach


def _rank(
    tables: Float[np.ndarray, "table layer head"],
    heads: Bool[np.ndarray, "layer head"],
    valid: Bool[np.ndarray, "layer head"],
) -> Float[np.ndarray, "table"]:
    return np.asarray(within_layers(tables, valid)[:, (heads & valid)[valid]].mean(axis=1))


def secondaries(stored: pd.DataFrame, ranks: list[Row]) -> tuple[pd.DataFrame, list[Row]]:
    """The primary's effects as they are stored, and the rows of T, with Holm's p over all secondaries together."""
    effects = stored[stored["kind"] == Kind.PRIMARY_EFFECT]
    related = np.array([CausalLevel.parse(level).outcome in RELATED for level in effects["level"]], dtype=bool)
    alone = related | (effects["level"] == str(CausalLevel(*PRIMARY_ASKED)))
    second = effects[~alone]
    tested = [line for line in ranks if line["kind"] == Kind.CLASS_RANK]
    adjusted = holm(np.array([*second["p"], *(line["p"] for line in tested)], dtype=float))
    second = second.assign(p_holm=adjusted[: len(second)])
    of = dict(zip((line["b"] for line in tested), adjusted[len(second) :], strict=True))
    corrected = [
        {**line, "p_holm": float(of[line["b"]])} if line["kind"] == Kind.CLASS_RANK else line for line in ranks
    ]
    return pd.concat([effects[alone], second]), corrected
