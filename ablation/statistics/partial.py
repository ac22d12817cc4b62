"""Partial rank correlation within layers: score against importance, other properties held fixed (Method 5).

1. Rank score, importance and every covariate inside each layer, ties averaged.
2. Regress the ranks of score and importance on those of the covariates (and a constant), and correlate the residuals.
3. Mean over layers. A layer with fewer than two degrees of freedom left, or where a residual is constant, is skipped
   and counted: with one degree the correlation is always 1 or -1.
4. p by permuting the residuals of the importance inside each layer, with `groups` by whole key-value groups, and
   regressing them again (Freedman and Lane 1983).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from ablation.statistics.correlation import head_blocks, shared_heads
from ablation.statistics.given import Scored, table_of
from ablation.statistics.kv_groups import group_of_valid, permuted_heads
from ablation.statistics.permutation import ROUNDING, Alternative, permutation_count
from interp.errors import UsageError

# A residual this much shorter than the ranks it comes from is rounding.
NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class PartialCorrelation:
    """Mean over layers of the partial Spearman coefficient, and its p; NaN both if no layer can tell."""

    value: float
    p: float
    alternative: Alternative
    permutations: int
    n_covariates: int
    n_heads: int
    heads_left_out: int
    layers_used: int
    layers_skipped: int


def partial_spearman_within_layers(
    score: Scored,
    importance: Scored,
    covariates: Sequence[Scored],
    *,
    family: int = 1,
    alternative: Alternative = "two_sided",
    groups: Int[np.ndarray, "layer head"] | None = None,
    seed: int | np.random.Generator = 0,
) -> PartialCorrelation:
    """Spearman within layers after partialling out the covariates (log mean ||r|| and previous-token score, say)."""
    if not covariates:
        raise UsageError("No covariates were given; without any, use permutation_test at level 'within_layer'.")
    if alternative not in ("two_sided", "greater"):
        raise UsageError(f"Unknown alternative {alternative!r}; expected 'two_sided' or 'greater'.")
    tables = list(map(table_of, (score, importance, *covariates)))
    valid = shared_heads(*tables)
    table = np.stack([scores[valid].astype(np.float64) for scores in tables])
    blocks = head_blocks(valid, "within_layer")
    count, generator = permutation_count(family), np.random.default_rng(seed)
    group_of, found = group_of_valid(groups, valid), []
    for block in blocks:
        inside = None if group_of is None else group_of[block]
        orders = permuted_heads([slice(0, block.stop - block.start)], count, generator, groups=inside)
        found.append(_partial(table[:, block], orders))
    layers = [layer for layer in found if layer is not None]
    value, null = np.nan, np.full(count, np.nan)
    if layers:
        value = float(np.mean([observed for observed, _ in layers]))
        null = np.mean([drawn for _, drawn in layers], axis=0)
    extreme = np.abs(null) >= abs(value) - ROUNDING if alternative == "two_sided" else null >= value - ROUNDING
    return PartialCorrelation(
        value=value,
        p=float((extreme.sum() + 1) / (count + 1)) if layers else float("nan"),
        alternative=alternative,
        permutations=count,
        n_covariates=len(covariates),
        n_heads=int(valid.sum()),
        heads_left_out=int((~valid).sum()),
        layers_used=len(layers),
        layers_skipped=len(blocks) - len(layers),
    )


def _partial(
    scores: Float[np.ndarray, "table head"], orders: Int[np.ndarray, "draw head"]
) -> tuple[float, Float[np.ndarray, "draw"]] | None:
    """Partial correlation of the first two rows given the others, in one layer, and its permutations."""
    ranks = rankdata(scores, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    directions, lengths, _ = np.linalg.svd(ranks[2:].T, full_matrices=False)
    basis = directions[:, lengths > NEGLIGIBLE * max(1.0, lengths.max())]
    heads = ranks.shape[1]
    if heads - 1 - basis.shape[1] < 2:
        return None
    residual = _regress_out(ranks[:2], basis)
    size = np.linalg.norm(residual, axis=-1)
    if (size <= NEGLIGIBLE * heads).any():
        return None
    again = _regress_out(residual[1][orders], basis)
    lengths_again = np.maximum(np.linalg.norm(again, axis=-1), NEGLIGIBLE)
    return float(residual[0] @ residual[1] / size.prod()), again @ residual[0] / (size[0] * lengths_again)


def _regress_out(
    centred: Float[np.ndarray, "row head"], basis: Float[np.ndarray, "head direction"]
) -> Float[np.ndarray, "row head"]:
    return centred - (centred @ basis) @ basis.T
