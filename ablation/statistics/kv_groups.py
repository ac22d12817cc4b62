"""Key-value groups: the query heads that share keys and values, and orders of heads that keep them together (Method 5).

Scores of the heads of one group resemble each other, so that heads of a layer are not exchangeable one by one: a test
that shuffles them freely finds agreement too often. What is exchangeable under the null is the groups of a layer, and
the heads inside a group.
1. The groups of a block (a layer; for a statistic over all heads the whole model) are shuffled, among those that have
   as many scored heads.
2. The heads of each group are shuffled.
With one head a group, or one group a layer, this is the plain shuffle.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int

from interp.errors import UsageError


def kv_groups(n_layers: int, n_heads: int, n_kv_heads: int) -> Int[np.ndarray, "layer head"]:
    """The group of every query head, h // (heads / key-value heads), numbered through the whole model.

    Raises UsageError where the heads can't be dealt to the key-value heads in equal parts.
    """
    if n_kv_heads < 1 or n_heads % n_kv_heads:
        raise UsageError(
            f"{n_heads} query heads can't share {n_kv_heads} key-value heads in equal groups; expected a divisor of "
            f"{n_heads}."
        )
    group = np.arange(n_heads) // (n_heads // n_kv_heads)
    return np.arange(n_layers)[:, None] * n_kv_heads + group


def group_of_valid(
    groups: Int[np.ndarray, "..."] | None, valid: Bool[np.ndarray, "layer head"]
) -> Int[np.ndarray, "valid"] | None:
    """The groups of the heads that have a score; None stays None. Raises UsageError for a group of several layers."""
    if groups is None:
        return None
    if groups.shape != valid.shape:
        raise UsageError(f"The groups have shape {groups.shape}, the scores {valid.shape}; expected one group a head.")
    layers = np.broadcast_to(np.arange(len(groups))[:, None], groups.shape)
    pairs = np.unique(np.stack([groups, layers], axis=-1)[valid], axis=0)
    if len(pairs) > len(np.unique(pairs[:, 0])):
        raise UsageError(
            "A key-value group holds heads of two layers; number the groups through the whole model, as kv_groups does."
        )
    return groups[valid]


def permuted_heads(
    blocks: list[slice], draws: int, generator: np.random.Generator, *, groups: Int[np.ndarray, "valid"] | None = None
) -> Int[np.ndarray, "draw valid"]:
    """Random orders of the heads in which every head stays in its block, and beside those of its group."""
    order = np.empty((draws, blocks[-1].stop if blocks else 0), dtype=np.int64)
    for block in blocks:
        for together in exchangeable_groups(np.arange(block.start, block.stop), groups):
            order[:, together] = _shuffled(together, draws, generator)
    return order


def exchangeable_groups(
    heads: Int[np.ndarray, "head"], groups: Int[np.ndarray, "valid"] | None
) -> Iterator[Int[np.ndarray, "group member"]]:
    """The heads of a block by group, one array for each size of group; without groups each head is its own."""
    if groups is None:
        yield heads[:, None]
        return
    _, number, size = np.unique(groups[heads], return_inverse=True, return_counts=True)
    sorted_heads = heads[np.argsort(number, kind="stable")]
    size_of = np.repeat(size, size)
    for members in np.unique(size):
        yield sorted_heads[size_of == members].reshape(-1, members)


def _shuffled(
    together: Int[np.ndarray, "group member"], draws: int, generator: np.random.Generator
) -> Int[np.ndarray, "draw group member"]:
    groups, members = together.shape
    turn = generator.permuted(np.broadcast_to(np.arange(groups), (draws, groups)), axis=1)
    shuffled = together[turn]
    return generator.permuted(shuffled, axis=2) if members > 1 else shuffled
