"""Control sets that are matched to a tested set and share as few heads as can be (Method 5).

1. Each control takes as many heads of every layer as the tested set, and as many of one key-value group: two tested
   heads of one group are matched by two heads of another one. It holds no tested head.
2. Where a layer has too few groups for that, its heads are drawn without regard to groups (`regrouped` counts them);
   where it has too few heads, the rest comes from the nearest layers that have some (`moved`).
3. Many such sets are drawn. From them the controls are taken one by one: next comes the set whose largest overlap with
   those already taken is smallest, of several the one that shares least in all (maximin: Johnson, Moore and Ylvisaker
   1990).
Matched sets are drawn from few heads, so that some overlap stays: it is told, beside that of sets drawn without choice.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ablation.statistics.kv_groups import group_of_valid
from interp.errors import UsageError

CONTROLS = 39
# So many sets are drawn for each that is taken.
CANDIDATES = 20


@dataclass(frozen=True)
class SpreadControls:
    """The control sets, as masks; fewer than were asked for where there are no more.

    moved: heads in another layer than the one they match. regrouped: heads in another pattern of groups. mean_overlap:
    share of heads that two controls have in common, on average over pairs; largest_overlap: at most. unspread_overlap:
    the mean over all sets that were drawn.
    """

    sets: Bool[np.ndarray, "control layer head"]
    moved: Int[np.ndarray, "control"]
    regrouped: Int[np.ndarray, "control"]
    mean_overlap: float
    largest_overlap: float
    unspread_overlap: float


@dataclass(frozen=True)
class _Drawn:
    """One matched set: places in the flat grid of heads."""

    places: tuple[int, ...]
    moved: int
    regrouped: int


def spread_controls(
    tested: Bool[np.ndarray, "layer head"],
    exists: Bool[np.ndarray, "layer head"],
    *,
    groups: Int[np.ndarray, "layer head"] | None = None,
    n: int = CONTROLS,
    candidates: int = CANDIDATES,
    seed: int | np.random.Generator = 0,
) -> SpreadControls:
    """`n` control sets for the tested heads; `exists` marks the heads there are (layers without attention have none).

    Raises UsageError where fewer heads are left than the tested set has.
    """
    free = exists & ~tested
    size = int(tested.sum())
    if tested.shape != exists.shape or (tested & ~exists).any() or not 0 < size <= free.sum():
        raise UsageError(
            f"{size} tested heads of {int(exists.sum())} leave {int(free.sum())} others; a control set needs as many "
            "others as there are tested heads, and tested heads must exist."
        )
    if n < 1 or candidates < 1:
        raise UsageError(f"Controls are drawn by the number; got n={n} and candidates={candidates}.")
    group_valid = group_of_valid(groups, exists)
    group_of = np.arange(tested.size).reshape(tested.shape)
    if group_valid is not None:
        group_of[exists] = group_valid
    generator = np.random.default_rng(seed)
    patterns = {int(layer): _pattern(group_of[layer][tested[layer]]) for layer in np.flatnonzero(tested.any(axis=1))}
    drawn = [_draw(patterns, free, group_of, generator) for _ in range(n * candidates)]
    pool = list({one.places: one for one in drawn}.values())
    masks = np.zeros((len(pool), tested.size), dtype=np.float32)
    for row, one in zip(masks, pool, strict=True):
        row[list(one.places)] = 1
    shared = masks @ masks.T / size
    taken = maximin(shared, n)
    overlaps = _pairs(shared[np.ix_(taken, taken)])
    return SpreadControls(
        sets=masks[taken].astype(bool).reshape(-1, *tested.shape),
        moved=np.array([pool[place].moved for place in taken]),
        regrouped=np.array([pool[place].regrouped if groups is not None else 0 for place in taken]),
        mean_overlap=float(overlaps.mean()) if overlaps.size else 0.0,
        largest_overlap=float(overlaps.max()) if overlaps.size else 0.0,
        unspread_overlap=float(_pairs(shared).mean()) if len(pool) > 1 else 0.0,
    )


def maximin(overlap: Float[np.ndarray, "set set"], n: int) -> list[int]:
    """`n` of the sets, the first one first, then each time the one whose largest overlap with those taken is least."""
    taken, largest, total = [0], overlap[0].copy(), overlap[0].copy()
    while len(taken) < min(n, len(overlap)):
        largest[taken] = np.inf
        nearest = np.flatnonzero(largest <= largest.min() + 1e-6)
        taken.append(int(nearest[total[nearest].argmin()]))
        largest, total = np.maximum(largest, overlap[taken[-1]]), total + overlap[taken[-1]]
    return taken


def _pattern(groups: Int[np.ndarray, "head"]) -> list[int]:
    """How many heads the groups hold, most first."""
    return sorted(Counter(groups.tolist()).values(), reverse=True)


def _draw(
    patterns: dict[int, list[int]],
    free: Bool[np.ndarray, "layer head"],
    group_of: Int[np.ndarray, "layer head"],
    generator: np.random.Generator,
) -> _Drawn:
    """One set: layer by layer, then what layers could not give from the nearest others."""
    left, chosen, missing, regrouped = free.copy(), [], [], 0
    for layer, pattern in patterns.items():
        heads = _in_groups(pattern, np.flatnonzero(left[layer]), group_of[layer], generator)
        if heads is None:
            there, wanted = np.flatnonzero(left[layer]), sum(pattern)
            heads = generator.choice(there, size=min(wanted, there.size), replace=False).tolist()
            regrouped += len(heads)
            missing += [layer] * (wanted - len(heads))
        chosen += [(layer, head) for head in heads]
        left[layer, heads] = False
    for layer in missing:
        open_layers = np.flatnonzero(left.any(axis=1))
        near = int(min(open_layers, key=lambda other: (abs(int(other) - layer), other)))
        head = int(generator.choice(np.flatnonzero(left[near])))
        chosen.append((near, head))
        left[near, head] = False
    width = free.shape[1]
    return _Drawn(tuple(sorted(layer * width + head for layer, head in chosen)), len(missing), regrouped)


def _in_groups(
    pattern: list[int],
    there: Int[np.ndarray, "free"],
    group_of: Int[np.ndarray, "head"],
    generator: np.random.Generator,
) -> list[int] | None:
    """Heads of one layer in the pattern of groups, each part from a group of its own; None if the layer has none."""
    groups = {group: there[group_of[there] == group] for group in np.unique(group_of[there]).tolist()}
    chosen: list[int] = []
    for wanted in pattern:
        fitting = [group for group, heads in groups.items() if heads.size >= wanted]
        if not fitting:
            return None
        heads = groups.pop(fitting[int(generator.integers(len(fitting)))])
        chosen += generator.choice(heads, size=wanted, replace=False).tolist()
    return chosen


def _pairs(shared: Float[np.ndarray, "set set"]) -> Float[np.ndarray, "pair"]:
    return shared[np.triu_indices(len(shared), 1)]
