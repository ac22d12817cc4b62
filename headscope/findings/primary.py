"""What a drop beside its controls comes to: more, less, alike, or undecided (Method 5).

A study that looks at its documents as they come in ends by its looks, so that the primary's verdict and interval are
those of the last look: the plain 95% interval is too narrow after several. Other outcomes and ways have no looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, isnan, nan
from typing import Any

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

    documents: NaN where that is not stored. look: whose interval it is, where that is not the plain 95%.
    """

    kind: str
    value: float
    low: float
    high: float
    margin: float
    documents: float
    outcome: str
    look: str = ""

    @property
    def size(self) -> str:
        """`0.63 nats (0.40 to 0.86)`; without its sign where it is shown to be below 0."""
        _, factor, unit, digits = UNITS[self.outcome]
        value, low, high = (factor * end for end in (self.value, self.low, self.high))
        if self.kind == LESS:
            value, low, high = -value, -high, -low
        return estimate(value, low, high, digits=digits, unit=unit)

    @property
    def clause(self) -> str:
        """What follows, as the second half of a sentence about the drop."""
        _, factor, unit, digits = UNITS[self.outcome]
        if self.kind in (MORE, LESS):
            where = "beyond" if self.kind == MORE else "below"
            told = f"{self.size[:-1]}: {self.look})" if self.look and self.size.endswith(")") else self.size
            return f"they carry {self.kind} of it than matched heads, {where} the mean of their controls by {told}"
        if self.kind == ALIKE:
            return f"they matter as matched heads do, within {number(factor * self.margin, digits)} {unit}"
        needed = f", {documents(self.documents)}" if not isnan(self.documents) else ""
        return f"whether they carry more than matched heads is open{needed}"


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
    )


def look_words(stage: Any) -> str:
    """`the interval of look 1, which allows for 3 looks`."""
    looks, protocol = stage.record["looks"], stage.protocol
    planned = len(protocol.get("looks") or ()) if isinstance(protocol, Mapping) else 0
    allows = f", which allows for {counted(planned, 'look')}" if planned > 1 else ""
    return f"the interval of look {looks[-1].get('look', len(looks))}{allows}"


def _at_look(look: Mapping[str, Any], beyond: Any, documents: float) -> Verdict:
    """As the study decided. documents: by the plain interval, for a look of which they were not stored."""
    kind = {"absent": ALIKE, "shown": MORE if look.get("value", beyond.value) > 0 else LESS}.get(
        look["kind"], UNDECIDED
    )
    return Verdict(
        kind,
        look.get("value", beyond.value),
        look.get("low", beyond.ci_low),
        look.get("high", beyond.ci_high),
        CHOICE_MARGIN if kind == ALIKE else inf,
        float(look.get("documents_needed", documents)),
        CausalLevel.parse(beyond.level).outcome,
    )
