"""What is left of an induction score when the least important heads are pruned (METHODS 5; the paper's Figure 11)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ablation.statistics import retention
from headscope.comparison.scored import IMPORTANCE, Shelf
from headscope.store.comparisons import Row, row

SCORES = (("prefix_matching", ""), ("copying", "argmax"), ("copying", "attended"), ("copying", "successor"))


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
                told: dict[str, Any] = {"shots": shots, "level": f"p={percent}", "n": found.n_heads}
                yield row("retention_raw", score.name, importance.name, value=found.raw[place], **told)
                if found.excess is not None and np.isfinite(found.excess[place]):
                    yield row("retention_excess", score.name, importance.name, value=found.excess[place], **told)
