"""Two runs' scores head by head: those without a task that both hold, and how far they rank the heads alike.

Heads are paired by layer and number. That means something for two states of one model (checkpoints, before and after
fine-tuning), and nothing within a layer for models that were trained apart; of other shapes no head has a partner, and
only relative depth is left to compare (layer over the last layer's number, as in models.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan

import numpy as np
from jaxtyping import Float

from ablation.statistics.correlation import spearman, spearman_within_layers
from headscope.store.glossary import FOLDED, TERMS, term
from headscope.store.run import Run
from headscope.store.snapshot import chosen, combinations, grid


@dataclass(frozen=True)
class PairedScore:
    """One score of both runs. rho, within: Spearman over heads, and inside layers on average; NaN for unlike shapes."""

    label: str
    first: Float[np.ndarray, "layer head"]
    second: Float[np.ndarray, "other_layer other_head"]
    rho: float = nan
    within: float = nan

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Layers and heads of both."""
        return self.first.shape, self.second.shape

    @property
    def alike(self) -> bool:
        """Whether every head has a partner."""
        return self.first.shape == self.second.shape


def paired_scores(first: Run, second: Run) -> Iterator[PairedScore]:
    """In the order of the glossary; variants that stand behind others are left out."""
    frames = [run.head_scores for run in (first, second)]
    rows = [chosen(frame, task="") for frame in frames]
    held = [{(key["score"], key["variant"]) for key in combinations(part, "score", "variant")} for part in rows]
    both = held[0] & held[1] - set(FOLDED)
    for name, variant in [*(key for key in TERMS if key in both), *sorted(both - set(TERMS))]:
        one, other = (grid(chosen(part, score=name, variant=variant)) for part in rows)
        rho, within = nan, nan
        if one.shape == other.shape:
            rho, within = spearman(one, other).value, spearman_within_layers(one, other).value
        yield PairedScore(term(name, variant).label, one, other, rho, within)
