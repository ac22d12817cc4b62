"""Sets of heads to remove: the tested ones, and control sets of the same size (Method 5, causal check).

Controls never hold a tested head. `random`: any others. `layer_matched`: as many from each layer. `norm_matched`: of
many layer-matched sets those closest in norm, by mean |log norm difference| after sorting within each layer.
`group_matched`, the primary's: as many from each layer and as many of one key-value group, chosen so that the controls
share few heads with one another (statistics/spread_controls.py). Where a layer has too few heads left, the rest comes
from the nearest layers that have some, and `moved` says how many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from ablation.statistics.spread_controls import spread_controls
from interp.errors import UsageError
from interp.token_display import counted

Head = tuple[int, int]
Kind = Literal["random", "layer_matched", "norm_matched", "group_matched"]
KINDS: tuple[Kind, ...] = ("random", "layer_matched", "norm_matched", "group_matched")
TESTED = "induction"
CONTROLS = 39
PERCENTS = (1, 3, 5, 10)
CANDIDATES = 40  # layer-matched sets drawn for each norm-matched one
ATTEMPTS = 50  # draws for each distinct set, before giving up on finding more


@dataclass(frozen=True)
class HeadSet:
    """Heads that are removed together. `tested` names the set under test, `kind` is `induction` or a kind of control.

    moved: heads that stand in another layer than the one they match. norm_gap: mean |log norm difference| from the
    tested set, layer by layer; NaN without norms.
    """

    tested: str
    kind: str
    draw: int
    heads: tuple[Head, ...]
    moved: int = 0
    norm_gap: float = math.nan


def induction_sets(
    scores: Float[np.ndarray, "layer head"], *, classed: Sequence[Head] = (), percents: Sequence[float | int] = PERCENTS
) -> dict[str, tuple[Head, ...]]:
    """The top ceil(p n / 100) heads by score, and the heads classed as induction heads (Method 2.8)."""
    flat = scores.ravel()
    order = np.argsort(-np.where(np.isnan(flat), -np.inf, flat), kind="stable")
    n = int((~np.isnan(flat)).sum())
    sets = {
        f"top {percent}%": tuple(_head(scores, int(place)) for place in order[: math.ceil(percent * n / 100)])
        for percent in percents
    }
    return sets | ({"induction heads": tuple(sorted(classed))} if classed else {})


def control_sets(
    tested: Sequence[Head],
    exists: Bool[np.ndarray, "layer head"],
    *,
    kind: str,
    n: int = CONTROLS,
    norms: Float[np.ndarray, "layer head"] | None = None,
    groups: Int[np.ndarray, "layer head"] | None = None,
    seed: int = 0,
    name: str = "",
) -> list[HeadSet]:
    """`n` distinct control sets, fewer where there are no more.

    norms: the heads' mean |r|. groups: their key-value groups (statistics/kv_groups.py); unset, each is its own.
    Raises UsageError where fewer heads are left than the tested set has, and for `norm_matched` without norms.
    """
    free = exists.copy()
    for head in tested:
        free[head] = False
    if not tested:
        raise UsageError("there is no head to test, and so none to match controls to: no head has a score to choose by")
    if (left := int(free.sum())) < len(tested):
        raise UsageError(
            f"{counted(len(tested), 'tested head')} of {int(exists.sum())} leave {left}: too few for a control set of "
            "that size"
        )
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is no kind of control; there are {', '.join(KINDS)}")
    if kind == "norm_matched" and norms is None:
        raise UsageError("norm-matched controls need the heads' norms: pass norms=[layer head]")
    if kind == "group_matched":
        return _group_matched(tested, exists, n=n, norms=norms, groups=groups, seed=seed, name=name)
    draw = np.random.default_rng([seed, KINDS.index(kind), len(tested)])  # type: ignore[arg-type]
    wanted = n * CANDIDATES if kind == "norm_matched" else n
    found: dict[tuple[Head, ...], HeadSet] = {}
    for _ in range(wanted * ATTEMPTS if kind != "norm_matched" else wanted):
        heads, moved = _random(free, len(tested), draw) if kind == "random" else _matched(tested, free, draw)
        gap = norm_gap(tested, heads, norms) if norms is not None else math.nan
        found.setdefault(heads, HeadSet(name, kind, len(found), heads, moved, gap))
        if len(found) == wanted:
            break
    sets = sorted(found.values(), key=lambda one: one.norm_gap)[:n] if kind == "norm_matched" else found.values()
    return [HeadSet(name, kind, place, one.heads, one.moved, one.norm_gap) for place, one in enumerate(sets)]


def all_sets(
    sets: Mapping[str, Sequence[Head]],
    exists: Bool[np.ndarray, "layer head"],
    *,
    norms: Float[np.ndarray, "layer head"] | None = None,
    groups: Int[np.ndarray, "layer head"] | None = None,
    controls: int = CONTROLS,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
) -> Iterator[HeadSet]:
    """Every tested set followed by its controls of these kinds; unset, random, layer- and (with norms) norm-matched."""
    wanted = kinds if kinds is not None else KINDS[:3] if norms is not None else KINDS[:2]
    for name, heads in sets.items():
        yield HeadSet(name, TESTED, 0, tuple(sorted((int(layer), int(head)) for layer, head in heads)))
        for kind in wanted:
            yield from control_sets(
                heads, exists, kind=kind, n=controls, norms=norms, groups=groups, seed=seed, name=name
            )


def norm_gap(tested: Sequence[Head], heads: Sequence[Head], norms: Float[np.ndarray, "layer head"]) -> float:
    """Mean |log norm difference| between two sets of one size, each sorted by layer and norm."""

    def ordered(chosen: Sequence[Head]) -> list[float]:
        return [value for _, value in sorted((layer, float(np.log(norms[layer, head]))) for layer, head in chosen)]

    return float(np.abs(np.subtract(ordered(tested), ordered(heads))).mean())


def _group_matched(
    tested: Sequence[Head],
    exists: Bool[np.ndarray, "layer head"],
    *,
    n: int,
    norms: Float[np.ndarray, "layer head"] | None,
    groups: Int[np.ndarray, "layer head"] | None,
    seed: int,
    name: str,
) -> list[HeadSet]:
    mask = np.zeros_like(exists)
    mask[tuple(np.array(tested).T)] = True
    found = spread_controls(mask, exists, groups=groups, n=n, seed=seed)
    made = []
    for draw, (chosen, moved) in enumerate(zip(found.sets, found.moved, strict=True)):
        heads = tuple((int(layer), int(head)) for layer, head in np.argwhere(chosen))
        gap = norm_gap(tested, heads, norms) if norms is not None else math.nan
        made.append(HeadSet(name, "group_matched", draw, heads, int(moved), gap))
    return made


def _random(
    free: Bool[np.ndarray, "layer head"], count: int, draw: np.random.Generator
) -> tuple[tuple[Head, ...], int]:
    places = draw.choice(np.flatnonzero(free), size=count, replace=False)
    return tuple(sorted(_head(free, int(place)) for place in places)), 0


def _matched(
    tested: Sequence[Head], free: Bool[np.ndarray, "layer head"], draw: np.random.Generator
) -> tuple[tuple[Head, ...], int]:
    """As many heads from each layer as the tested set has there; what is missing from the nearest layers."""
    left, chosen, missing = free.copy(), [], []
    for layer in sorted({layer for layer, _ in tested}):
        wanted = sum(one == layer for one, _ in tested)
        picked = _pick(left, layer, wanted, draw)
        chosen += picked
        missing += [layer] * (wanted - len(picked))
    for layer in missing:
        near = min(np.flatnonzero(left.any(1)), key=lambda other: (abs(int(other) - layer), other))
        chosen += _pick(left, int(near), 1, draw)
    return tuple(sorted(chosen)), len(missing)


def _pick(left: Bool[np.ndarray, "layer head"], layer: int, wanted: int, draw: np.random.Generator) -> list[Head]:
    there = np.flatnonzero(left[layer])
    picked = draw.choice(there, size=min(wanted, len(there)), replace=False)
    left[layer, picked] = False
    return [(layer, int(head)) for head in picked]


def _head(grid: np.ndarray, place: int) -> Head:
    layer, head = np.unravel_index(int(place), grid.shape)
    return int(layer), int(head)
