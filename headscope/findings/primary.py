"""What a drop beside its controls comes to: more, less, alike, or undecided (Method 5)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

from headscope.findings.evidence import Evidence
from headscope.findings.words import documents, number, span
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
    """A drop beyond the mean of its controls. margin: within which it is shown to lie; documents: that would decide."""

    kind: str
    value: float
    low: float
    high: float
    margin: float
    documents: float
    outcome: str

    @property
    def size(self) -> str:
        """`0.63 nats (0.40 to 0.86)`; without its sign where it is shown to be below 0."""
        _, factor, unit, digits = UNITS[self.outcome]
        value, low, high = (factor * end for end in (self.value, self.low, self.high))
        if self.kind == LESS:
            value, low, high = -value, -high, -low
        return f"{number(value, digits)} {unit} ({span(low, high, digits)})"

    @property
    def clause(self) -> str:
        """What follows, as the second half of a sentence about the drop."""
        _, factor, unit, digits = UNITS[self.outcome]
        if self.kind in (MORE, LESS):
            return f"they carry {self.kind} of it than matched heads, by {self.size}"
        if self.kind == ALIKE:
            return f"they matter as matched heads do, within {number(factor * self.margin, digits)} {unit}"
        return f"whether they carry more than matched heads is open, {documents(self.documents)}"


def verdict(evidence: Evidence, beyond: Any) -> Verdict:
    """From a row of `primary_beyond`."""
    bound = evidence.beside(Kind.PRIMARY_EQUIVALENCE, beyond)
    needed = evidence.beside(Kind.PRIMARY_DOCUMENTS, beyond)
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
    )
