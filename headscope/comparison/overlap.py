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
from headscope.store.comparisons import Cut, Kind, Row, row, with_holm
from headscope.store.scores import IMPORTANCE

PAIRS = (
    (("prefix_matching", ""), "token"),
    (("prefix_matching", ""), "signed"),
    (("copying", "successor"), "token"),
    (("copying", "argmax"), "token"),
)
SCORES = (("prefix_matching", ""), ("copying", "argmax"), ("copying", "attended"), ("copying", "successor"))


def overlaps(shelf: Shelf, shots: int) -> list[Row]:
    """Induction scores against the aggregate importance at one number of shots."""
    rows: list[Row] = []
    beside: list[Row] = []
    for key, variant in PAIRS:
        if shelf.has(*key):
            score, importance = shelf.of_sequences(*key), shelf.aggregate(IMPORTANCE, variant, shots)
            found = overlap(score.table, importance.table, seed=shelf.seed)
            rows += _rows(Kind.OVERLAP, score, importance, shots, found, found.share, found.p_layer)
            beside += _expected(score, importance, shots, found)
    return with_holm(rows) + beside


def _expected(a: Scored, b: Scored, shots: int, found: Overlap) -> Iterator[Row]:
    for chance, expected, p, jaccard in (
        ("expected_free", found.expected_free, found.p_free, found.jaccard_expected_free),
        ("expected_layer", found.expected_layer, found.p_layer, found.jaccard_expected_layer),
    ):
        yield from _rows(getattr(Kind.OVERLAP, chance), a, b, shots, found, expected / found.k, p)
        yield from _rows(getattr(Kind.OVERLAP_JACCARD, chance), a, b, shots, found, jaccard)
    yield from _rows(Kind.OVERLAP_JACCARD, a, b, shots, found, found.jaccard)


def _rows(
    kind: Kind,
    a: Scored,
    b: Scored,
    shots: int,
    found: Overlap,
    values: Float[np.ndarray, "percent"],
    p: Float[np.ndarray, "percent"] | None = None,
) -> Iterator[Row]:
    tests = np.full(len(values), np.nan) if p is None else p
    for percent, value, test in zip(found.percent, values, tests, strict=True):
        yield row(kind, a.name, b.name, shots, Cut("q", int(percent)), value, p=test, n=found.n_heads)


def retentions(shelf: Shelf, shots: int) -> Iterator[Row]:
    """Shares of the score, and of its excess over its null, by the aggregate importance at one number of shots.

    Scores that can be negative have no share; they are compared as rankings.
    """
    for key in SCORES:
        if not shelf.has(*key):
            continue
        score = shelf.of_sequences(*key)
        for variant in ("token", "signed"):
            importance = shelf.aggregate(IMPORTANCE, variant, shots)
            found = retention(score.table, importance.table, null_mean=score.null_mean)
            for place, percent in enumerate(found.percent):
                told: dict[str, Any] = {"shots": shots, "level": Cut("p", int(percent)), "n": found.n_heads}
                yield row(Kind.RETENTION_RAW, score.name, importance.name, value=found.raw[place], **told)
                if found.excess is not None and np.isfinite(found.excess[place]):
                    yield row(Kind.RETENTION_EXCESS, score.name, importance.name, value=found.excess[place], **told)
