"""How many of the top heads two rankings have in common, at every cut from 1% to 30%, beside what chance gives.

Method 5. `overlap` has the layer-matched p (Holm over all cuts and pairs); the rows of the two expectations have the p
of their own chance model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from ablation.statistics import Overlap, overlap, retention
from headscope.comparison.scored import Scored, Shelf
from headscope.store.comparisons import Kind, RankCut, Row, row, with_holm
from headscope.store.scores import IMPORTANCE

PAIRS = (
    (("prefix_matching", ""), "token"),
    (("prefix_matching", ""), "signed"),
    (("prefix_matching", ""), "signed/choice"),
    (("copying", "successor"), "token"),
    (("copying", "argmax"), "token"),
)
SCORES = (("prefix_matching", ""), ("copying", "argmax"), ("copying", "attended"), ("copying", "successor"))


def overlaps(shelf: Shelf, shots: int) -> list[Row]:
    """Induction scores against the aggregate importance at one number of shots."""
    rows: list[Row] = []
    beside: list[Row] = []
    for key, variant in PAIRS:
        if shelf.has(*key) and shelf.tasks(IMPORTANCE, variant, shots):
            score, importance = shelf.of_sequences(*key), shelf.aggregate(IMPORTANCE, variant, shots)
            shared = overlap(score.table, importance.table, seed=shelf.seed)
            rows += _rows(Kind.OVERLAP, score, importance, shots, shared, shared.share, shared.p_layer)
            beside += _expected(score, importance, shots, shared)
    return with_holm(rows) + beside


def _expected(a: Scored, b: Scored, shots: int, shared: Overlap) -> Iterator[Row]:
    for chance, expected, p, jaccard in (
        ("expected_free", shared.expected_free, shared.p_free, shared.jaccard_expected_free),
        ("expected_layer", shared.expected_layer, shared.p_layer, shared.jaccard_expected_layer),
    ):
        yield from _rows(getattr(Kind.OVERLAP, chance), a, b, shots, shared, expected / shared.k, p)
        yield from _rows(getattr(Kind.OVERLAP_JACCARD, chance), a, b, shots, shared, jaccard)
    yield from _rows(Kind.OVERLAP_JACCARD, a, b, shots, shared, shared.jaccard)


def _rows(
    kind: Kind,
    a: Scored,
    b: Scored,
    shots: int,
    shared: Overlap,
    values: Float[np.ndarray, "percent"],
    p: Float[np.ndarray, "percent"] | None = None,
) -> Iterator[Row]:
    tests = np.full(len(values), np.nan) if p is None else p
    for percent, value, test in zip(shared.percent, values, tests, strict=True):
        yield row(kind, a.name, b.name, shots, RankCut("q", int(percent)), value, p=test, n=shared.n_heads)


def retentions(shelf: Shelf, shots: int) -> Iterator[Row]:
    """Share of a score's total, and of its excess over its null, that survives pruning the least important heads.

    Scores that can be negative have no share; they are compared as rankings.
    """
    for key in SCORES:
        if not shelf.has(*key):
            continue
        score = shelf.of_sequences(*key)
        for variant in shelf.variants:
            if not shelf.tasks(IMPORTANCE, variant, shots):
                continue
            importance = shelf.aggregate(IMPORTANCE, variant, shots)
            kept = retention(score.table, importance.table, null_mean=score.null_mean)
            for index, percent in enumerate(kept.percent):
                values: dict[str, Any] = {"shots": shots, "level": RankCut("p", int(percent)), "n": kept.n_heads}
                yield row(Kind.RETENTION_RAW, score.name, importance.name, value=kept.raw[index], **values)
                if kept.excess is not None and np.isfinite(kept.excess[index]):
                    yield row(Kind.RETENTION_EXCESS, score.name, importance.name, value=kept.excess[index], **values)
