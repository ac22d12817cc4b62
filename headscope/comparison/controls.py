"""What every comparison with drawn controls shares: a set of heads as a mask, and where most of the draws lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from headscope.store.comparisons import NO_INTERVAL


def mask_of(heads: Sequence[tuple[int, int]], like: Int[np.ndarray, "layer head"]) -> Bool[np.ndarray, "layer head"]:
    """True for these heads, in the shape of another table of heads."""
    mask = np.zeros(like.shape, dtype=bool)
    for head in heads:
        mask[head] = True
    return mask


def band(values: Float[np.ndarray, "draw"]) -> tuple[float, float]:
    """5th and 95th percentile over draws; NaN where one of them has no number."""
    if not np.isfinite(values).all():
        return NO_INTERVAL
    low, high = np.quantile(values, (0.05, 0.95))
    return float(low), float(high)
