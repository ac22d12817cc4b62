"""Overlap of the top heads of two rankings, against what chance gives (Method 5).

1. k = ceil(q n / 100) heads of each ranking, q = 1..30; heads without a score are left out of n.
2. Ties at the cut: mean over 100 random tie-breaks.
3. Expectation of two random sets: k²/n if any head may be drawn, sum_l a_l b_l / n_l if each keeps its number of heads
   in every layer (a trend over layers alone gives the second, not the first).
4. p from the exact distribution of the overlap: hypergeometric, or the convolution over layers of one hypergeometric a
   layer. With `groups` (kv_groups.py) the layer's one is that of matching the groups of the two sets at random, and
   then the heads inside each pair of groups: both sets may crowd into the same few groups without meeting in heads.
   Where ties are broken at random, p and expectations are means over the tie-breaks too.
5. Jaccard = X / (a + b - X), beside its expectation under the same two distributions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from einops import repeat
from jaxtyping import Bool, Float, Int
from scipy.special import gammaln

from ablation.statistics.correlation import shared_heads
from ablation.statistics.given import Scored, table_of, whole_percents
from ablation.statistics.kv_groups import group_of_valid
from interp.errors import UsageError


@dataclass(frozen=True)
class Strata:
    """The key-value groups of the heads that count, or their layers where no groups were given.

    order: the valid heads, those of one stratum together; start, size and layer: of each stratum in that order.
    """

    order: Int[np.ndarray, "valid"]
    start: Int[np.ndarray, "stratum"]
    size: Int[np.ndarray, "stratum"]
    layer: Int[np.ndarray, "stratum"]

    @classmethod
    def of(cls, valid: Bool[np.ndarray, "layer head"], groups: Int[np.ndarray, "layer head"] | None) -> Strata:
        layer_of = np.nonzero(valid)[0]
        inside = group_of_valid(groups, valid)
        label = layer_of if inside is None else np.unique(np.stack([layer_of, inside]), axis=1, return_inverse=True)[1]
        order = np.argsort(label, kind="stable")
        _, start, size = np.unique(label[order], return_index=True, return_counts=True)
        return cls(order=order, start=start, size=size, layer=layer_of[order][start])

    def count(self, chosen: Bool[np.ndarray, "draw valid"]) -> Int[np.ndarray, "draw stratum"]:
        """How many chosen heads each stratum has."""
        return np.add.reduceat(chosen[:, self.order].astype(np.int64), self.start, axis=1)


@dataclass(frozen=True)
class SetOverlap:
    """Overlap of two sets of heads, its expectation and p (overlap at least as large) free and layer-matched."""

    size_a: int
    size_b: int
    overlap: int
    expected_free: float
    expected_layer: float
    p_free: float
    p_layer: float
    jaccard: float
    jaccard_expected_free: float
    jaccard_expected_layer: float
    n_heads: int


@dataclass(frozen=True)
class Overlap:
    """Overlap of the top k heads at each share q; `share` is overlap / k, `tied` marks cuts that fall on a tie."""

    percent: Int[np.ndarray, "percent"]
    k: Int[np.ndarray, "percent"]
    overlap: Float[np.ndarray, "percent"]
    share: Float[np.ndarray, "percent"]
    expected_free: Float[np.ndarray, "percent"]
    expected_layer: Float[np.ndarray, "percent"]
    p_free: Float[np.ndarray, "percent"]
    p_layer: Float[np.ndarray, "percent"]
    jaccard: Float[np.ndarray, "percent"]
    jaccard_expected_free: Float[np.ndarray, "percent"]
    jaccard_expected_layer: Float[np.ndarray, "percent"]
    tied: Bool[np.ndarray, "percent"]
    n_heads: int
    heads_left_out: int


def overlap(
    a: Scored,
    b: Scored,
    *,
    percents: Sequence[int] = tuple(range(1, 31)),
    tie_breaks: int = 100,
    groups: Int[np.ndarray, "layer head"] | None = None,
    seed: int | np.random.Generator = 0,
) -> Overlap:
    """Overlap of the highest-scoring heads of two tables, at each percentage.

    Tables [layer head]: arrays, tensors, or scores, whose mean is taken.
    """
    a, b, percents = table_of(a), table_of(b), whole_percents(percents)
    valid = shared_heads(a, b)
    n = int(valid.sum())
    if not n or tie_breaks < 1 or any(not 1 <= percent <= 100 for percent in percents):
        raise UsageError(
            f"Overlaps need heads, a tie-break and percentages from 1 to 100; got {n} heads that both tables score, "
            f"tie_breaks={tie_breaks}, percents={list(percents)}."
        )
    generator = np.random.default_rng(seed)
    draws = tie_breaks if any(np.unique(scores[valid]).size < n for scores in (a, b)) else 1
    places_a, places_b = (random_places(scores[valid], draws, generator) for scores in (a, b))
    strata = Strata.of(valid, groups)
    k = [-(-percent * n // 100) for percent in percents]
    sets = [_mean_overlap(places_a < size, places_b < size, strata) for size in k]
    return Overlap(
        percent=np.array(percents),
        k=np.array(k),
        share=np.array([one["overlap"] for one in sets]) / np.array(k),
        tied=np.array([_tie_at(a[valid], size) or _tie_at(b[valid], size) for size in k]),
        n_heads=n,
        heads_left_out=int((~valid).sum()),
        **{name: np.array([one[name] for one in sets]) for name in sets[0]},
    )


def set_overlap(
    in_a: Bool[np.ndarray, "layer head"],
    in_b: Bool[np.ndarray, "layer head"],
    *,
    valid: Bool[np.ndarray, "layer head"] | None = None,
    groups: Int[np.ndarray, "layer head"] | None = None,
) -> SetOverlap:
    """Overlap of two given sets, such as the induction heads of Method 2.8 and the heads a task needs.

    `valid` marks the heads that could have been in a set (all of them if None).
    """
    heads = np.ones(in_a.shape, dtype=bool) if valid is None else valid
    if in_a.shape != in_b.shape or heads.shape != in_a.shape or (in_a & ~heads).any() or (in_b & ~heads).any():
        raise UsageError(
            f"The sets have shapes {in_a.shape} and {in_b.shape}, the heads to draw from {heads.shape}; expected one "
            "shape, and no head of a set outside the heads to draw from."
        )
    strata = Strata.of(heads, groups)
    counts = [strata.count(mask[heads][None])[0] for mask in (in_a, in_b)]
    found = int((in_a & in_b).sum())
    return SetOverlap(
        size_a=int(in_a.sum()),
        size_b=int(in_b.sum()),
        overlap=found,
        n_heads=int(heads.sum()),
        **_against_chance(found, strata, *counts),
    )


def random_places(
    scores: Float[np.ndarray, "head"], draws: int, generator: np.random.Generator
) -> Int[np.ndarray, "draw head"]:
    """Place of each head, 0 for the highest score, equal scores in a new random order at every draw."""
    descending = repeat(-scores, "head -> draw head", draw=draws)
    order = np.lexsort((generator.random(descending.shape), descending), axis=-1)
    places = np.empty_like(order)
    np.put_along_axis(places, order, repeat(np.arange(scores.size), "head -> draw head", draw=draws), axis=-1)
    return places


def overlap_distribution(
    n: Int[np.ndarray, "layer"], a: Int[np.ndarray, "layer"], b: Int[np.ndarray, "layer"]
) -> Float[np.ndarray, "overlap"]:
    """P(X = 0, 1, ...) where a_l and b_l of the n_l heads of each layer are drawn at random, independently.

    One layer gives the hypergeometric distribution; several give its convolution.
    """
    x = np.arange(int(np.minimum(a, b).max(initial=0)) + 1)
    n, a, b = n[:, None], a[:, None], b[:, None]
    possible = (x <= a) & (x <= b) & (b - x <= n - a)
    inside = np.where(possible, x, np.maximum(0, a + b - n))
    log_p = _log_choose(a, inside) + _log_choose(n - a, b - inside) - _log_choose(n, b)
    distribution = np.ones(1)
    for row in np.where(possible, np.exp(log_p), 0.0):
        distribution = np.convolve(distribution, np.trim_zeros(row, "b"))
    return distribution / distribution.sum()


def matched_overlap_distribution(size: int, a: tuple[int, ...], b: tuple[int, ...]) -> Float[np.ndarray, "overlap"]:
    """P(X = 0, 1, ...) where groups of `size` heads hold a_1, a_2, ... heads of one set and b_1, b_2, ... of the other,
    the groups of the one are matched with those of the other at random, and so are the heads of matched groups.

    The groups are matched one after the other; what counts is how many groups of each b are still free.
    """
    kinds = tuple(sorted(Counter(b).items()))
    states: dict[tuple[int, ...], Float[np.ndarray, "overlap"]] = {tuple(free for _, free in kinds): np.ones(1)}
    for held in a:
        following: dict[tuple[int, ...], Float[np.ndarray, "overlap"]] = {}
        for state, distribution in states.items():
            for place, (met, _) in enumerate(kinds):
                if state[place]:
                    rest = (*state[:place], state[place] - 1, *state[place + 1 :])
                    term = np.convolve(distribution, _hypergeometric(size, held, met)) * (state[place] / sum(state))
                    following[rest] = _added(following.get(rest, np.zeros(1)), term)
        states = following
    (whole,) = states.values()
    return whole


@lru_cache(maxsize=4096)
def _hypergeometric(n: int, a: int, b: int) -> Float[np.ndarray, "overlap"]:
    return overlap_distribution(*(np.array([count]) for count in (n, a, b)))


def _added(left: Float[np.ndarray, "left"], right: Float[np.ndarray, "right"]) -> Float[np.ndarray, "longer"]:
    longer = np.zeros(max(left.size, right.size))
    longer[: left.size] += left
    longer[: right.size] += right
    return longer


def _log_choose(n: Int[np.ndarray, "..."], k: Int[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    log_ways: Float[np.ndarray, "..."] = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return log_ways


def _mean_overlap(
    top_a: Bool[np.ndarray, "draw head"], top_b: Bool[np.ndarray, "draw head"], strata: Strata
) -> dict[str, float]:
    """Mean over the tie-breaks; tie-breaks that give the same counts are computed once."""
    found = (top_a & top_b).sum(axis=-1, keepdims=True)
    counts = np.concatenate([found, *(strata.count(top) for top in (top_a, top_b))], axis=-1)
    cases, times = np.unique(counts, axis=0, return_counts=True)
    middle = strata.size.size + 1
    rows = [_against_chance(int(case[0]), strata, case[1:middle], case[middle:]) for case in cases]
    means = {name: float(np.average([row[name] for row in rows], weights=times)) for name in rows[0]}
    return {"overlap": float(found.mean()), **means}


def _against_chance(
    found: int, strata: Strata, a: Int[np.ndarray, "stratum"], b: Int[np.ndarray, "stratum"]
) -> dict[str, float]:
    both = int(a.sum() + b.sum())
    row = {"jaccard": float(_jaccard(np.array([found]), both)[0])}
    free = _hypergeometric(int(strata.size.sum()), int(a.sum()), int(b.sum()))
    for name, distribution in (("free", free), ("layer", _by_layer(strata, a, b))):
        x = np.arange(distribution.size)
        row[f"expected_{name}"] = float((distribution * x).sum())
        row[f"p_{name}"] = float(min(1.0, distribution[found:].sum()))
        row[f"jaccard_expected_{name}"] = float((distribution * _jaccard(x, both)).sum())
    return row


def _by_layer(
    strata: Strata, a: Int[np.ndarray, "stratum"], b: Int[np.ndarray, "stratum"]
) -> Float[np.ndarray, "overlap"]:
    """Every layer's distribution, convolved; groups of a layer can be matched where they have as many heads."""
    distribution = np.ones(1)
    alike, place = np.unique(np.stack([strata.layer, strata.size], axis=1), axis=0, return_inverse=True)
    for number, (_, size) in enumerate(alike):
        held, met = (tuple(int(count) for count in counts[place == number]) for counts in (a, b))
        if any(held) and any(met):
            distribution = np.convolve(distribution, _matched(int(size), held, met))
    return distribution / distribution.sum()


@lru_cache(maxsize=4096)
def _matched(size: int, a: tuple[int, ...], b: tuple[int, ...]) -> Float[np.ndarray, "overlap"]:
    return matched_overlap_distribution(size, a, b)


def _jaccard(found: Int[np.ndarray, "overlap"], both: int) -> Float[np.ndarray, "overlap"]:
    """X / (a + b - X); 0 for two empty sets."""
    return found / np.maximum(both - found, 1)


def _tie_at(scores: Float[np.ndarray, "head"], k: int) -> bool:
    if k >= scores.size:
        return False
    around = np.partition(scores, scores.size - k - 1)
    return bool(around[scores.size - k - 1] == around[scores.size - k :].min())
