"""T: do the heads of a class stand high in their layers? (Method 5, secondary)

1. The mid-rank of each head's importance within its layer, tied scores sharing their mean rank, scaled so that the
   lowest of a layer is -1 and the highest 1. A layer of one scored head says nothing, and is left out.
2. T = the mean over the heads of the class (induction heads, say): 1 if each tops its layer, 0 if they stand anywhere.
3. p by shuffling who is in the class: key-value groups within a layer, then the heads of each group (kv_groups.py), so
   that every layer keeps as many and so does every pattern over groups.
Layers that hold none of the class add nothing, where the mean over layers of Spearman coefficients takes noise from
each of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

from ablation.statistics.correlation import head_blocks, shared_heads
from ablation.statistics.kv_groups import group_of_valid, permuted_heads
from ablation.statistics.permutation import ROUNDING, Alternative, Detectable, permutation_count
from interp.errors import UsageError


@dataclass(frozen=True)
class ClassRank:
    """T in [-1, 1] and its p by permutation; NaN both where no head of the class can be ranked.

    critical: a T beyond it has p <= .05. detectable: the true T that 80% of tests would find. n_classed: the heads of
    the class that are in the mean; classed_left_out: those without a score, or alone in their layer.
    """

    value: float
    p: float
    alternative: Alternative
    permutations: int
    critical: float
    detectable: float
    n_classed: int
    classed_left_out: int
    n_heads: int


def class_rank(
    importance: Float[np.ndarray, "layer head"],
    classed: Bool[np.ndarray, "layer head"],
    *,
    groups: Int[np.ndarray, "layer head"] | None = None,
    family: int = 1,
    alternative: Alternative = "two_sided",
    seed: int | np.random.Generator = 0,
) -> ClassRank:
    """T and its test; `family` is the number of tests whose p are corrected together with it.

    Raises UsageError for an empty class, unequal shapes and infinite scores.
    """
    if alternative not in ("two_sided", "greater"):
        raise UsageError(f"Unknown alternative {alternative!r}; expected 'two_sided' or 'greater'.")
    if classed.shape != importance.shape or not classed.any():
        raise UsageError(
            f"T needs a class of heads and scores of one shape; got {int(classed.sum())} classed heads of "
            f"{classed.shape} and scores of {importance.shape}."
        )
    valid = rankable(importance)
    inside = classed & valid
    count = permutation_count(family)
    value, null = np.nan, np.full(count, np.nan)
    if inside.any():
        places = within_layers(importance, valid)
        value = float(places[inside[valid]].mean())
        drawn = permuted_classes(inside, valid, count, groups=groups, seed=seed)
        null = drawn @ places / int(inside.sum())
    extreme = np.abs(null) >= abs(value) - ROUNDING if alternative == "two_sided" else null >= value - ROUNDING
    could = Detectable.of(null, alternative)
    return ClassRank(
        value=value,
        p=float((extreme.sum() + 1) / (count + 1)) if inside.any() else float("nan"),
        alternative=alternative,
        permutations=count,
        critical=could.critical,
        detectable=could.detectable,
        n_classed=int(inside.sum()),
        classed_left_out=int((classed & ~valid).sum()),
        n_heads=int(valid.sum()),
    )


def rankable(importance: Float[np.ndarray, "*table layer head"]) -> Bool[np.ndarray, "layer head"]:
    """The heads with a score, in layers that have two or more of them."""
    valid = shared_heads(importance)
    return valid & (valid.sum(axis=1, keepdims=True) > 1)


def within_layers(
    importance: Float[np.ndarray, "*table layer head"], valid: Bool[np.ndarray, "layer head"]
) -> Float[np.ndarray, "*table valid"]:
    """Mid-rank of every valid head in its layer, from -1 to 1."""
    flat = importance[..., valid]
    places = np.empty(flat.shape)
    for block in head_blocks(valid, "within_layer"):
        heads = block.stop - block.start
        places[..., block] = (2 * rankdata(flat[..., block], axis=-1) - heads - 1) / (heads - 1)
    return places


def permuted_classes(
    classed: Bool[np.ndarray, "layer head"],
    valid: Bool[np.ndarray, "layer head"],
    draws: int,
    *,
    groups: Int[np.ndarray, "layer head"] | None = None,
    seed: int | np.random.Generator = 0,
) -> Bool[np.ndarray, "draw valid"]:
    """The class, dealt out anew in every layer; a layer without any of it is left alone."""
    generator, group_of = np.random.default_rng(seed), group_of_valid(groups, valid)
    members = classed[valid]
    drawn = np.zeros((draws, members.size), dtype=bool)
    for block in head_blocks(valid, "within_layer"):
        if members[block].any():
            inside = None if group_of is None else group_of[block]
            order = permuted_heads([slice(0, block.stop - block.start)], draws, generator, groups=inside)
            drawn[:, block] = members[block][order]
    return drawn
