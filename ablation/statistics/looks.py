"""Looking at the documents before all of them are in: at most three O'Brien-Fleming looks (Method 5).

Documents come in blocks; after each block tasks that are decided stop. Testing at .05 each time would call nothing
something in 11% of studies with three looks.
1. The level is spent as the documents come in, after Lan and DeMets 1983 with the spending function that goes with
   O'Brien and Fleming 1979: with a share t of all documents seen, each side of a two-sided test at level a has spent
   2 - 2 Phi(z_{a/4} / sqrt(t)). Next to nothing at first, so that the last look costs hardly any power.
2. The boundaries follow one by one: the chance, under no effect, of crossing at this look and at none before is what
   the look may spend. It is integrated recursively over the sum of the documents so far (Armitage, McPherson and Rowe
   1969).
3. A boundary is used by its nominal two-sided level: p at a look is from the t test of that look, so that few documents
   are taken for few (Jennison and Turnbull 2000, section 3.8).
Absence is looked for alike, with looks of level .10: each of its two one-sided tests then spends .05.
The looks are fixed beforehand, by the share of documents at each; the last is at all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.stats import norm

from ablation.statistics.intervals import Estimate
from ablation.statistics.power import LEVEL
from ablation.statistics.verdict import CHOICE_MARGIN, EffectVerdict, effect_verdict
from interp.errors import UsageError

MOST_LOOKS = 3
EVEN = (1 / 3, 2 / 3, 1.0)
# Nodes of the quadrature: boundaries are right to 1e-7.
NODES = 120
# Where |Z| is never: a look so early that it spends nothing has its boundary here.
FAR = 12.0

Nodes = Float[np.ndarray, "node"]


@dataclass(frozen=True)
class Looks:
    """When a study looks, and what it takes for a decision there.

    shares: of all documents, ascending to 1. boundaries: of |Z|. nominal: two-sided level of the test at each look.
    spent: chance, without an effect, of having crossed by each look.
    """

    level: float
    shares: tuple[float, ...]
    boundaries: tuple[float, ...]
    nominal: tuple[float, ...]
    spent: tuple[float, ...]


@dataclass(frozen=True)
class Continued:
    """The sum of the documents so far where no boundary was crossed: nodes, and the density times their weights."""

    share: float
    nodes: Nodes
    mass: Nodes

    def beyond(self, share: float, boundary: float) -> float:
        """The chance to be beyond +-boundary at the next look, and not before."""
        step, reach = math.sqrt(share - self.share), boundary * math.sqrt(share)
        crossing = norm.sf((reach - self.nodes) / step) + norm.cdf((-reach - self.nodes) / step)
        return float((self.mass * crossing).sum())

    def inside(self, share: float, boundary: float) -> Continued:
        """What goes on behind the next look."""
        step = math.sqrt(share - self.share)
        nodes, weights = _quadrature(boundary * math.sqrt(share))
        density = norm.pdf((nodes[:, None] - self.nodes) / step) / step
        return Continued(share, nodes, weights * (density @ self.mass))


def obrien_fleming_looks(shares: Sequence[float] = EVEN, *, level: float = LEVEL) -> Looks:
    """The boundaries of at most three looks at these shares of all documents, for a two-sided test."""
    return _looks(tuple(float(share) for share in shares), level)


@lru_cache(maxsize=64)
def _looks(told: tuple[float, ...], level: float) -> Looks:
    if not 1 <= len(told) <= MOST_LOOKS or told[-1] != 1 or told[0] <= 0 or (np.diff(told) <= 0).any():
        raise UsageError(
            f"A study looks one to {MOST_LOOKS} times, at ascending shares of its documents the last of which is 1; "
            f"got {list(told)}."
        )
    if not 0 < level < 1:
        raise UsageError(f"A level lies between 0 and 1; got {level}.")
    spent = tuple(spending(share, level) for share in told)
    boundaries: list[float] = []
    state = Continued(0.0, np.zeros(1), np.ones(1))
    for share, more in zip(told, np.diff(spent, prepend=0.0), strict=True):
        boundaries.append(_boundary(state, share, float(more)))
        state = state.inside(share, boundaries[-1])
    nominal = tuple(float(2 * norm.sf(boundary)) for boundary in boundaries)
    return Looks(level, told, tuple(boundaries), nominal, spent)


def spending(share: float, level: float = LEVEL) -> float:
    """How much of a two-sided level is spent with this share of the documents seen; all of it at 1."""
    return float(4 * norm.sf(norm.isf(level / 4) / math.sqrt(share)))


def crossing_chances(boundaries: Sequence[float], shares: Sequence[float]) -> tuple[float, ...]:
    """The chance, without an effect, of having crossed +-boundary by each look."""
    state, crossed = Continued(0.0, np.zeros(1), np.ones(1)), []
    for share, boundary in zip(shares, boundaries, strict=True):
        crossed.append(state.beyond(share, boundary))
        state = state.inside(share, boundary)
    return tuple(float(chance) for chance in np.cumsum(crossed))


def verdict_at_look(
    estimate: Estimate, look: int, shares: Sequence[float] = EVEN, *, margin: float = CHOICE_MARGIN
) -> EffectVerdict:
    """The verdict at one look, counted from 0; a study of these looks is wrong about no effect in 5% of cases.

    Its interval is the repeated one of Jennison and Turnbull: right at all looks together. At a look that is not the
    last, `undecided` means to go on.
    """
    effect, absence = obrien_fleming_looks(shares), obrien_fleming_looks(shares, level=2 * LEVEL)
    if not 0 <= look < len(effect.shares):
        raise UsageError(f"There are looks 0 to {len(effect.shares) - 1}; got look {look}.")
    return effect_verdict(
        estimate, margin=margin, level=effect.nominal[look], equivalence_level=absence.nominal[look] / 2
    )


def _boundary(state: Continued, share: float, chance: float) -> float:
    if state.beyond(share, FAR) >= chance:
        return FAR
    return float(brentq(lambda boundary: state.beyond(share, boundary) - chance, 0.0, FAR, xtol=1e-10))


def _quadrature(reach: float) -> tuple[Nodes, Nodes]:
    """Gauss and Legendre's nodes and weights on [-reach, reach]."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes * reach, weights * reach
