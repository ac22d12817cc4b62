"""Simulated scores of a model of SmolLM2's shape, whose heads resemble those of their key-value group."""

from __future__ import annotations

import numpy as np

LAYERS, HEADS, GROUPS = 30, 9, 3


def grouped_scores(rng: np.random.Generator, share: float, *, layers: int = LAYERS) -> np.ndarray:
    """Exchangeable heads whose key-value groups carry `share` of the variance."""
    between = np.repeat(rng.standard_normal((layers, GROUPS)), HEADS // GROUPS, axis=1)
    return np.sqrt(share) * between + np.sqrt(1 - share) * rng.standard_normal((layers, HEADS))


def some_class(
    rng: np.random.Generator,
    *,
    layers: int = LAYERS,
    patterns: tuple[tuple[int, ...], ...] = ((2,), (2, 1), (1, 1), (1,), (1,), (2,)),
) -> np.ndarray:
    """Heads of as many layers as there are patterns; each counts heads, key-value group by group."""
    classed = np.zeros((layers, HEADS), dtype=bool)
    for layer, pattern in zip(rng.choice(layers, len(patterns), replace=False), patterns, strict=True):
        for group, count in zip(rng.permutation(GROUPS), pattern, strict=False):
            classed[layer, group * 3 + rng.choice(3, count, replace=False)] = True
    return classed
