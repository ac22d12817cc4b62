"""What a drop beside its controls comes to: more, less, alike, or undecided (Method 5).

A study that looks at its documents as they come in ends by its looks, so that the primary's verdict and interval are
those of the last look: the plain 95% interval is too narrow after several. Other outcomes and ways have no looks.
What is not decided is told with the smallest effect that would have been shown, and with how large it can still be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, isfinite, isnan, nan
from typing import Any

from scipy.stats import norm

from ablation.statistics.power import LEVEL, POWER
from ablation.statistics.verdict import CHOICE_MARGIN
from headscope.findings.evidence import PRIMARY_LEVEL, Evidence
from headscope.findings.words import counted, documents, estimate, number
from headscope.store.comparisons import CausalLevel, Kind

# outcome: (its name, factor, unit, digits)
UNITS = {
    "choice": ("choice", 1.0, "nats", 2),
    "mass": ("mass", 1.0, "nats", 2),
    "metric": ("accuracy", 100.0, "points", 1),
}
WAYS = {
    "mean": "by their mean",
    "zero": "by zero",
    "mean/last": "by their mean at the last position",
    "mean/later": "by their mean at all positions but the first",
}
MORE, LESS, ALIKE, UNDECIDED = "more", "less", "alike", "undecided"


@dataclass(frozen=True)
class Verdict:
    """A drop beyond the mean of its controls. margin: within which it is shown to lie; documents: that would decide.

    documents: NaN where that is not stored. bound: the smallest margin that it is shown to lie within, NaN where that
    is not stored. detectable: the drop that 80% of tests would show. look: whose interval it is, where that is not the
    plain 95%.
    """

    kind: str
    value: float
    low: float
    high: float
    margin: float
    documents: float
    outcome: str
    look: str = ""
    bound: float = nan
    detectable: float = nan

    @property
    def size(self) -> str:
        """`0.63 nats (0.40 to 0.86)`; without its sign where it is shown to be below 0."""
        if self.kind == LESS:
            return self._estimate(-self.value, -self.high, -self.low)
        return self._estimate(self.value, self.low, self.high)

    @property
    def signed(self) -> str:
        """`+0.63 nats (0.40 to 0.86)`, whatever is shown."""
        return self._estimate(self.value, self.low, self.high, sign=True)

    def _estimate(self, *ends: float, sign: bool = False) -> str:
        _, factor, unit, digits = UNITS[self.outcome]
        value, low, high = (factor * end for end in ends)
        return estimate(value, low, high, digits=digits, unit=unit, sign=sign)

    def amount(self, value: float) -> str:
        """`0.63 nats`."""
        _, factor, unit, digits = UNITS[self.outcome]
        return f"{number(factor * value, digits)} {unit}"

    @property
    def power(self) -> str:
        """What these documents could have shown, and what they exclude; empty where neither is known."""
        found = f"80% of tests would have shown {self.amount(self.detectable)}" if isfinite(self.detectable) else ""
        rest = f"more than {self.amount(self.bound)} either way is excluded" if isfinite(self.bound) else ""
        return ", ".join(part for part in (found, rest) if part)

    @property
    def clause(self) -> str:
        """What follows, as the second half of a sentence about the drop."""
        if self.kind in (MORE, LESS):
            told = f"{self.size[:-1]}: {self.look})" if self.look and self.size.endswith(")") else self.size
            return f"they carry {self.kind} of it than matched heads do on average, by {told}"
        if self.kind == ALIKE:
            bound = f" (shown within {self.amount(self.bound)})" if isfinite(self.bound) else ""
            return f"they matter as matched heads do, within {self.amount(self.margin)}{bound}"
        needed = "" if isnan(self.documents) else f", {documents(self.documents)}"
        could = f", {self.power}" if not isfinite(self.documents) and self.power else ""
        return f"whether they carry more than matched heads is open{needed}{could}"


def verdict(evidence: Evidence, beyond: Any) -> Verdict:
    """From a row of `primary_beyond`, and from the last look where there is one."""
    stage = evidence.stage("primary")
    looks = stage.record.get("looks") if stage is not None else None
    needed = evidence.beside(Kind.PRIMARY_DOCUMENTS, beyond)
    if looks and "kind" in looks[-1] and beyond.level == str(PRIMARY_LEVEL):
        found = _at_look(looks[-1], beyond, nan if needed is None else float(needed.value))
        return replace(found, look=look_words(stage))
    bound = evidence.beside(Kind.PRIMARY_EQUIVALENCE, beyond)
    within = bound is not None and bound.value < bound.p
    kind = MORE if beyond.ci_low > 0 else LESS if beyond.ci_high < 0 else ALIKE if within else UNDECIDED
    return Verdict(
        kind,
        beyond.value,
        beyond.ci_low,
        beyond.ci_high,
        bound.p if within else inf,
        inf if needed is None else float(needed.value),
        CausalLevel.parse(beyond.level).outcome,
        bound=nan if bound is None else float(bound.value),
        detectable=_detectable(beyond, beyond.ci_low, beyond.ci_high),
    )


def _detectable(beyond: Any, low: float, high: float) -> float:
    """The drop that 80% of tests would show whose interval is as wide as this one; the plain 95% one has its error.

    In the normal limit, as in power.py.
    """
    error = (beyond.ci_high - beyond.ci_low) / (2 * norm.isf(LEVEL / 2))
    return float((high - low) / 2 + norm.ppf(POWER) * error)


def look_words(stage: Any) -> str:
    """`the interval of look 1, which allows for 3 looks`: as many as were planned for the documents that there are."""
    looks, planned = stage.record["looks"], len(stage.record.get("planned_looks", ()))
    allows = f", which allows for {counted(planned, 'look')}" if planned > 1 else ""
    return f"the interval of look {looks[-1].get('look', len(looks))}{allows}"


def _at_look(look: Mapping[str, Any], beyond: Any, documents: float) -> Verdict:
    """As the study decided. documents: by the plain interval, for a look of which they were not stored."""
    low, high = look.get("low", beyond.ci_low), look.get("high", beyond.ci_high)
    kind = {"absent": ALIKE, "shown": MORE if look.get("value", beyond.value) > 0 else LESS}.get(
        look["kind"], UNDECIDED
    )
    return Verdict(
        kind,
        look.get("value", beyond.value),
        low,
        high,
        CHOICE_MARGIN if kind == ALIKE else inf,
        float(look.get("documents_needed", documents)),
        CausalLevel.parse(beyond.level).outcome,
        bound=float(look.get("bound", nan)),
        detectable=_detectable(beyond, low, high),
    )
