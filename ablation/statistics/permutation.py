"""Permutation tests of rank correlations, Holm's correction, and the rank of one result among its controls (Method 5).

1. B = max(9999, 100 x family) permutations, `family` being the number of tests that are corrected together.
2. The global coefficient is tested by permuting all heads, the within-layer one by permuting heads inside their
   layer, so that a trend over layers is part of the null and not a finding. With `groups` (kv_groups.py) whole
   key-value groups are shuffled, then the heads of each: heads of a group resemble each other under the null too.
3. p = (b + 1) / (B + 1), with b permutations at least as extreme as what was observed.
4. Holm's step-down adjustment within one matrix.
5. What a single test could have found: the smallest coefficient that reaches p = .05, and the one that does so four
   times in five, taking the coefficient to spread around its true value as the permutations do around 0.
All pairs of a matrix share the permutations: each p is right by itself, and Holm holds under any dependence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from einops import rearrange
from jaxtyping import Bool, Float, Int
from scipy.stats import norm

from ablation.statistics.correlation import Level, StandardRanks, head_blocks, shared_heads, standard_ranks
from ablation.statistics.given import Scored, table_of
from ablation.statistics.kv_groups import group_of_valid, permuted_heads
from interp.errors import UsageError

Alternative = Literal["two_sided", "greater"]

# Room for rounding in "at least as extreme" and "above the margin": what is compared is exact to about 1e-15.
ROUNDING = 1e-12
# Numbers held at once while permuting (32 MB).
CHUNK = 2**22
SIGNIFICANT = 0.05
POWER = 0.8


@dataclass(frozen=True)
class PermutationTest:
    """One coefficient and its p by permutation; NaN both where the coefficient is undefined.

    critical: a coefficient beyond it has p <= .05. detectable: the true coefficient that 80% of tests would find.
    """

    level: Level
    alternative: Alternative
    value: float
    p: float
    permutations: int
    n_heads: int
    heads_left_out: int
    critical: float
    detectable: float


@dataclass(frozen=True)
class Detectable:
    """What a test could have found, from its null draws."""

    critical: float
    detectable: float

    @classmethod
    def of(cls, null: Float[np.ndarray, "draw"], alternative: Alternative) -> Detectable:
        """A value beyond `critical` leaves at most .05 (B + 1) - 1 draws at least as extreme."""
        extreme = np.sort(np.abs(null) if alternative == "two_sided" else null)[::-1]
        reached = max(0, int(SIGNIFICANT * (null.size + 1)) - 1)
        critical = float(extreme[min(reached, null.size - 1)])
        return cls(critical, critical + float(norm.ppf(POWER)) * float(null.std()))


@dataclass(frozen=True)
class PermutationTable:
    """All coefficients of a matrix, with p and Holm's p over the family; NaN where undefined and on the diagonal."""

    level: Level
    alternative: Alternative
    value: Float[np.ndarray, "row column"]
    p: Float[np.ndarray, "row column"]
    p_holm: Float[np.ndarray, "row column"]
    family: int
    permutations: int
    n_heads: int
    heads_left_out: int


@dataclass(frozen=True)
class RankP:
    """Where one outcome stands among its control sets: p = (1 + #controls at least as large) / (N + 1)."""

    observed: float
    median: float
    at_least_as_large: int
    n_controls: int
    p: float


def permutation_count(family: int) -> int:
    """B = max(9999, 100 x family): enough for Holm's smallest step to be reachable."""
    if family < 1:
        raise UsageError(f"A family of {family} tests can't be corrected; expected 1 or more.")
    return max(9_999, 100 * family)


def permutation_test(
    a: Scored,
    b: Scored,
    *,
    level: Level,
    family: int = 1,
    alternative: Alternative = "two_sided",
    groups: Int[np.ndarray, "layer head"] | None = None,
    seed: int | np.random.Generator = 0,
) -> PermutationTest:
    """Test one Spearman coefficient; `family` is the number of tests whose p are corrected together with it."""
    rows, columns = table_of(a)[None], table_of(b)[None]
    table, null = _test_pairs(
        rows, columns, level=level, family=family, alternative=alternative, groups=groups, seed=seed, keep=True
    )
    could = Detectable.of(null[:, 0, 0], alternative)
    return PermutationTest(
        level=level,
        alternative=alternative,
        value=float(table.value[0, 0]),
        p=float(table.p[0, 0]),
        permutations=table.permutations,
        n_heads=table.n_heads,
        heads_left_out=table.heads_left_out,
        critical=could.critical,
        detectable=could.detectable,
    )


def permutation_table(
    rows: Float[np.ndarray, "row layer head"],
    columns: Float[np.ndarray, "column layer head"],
    *,
    level: Level,
    alternative: Alternative = "two_sided",
    groups: Int[np.ndarray, "layer head"] | None = None,
    seed: int | np.random.Generator = 0,
) -> PermutationTable:
    """Test every row ranking against every column ranking, Holm over the whole table."""
    family = len(rows) * len(columns)
    return _test_pairs(rows, columns, level=level, family=family, alternative=alternative, groups=groups, seed=seed)[0]


def permutation_matrix(
    rankings: Float[np.ndarray, "ranking layer head"],
    *,
    level: Level,
    alternative: Alternative = "two_sided",
    groups: Int[np.ndarray, "layer head"] | None = None,
    seed: int | np.random.Generator = 0,
) -> PermutationTable:
    """Test every pair of rankings, Holm over the pairs; symmetric, with NaN as the p of the diagonal."""
    if len(rankings) < 2:
        raise UsageError(f"A matrix of correlations needs two rankings or more; got {len(rankings)}.")
    above = np.triu(np.ones((len(rankings), len(rankings)), dtype=bool), k=1)
    family = int(above.sum())
    return _test_pairs(
        rankings, rankings, level=level, family=family, alternative=alternative, groups=groups, seed=seed, above=above
    )[0]


def _test_pairs(
    rows: Float[np.ndarray, "row layer head"],
    columns: Float[np.ndarray, "column layer head"],
    *,
    level: Level,
    family: int,
    alternative: Alternative,
    groups: Int[np.ndarray, "layer head"] | None,
    seed: int | np.random.Generator,
    above: Bool[np.ndarray, "row column"] | None = None,
    keep: bool = False,
) -> tuple[PermutationTable, Float[np.ndarray, "draw row column"]]:
    """The test of all pairs, and the null draws if they are to be kept (else none).

    above: marks the pairs of a symmetric matrix, the others are mirrored from them.
    """
    if alternative not in ("two_sided", "greater"):
        raise UsageError(f"Unknown alternative {alternative!r}; expected 'two_sided' or 'greater'.")
    valid = shared_heads(rows, columns)
    row_ranks, column_ranks = (standard_ranks(tables, valid=valid, level=level) for tables in (rows, columns))
    count, generator = permutation_count(family), np.random.default_rng(seed)
    shared = (row_ranks.varies[:, None] & column_ranks.varies[None]).sum(axis=-1)
    total = row_ranks.units @ column_ranks.units.T
    value = np.clip(np.divide(total, shared, out=np.full(total.shape, np.nan), where=shared > 0), -1.0, 1.0)
    target = (np.abs(total) if alternative == "two_sided" else total) - ROUNDING
    exceed, kept = np.zeros(total.shape), [np.empty((0, *total.shape))]
    orders = _orders(head_blocks(valid, level), group_of_valid(groups, valid), count, column_ranks, generator)
    for null in _null_totals(row_ranks, column_ranks, orders):
        exceed += ((np.abs(null) if alternative == "two_sided" else null) >= target).sum(axis=0)
        if keep:
            kept.append(null / np.maximum(shared, 1))
    p = np.where(np.isnan(value), np.nan, (exceed + 1) / (count + 1))
    if above is None:
        p_holm = holm(p)
    else:
        p = _mirror(np.where(above, p, np.nan), above)
        p_holm = _mirror(holm(np.where(above, p, np.nan)), above)
    table = PermutationTable(
        level=level,
        alternative=alternative,
        value=value,
        p=p,
        p_holm=p_holm,
        family=family,
        permutations=count,
        n_heads=int(valid.sum()),
        heads_left_out=int((~valid).sum()),
    )
    return table, np.concatenate(kept)


def _mirror(upper: Float[np.ndarray, "row row"], above: Bool[np.ndarray, "row row"]) -> Float[np.ndarray, "row row"]:
    return np.where(above, upper, upper.T)


def _orders(
    blocks: list[slice],
    groups: Int[np.ndarray, "valid"] | None,
    count: int,
    columns: StandardRanks,
    generator: np.random.Generator,
) -> Iterator[Int[np.ndarray, "draw valid"]]:
    """`count` random orders of the heads, as many at a time as memory allows."""
    chunk = max(1, CHUNK // max(1, columns.units.size))
    for start in range(0, count, chunk):
        yield permuted_heads(blocks, min(chunk, count - start), generator, groups=groups)


def _null_totals(
    rows: StandardRanks, columns: StandardRanks, orders: Iterator[Int[np.ndarray, "draw valid"]]
) -> Iterator[Float[np.ndarray, "draw row column"]]:
    """The coefficients, summed over blocks, when the columns' heads are in another order."""
    for order in orders:
        permuted = rearrange(columns.units[:, order], "column draw head -> (column draw) head")
        yield rearrange(permuted @ rows.units.T, "(column draw) row -> draw row column", column=len(columns.units))


def holm(p: Float[np.ndarray, "*tests"]) -> Float[np.ndarray, "*tests"]:
    """Holm's step-down adjusted p over all finite entries; NaN (no test was made) stays NaN and does not count."""
    tested = np.isfinite(p)
    order = np.argsort(p[tested], kind="stable")
    steps = np.arange(order.size, 0, -1)
    adjusted = np.empty(order.size)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[tested][order] * steps), 1.0)
    result = np.full(p.shape, np.nan)
    result[tested] = adjusted
    return result


def rank_p_value(observed: float, controls: Float[np.ndarray, "control"]) -> RankP:
    """The causal check's p: how often a control set does at least as much as the tested set (Method 5)."""
    if controls.size == 0 or not (np.isfinite(controls).all() and np.isfinite(observed)):
        raise UsageError(
            f"A rank p needs finite outcomes; got {observed} against {controls.size} controls, "
            f"{int((~np.isfinite(controls)).sum())} of them not finite. Run the control sets first."
        )
    count = int((controls >= observed - ROUNDING).sum())  # means of the same drops in another order are a tie
    return RankP(
        observed=float(observed),
        median=float(np.median(controls)),
        at_least_as_large=count,
        n_controls=controls.size,
        p=(1 + count) / (controls.size + 1),
    )
