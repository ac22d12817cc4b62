"""Rows of a prefix plan as tensors: tokens, positions, who sees whom, and which tokens are scored where.

A row is a tree of tokens laid out one after the other. Each token stands at its own depth (its position) and sees its
ancestors, itself and the cached trunk. A row that is a single chain needs no mask: padding stands on its right, where
causal attention never looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ablation.engine.prefix_plan import Request, Row, SortedInputs, Trunk


@dataclass(frozen=True)
class Tree:
    """One row. `targets`: node, the token scored behind it, and the request it counts for.

    `visible[n, m]`: whether node n sees node m; None if every node sees all before it. `owner` is a request of the row;
    all of them are of one group.
    """

    tokens: Int[np.ndarray, "node"]
    positions: Int[np.ndarray, "node"]
    visible: Bool[np.ndarray, "node node"] | None
    targets: Int[np.ndarray, "target 3"]
    owner: int


@dataclass(frozen=True)
class Batch:
    """Some rows in one tensor, behind `cached` tokens that all of them share.

    `visible[row, query, key]` is None if every row is plainly causal. The logits at (rows[k], nodes[k]) are wanted;
    target t reads place `places[t]` of them, for token `targets[t]`, and counts for request `requests[t]`. `owners` is
    a request of each row.
    """

    tokens: Int[Tensor, "batch query"]
    positions: Int[Tensor, "batch query"]
    visible: Bool[Tensor, "batch query key"] | None
    cached: int
    rows: Int[Tensor, " place"]
    nodes: Int[Tensor, " place"]
    places: Int[Tensor, " target"]
    targets: Int[Tensor, " target"]
    requests: Int[Tensor, " target"]
    owners: tuple[int, ...]

    def nearer_than(self, window: int) -> Bool[Tensor, "batch query key"]:
        """Whether a key is less than `window` positions behind the query."""
        keys = torch.cat([torch.arange(self.cached).expand(len(self.tokens), -1), self.positions], dim=1)
        return self.positions[:, :, None] - keys[:, None, :] < window


def grow(requests: Sequence[Request], inputs: SortedInputs, row: Row) -> Tree:
    """The tree of a row: of each input what its predecessor did not have."""
    tokens: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    visible = np.zeros((row.size, row.size), dtype=bool) if not row.chain or row.start else None
    path, count = np.zeros(0, dtype=np.int64), 0
    for n in range(row.lo, row.hi):
        ids = inputs.inputs[n]
        shared = int(inputs.shared[n]) if n > row.lo else row.start
        new = np.arange(count, count + len(ids) - shared)
        old, count = path[: shared - row.start], count + new.size
        path = np.concatenate([old, new])
        tokens.append(ids[shared:])
        positions.append(np.arange(shared, len(ids)))
        if visible is not None:
            visible[new[:, None], old] = True
            visible[new[0] : count, new[0] : count] = np.tri(new.size, dtype=bool)
        targets += [targets_on(path, requests[r], r, row.start) for r in inputs.requests[n]]
    owner = inputs.requests[row.lo][0]
    return Tree(np.concatenate(tokens), np.concatenate(positions), visible, np.concatenate(targets), owner)


def trunk_tree(requests: Sequence[Request], inputs: SortedInputs, trunk: Trunk) -> Tree:
    """The trunk itself, and the targets that stand on it."""
    size = trunk.end - trunk.start
    path = np.arange(size)
    members = [r for n in range(trunk.lo, trunk.hi) for r in inputs.requests[n]]
    targets = [targets_on(path, requests[r], r, trunk.start) for r in members]
    return Tree(
        tokens=inputs.inputs[trunk.lo][trunk.start : trunk.end],
        positions=np.arange(trunk.start, trunk.end),
        visible=np.tri(size, dtype=bool) if trunk.start else None,
        targets=np.concatenate(targets),
        owner=members[0],
    )


def targets_on(
    path: Int[np.ndarray, "position"], request: Request, number: int, start: int
) -> Int[np.ndarray, "target 3"]:
    """The request's tokens that are scored behind the nodes of this path, which begins at position `start`."""
    ids = request.ids
    first = max(len(request.context), start + 1)
    last = min(len(ids), start + 1 + path.size)
    found = [(path[position - 1 - start], ids[position], number) for position in range(first, last)]
    return np.asarray(found, dtype=np.int64).reshape(-1, 3)


def collate(trees: Sequence[Tree], cached: int) -> Batch:
    """Rows side by side, padded on the right; padding sees itself."""
    width = max(tree.tokens.size for tree in trees)
    tokens, positions = np.zeros((2, len(trees), width), dtype=np.int64)
    positions[:] = cached
    for n, tree in enumerate(trees):
        tokens[n, : tree.tokens.size] = tree.tokens
        positions[n, : tree.tokens.size] = tree.positions
    causal = cached == 0 and all(tree.visible is None for tree in trees)
    targets = np.concatenate(
        [np.column_stack([np.full(len(tree.targets), n), tree.targets]) for n, tree in enumerate(trees)]
    )
    spots, places = np.unique(targets[:, :2], axis=0, return_inverse=True)
    return Batch(
        tokens=torch.from_numpy(tokens),
        positions=torch.from_numpy(positions),
        visible=None if causal else torch.from_numpy(stacked_visible(trees, width, cached)),
        cached=cached,
        rows=torch.from_numpy(spots[:, 0].copy()),
        nodes=torch.from_numpy(spots[:, 1].copy()),
        places=torch.from_numpy(places.reshape(-1)),
        targets=torch.from_numpy(targets[:, 2].copy()),
        requests=torch.from_numpy(targets[:, 3].copy()),
        owners=tuple(tree.owner for tree in trees),
    )


def stacked_visible(trees: Sequence[Tree], width: int, cached: int) -> Bool[np.ndarray, "batch query key"]:
    """Who sees whom in every row; all see the cached trunk."""
    visible = np.zeros((len(trees), width, cached + width), dtype=bool)
    visible[:, :, :cached] = True
    for n, tree in enumerate(trees):
        size = tree.tokens.size
        visible[n, :size, cached : cached + size] = np.tri(size, dtype=bool) if tree.visible is None else tree.visible
        visible[n, range(size, width), range(cached + size, cached + width)] = True
    return visible


def batch_rows(rows: Sequence[Row], *, token_budget: int, padding: bool = True) -> Iterator[list[Row]]:
    """Rows of similar length together, at most `token_budget` tokens with padding; chains apart from trees.

    Without `padding` only rows of equal length share a batch.
    """
    waiting: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.chain, -row.size, row.lo)):
        fits = waiting and (len(waiting) + 1) * waiting[0].size <= token_budget and row.chain == waiting[0].chain
        if waiting and not (fits and (padding or row.size == waiting[0].size)):
            yield waiting
            waiting = []
        waiting.append(row)
    if waiting:
        yield waiting
