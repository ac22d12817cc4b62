"""Does a first-order score say what removing a head costs? `signed` against exact knock-outs (Method 3.2).

Task by task, and over the tasks together (a = `aggregate`), at every number of shots, over the documents that both have
and the heads that were knocked out: all of them, or the sample (`..._sample`) that stands for them. Rows of
`comparisons`, b = the importance, level = the knock-out: `knock_out_spearman`, and `knock_out_signs`, the share of
heads whose score and cost have one sign (a score or cost of exactly 0 has none). `n` counts heads.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from ablation.statistics import spearman
from ablation.statistics.aggregate import aggregate_tables
from ablation.stratified import FEWEST
from headscope.comparison.scored import Shelf
from headscope.store.comparisons import Kind, Row, ScoreName, row
from headscope.store.names import AGGREGATE
from headscope.store.scores import IMPORTANCE, KNOCK_OUT

EXACT = tuple(
    ScoreName(f"{KNOCK_OUT}{way}{part}", "choice") for way in ("", "_mean", "_resample") for part in ("", "_sample")
)
SCORES = tuple(ScoreName(IMPORTANCE, variant) for variant in ("signed/choice/mean", "signed/choice", "signed"))


def against_knock_outs(shelf: Shelf) -> Iterator[Row]:
    """Every stored score of the two beside every stored knock-out of heads."""
    for exact in EXACT:
        for shots in shelf.shots(exact.score, exact.variant):
            for score in SCORES:
                tasks = sorted(
                    {*shelf.tasks(exact.score, exact.variant, shots)}
                    & {*shelf.tasks(score.score, score.variant, shots)}
                )
                both = [_shared(*shelf.on_shared_documents((score, exact), task, shots)) for task in tasks]
                for task, tables in zip(tasks, both, strict=True):
                    yield from _rows(task, score, exact, shots, *tables)
                if len(tasks) > 1:
                    together = [aggregate_tables(np.stack(of_score)) for of_score in zip(*both, strict=True)]
                    yield from _rows(AGGREGATE, score, exact, shots, *together)


def _shared(
    estimated: Float[np.ndarray, "layer head"], cost: Float[np.ndarray, "layer head"]
) -> tuple[Float[np.ndarray, "layer head"], Float[np.ndarray, "layer head"]]:
    """NaN wherever one of them is: a table is weighed among tasks by the heads that are compared."""
    there = np.isfinite(estimated) & np.isfinite(cost)
    return np.where(there, estimated, np.nan), np.where(there, cost, np.nan)


def _rows(
    a: str,
    score: ScoreName,
    exact: ScoreName,
    shots: int,
    estimated: Float[np.ndarray, "layer head"],
    cost: Float[np.ndarray, "layer head"],
) -> Iterator[Row]:
    there = np.isfinite(estimated)
    if there.sum() < FEWEST:
        return
    pair, n = (estimated[there], cost[there]), int(there.sum())
    signed = (pair[0] != 0) & (pair[1] != 0)
    yield row(Kind.KNOCK_OUT_SPEARMAN, a, score, shots, exact, spearman(pair[0][None], pair[1][None]).value, n=n)
    if signed.any():
        share = float((np.sign(pair[0]) == np.sign(pair[1]))[signed].mean())
        yield row(Kind.KNOCK_OUT_SIGNS, a, score, shots, exact, share, n=int(signed.sum()))
