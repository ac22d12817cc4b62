"""What documents can show: power, the smallest effect, documents for a wanted one, equivalence (Method 5).

An estimate's standard error shrinks with the root of the number of documents, its degrees of freedom grow with it: by
both, an estimate made on a few documents (the screen's) tells what more of them would do. Clusters are taken to hold as
many documents as they did.
1. Power of the two-sided t test of an effect, by the noncentral t distribution.
2. The smallest effect shown: the one whose power is .8.
3. Documents for an effect: as many as bring its power to .8.
4. Equivalence: an effect is shown to be smaller than a margin where both one-sided tests of the margin reject, that is
   where the interval of confidence 1 - 2 x .05 lies inside it (Schuirmann 1987). The equivalence bound is the smallest
   margin for which it does.
A count of documents is a whole number, or infinite where no number would do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.optimize import brentq
from scipy.stats import nct, norm, t

from ablation.statistics.intervals import ClusterEstimate, Estimate
from interp.errors import UsageError

POWER = 0.8
LEVEL = 0.05
# So many times the documents at hand are as good as no number at all.
MOST_COPIES = 1e6
# From here on Student's t is the normal distribution.
NORMAL_FREEDOM = 1e4
# So many standard errors away the wrong side of a two-sided test is never reached.
WRONG_SIDE = 8.0


def planned_estimate(deviation: float, *, clusters: int, documents: int) -> ClusterEstimate:
    """An estimate known by its clusters' standard deviation alone, to plan with; several go into mean_over_tasks."""
    if not deviation >= 0 or clusters < 2 or documents < clusters:
        raise UsageError(
            "A plan needs a standard deviation of 0 or more, two clusters or more and a document a cluster; got "
            f"{deviation}, {clusters} clusters and {documents} documents."
        )
    return ClusterEstimate(0.0, deviation / math.sqrt(clusters), 0.0, documents, clusters)


def power_of(effect: float, estimate: Estimate, *, documents: int | None = None, level: float = LEVEL) -> float:
    """The chance that the two-sided test shows this effect, on so many documents (on those of the estimate if None)."""
    stderr, freedom = _with(estimate, documents)
    if stderr == 0:
        return float(effect != 0)
    return _power(abs(effect) / stderr, freedom, level)


def smallest_effect(
    estimate: Estimate, *, documents: int | None = None, power: float = POWER, level: float = LEVEL
) -> float:
    """The effect that so many documents show with this power; in the units of the estimate."""
    stderr, freedom = _with(estimate, documents)
    return stderr * _noncentrality(freedom, power, level)


def documents_for(effect: float, estimate: Estimate, *, power: float = POWER, level: float = LEVEL) -> float:
    """How many documents show an effect of this size with this power."""
    if effect == 0 or not math.isfinite(estimate.stderr):
        return math.inf

    def slack(copies: float) -> float:
        return _power_at(effect, estimate, copies, level) - power

    return fewest_documents(slack, estimate, guess=copies_for(abs(effect), estimate, level=level / 2))


def equivalence_bound(estimate: Estimate, *, level: float = LEVEL) -> float:
    """The smallest margin that the effect is shown to lie within."""
    reach = float(t.ppf(1 - level, estimate.freedom)) * estimate.stderr
    return abs(estimate.centre) + reach


def documents_for_equivalence(
    margin: float, estimate: Estimate, *, effect: float = 0.0, power: float = POWER, level: float = LEVEL
) -> float:
    """How many documents show that an effect, which is truly `effect`, lies within the margin.

    The power is that of both one-sided tests together, in the normal approximation.
    """
    if not abs(effect) < margin or not math.isfinite(estimate.stderr):
        return math.inf

    def slack(copies: float) -> float:
        stderr, reach = _scaled(estimate, copies, level)
        if stderr == 0:
            return 1.0
        inside = norm.cdf((margin - reach - effect) / stderr) - norm.cdf((reach - margin - effect) / stderr)
        return float(inside) - power

    return fewest_documents(slack, estimate, guess=copies_for(margin - abs(effect), estimate, level=level))


def copies_for(distance: float, estimate: Estimate, *, level: float = LEVEL) -> float:
    """So many times the documents tell this distance from nothing, one-sided, with power .8 in the normal limit."""
    needed = float(norm.isf(level) + norm.ppf(POWER)) * estimate.stderr
    return math.inf if distance == 0 else (needed / distance) ** 2


def fewest_documents(slack: Callable[[float], float], estimate: Estimate, *, guess: float = 1.0) -> float:
    """The fewest documents for which `slack`, a rising function, is not below 0.

    slack: of how many times the documents of the estimate there are, which may be less than one. guess: where about.
    """
    items = estimate.n_items
    low = (1 + 1e-9) * max(2 / (estimate.freedom + 1), 1 / items)  # Two clusters, and a document.
    if guess > MOST_COPIES:
        return math.inf
    if slack(low) >= 0:
        return float(math.ceil(low * items - 1e-6))
    high = max(guess, 2 * low)
    while slack(high) < 0:
        low, high = high, 2 * high
        if high > MOST_COPIES:
            return math.inf
    found = float(brentq(slack, low, high, xtol=1e-9 / items, rtol=1e-9))
    return float(math.ceil(found * items - 1e-6))


def _power_at(effect: float, estimate: Estimate, copies: float, level: float) -> float:
    stderr, _ = _scaled(estimate, copies, level)
    if stderr == 0:
        return 1.0
    return _power(abs(effect) / stderr, _freedom(estimate, copies), level)


def _scaled(estimate: Estimate, copies: float, level: float) -> tuple[float, float]:
    """Standard error and the reach of a one-sided bound with so many times the documents."""
    stderr = estimate.stderr / math.sqrt(copies)
    return stderr, float(t.ppf(1 - level, _freedom(estimate, copies))) * stderr


def _with(estimate: Estimate, documents: int | None) -> tuple[float, float]:
    """Standard error and degrees of freedom on so many documents."""
    if documents is None:
        return estimate.stderr, estimate.freedom
    copies = documents / estimate.n_items
    freedom = _freedom(estimate, copies)
    if freedom < 1 - 1e-9:
        raise UsageError(
            f"{documents:g} documents are fewer than two clusters of documents, which an interval needs; give more."
        )
    return estimate.stderr / math.sqrt(copies), freedom


def _freedom(estimate: Estimate, copies: float) -> float:
    """So many times the clusters: for one task these less one; for several the same rule, as if they were one."""
    return copies * (estimate.freedom + 1) - 1


def _power(noncentrality: float, freedom: float, level: float) -> float:
    """Two-sided, the wrong side included."""
    reach = float(t.ppf(1 - level / 2, freedom))
    if freedom > NORMAL_FREEDOM:
        return float(norm.sf(reach - noncentrality) + norm.cdf(-reach - noncentrality))
    wrong = float(nct.cdf(-reach, freedom, noncentrality)) if noncentrality < WRONG_SIDE else 0.0
    # Out on the wrong side the library gives NaN for what is 0, here and there before that.
    return float(nct.sf(reach, freedom, noncentrality)) + (0.0 if math.isnan(wrong) else wrong)


def _noncentrality(freedom: float, power: float, level: float) -> float:
    """How many standard errors an effect must measure for this power."""
    if not level < power < 1:
        raise UsageError(f"A power lies between the level ({level}) and 1; got {power}.")
    top = float(t.ppf(1 - level / 2, freedom)) + 10 * max(1.0, float(t.ppf(0.999, freedom)))
    return float(brentq(lambda size: _power(size, freedom, level) - power, 0.0, top, xtol=1e-8))
