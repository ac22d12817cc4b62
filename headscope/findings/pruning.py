"""How much can be removed: shown up to a share, shown not from another, and open between (Method 4).

The paper: about 70% of the heads and about 20% of the FFNs of OPT-66B (its section 5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, isnan, nan
from typing import Any

from headscope.findings.evidence import CHOICE, Evidence
from headscope.findings.section import PageTable, Section
from headscope.findings.words import counted, documents, listed, number, shots
from headscope.store.comparisons import (
    ABLATIONS,
    DECIDING,
    NOT_REMOVABLE,
    POOLED,
    CausalLevel,
    Kind,
    PruningLevel,
    removable_row,
)

COMPONENTS = {"head": "heads", "kv_group": "key-value groups", "ffn": "FFNs"}
HARMLESS = {  # outcome: at which price, the one that models are compared by first
    "kept": "with 95% of the choice gain kept",
    "choice": "for less than 0.05 nats of choice",
    "metric": "for less than 2 points of accuracy",
}
ORDERS = {"own": "a task's own importance", "signed_choice": "signed importance to choice", "random": "chance (median)"}
LEVEL = 0.05
WAYS = {"mean": "mean", "zero": "zero", "zero/later": "zero but at position 0"}  # mean has a mean of its own there


@dataclass(frozen=True)
class Share:
    """What is shown of one component, order and outcome over the pooled tasks; percentages, NaN where nothing is.

    documents: that would decide the first open step, NaN where none is open.
    """

    outcome: str
    shots: int
    ablation: str
    tasks: int
    shown: float
    refuted: float
    documents: float

    @property
    def cell(self) -> str:
        """`30%, not 60%`."""
        upto = f"{self.shown:.0f}%" if self.shown > 0 else ""
        beyond = f"not {self.refuted:.0f}%" if isfinite(self.refuted) else ""
        if not upto and not beyond:
            needed = documents(self.documents).removesuffix(" would decide")
            return "none shown" if isnan(self.documents) else f"open, {needed}"
        return ", ".join(part for part in (upto, beyond) if part)

    def clause(self, things: str) -> str:
        """The same in a sentence."""
        if self.shown > 0:
            beyond = f" (not {self.refuted:.0f}%)" if isfinite(self.refuted) else ""
            return f"{self.shown:.0f}% of the {things}{beyond}"
        if isfinite(self.refuted):
            return f"not even {self.refuted:.0f}% of the {things}"
        return f"of the {things} no share that is shown yet ({documents(self.documents)})"


def share(
    evidence: Evidence, component: str, order: str = "own", outcome: str | None = None, ways: Sequence[str] = ABLATIONS
) -> Share | None:
    """At the most shots; by the first outcome that the run has, unless one is named. None without any."""
    for name in HARMLESS if outcome is None else (outcome,):
        found = removable_row(evidence.comparisons, component, order, name, ways)
        if found is not None and isfinite(found.value):
            refuted, needed = (evidence.beside(kinds[name], found) for kinds in (NOT_REMOVABLE, DECIDING))
            ends = [nan if row is None else float(row.value) for row in (refuted, needed)]
            ablation = PruningLevel.parse(found.level).ablation
            return Share(name, int(found.shots), ablation, int(found.n), float(found.value), *ends)
    return None


def sentence(evidence: Evidence) -> Iterator[str]:
    """How many heads and FFNs can go, each in the tasks' own order."""
    found = {things: one for name, things in COMPONENTS.items() if (one := share(evidence, name)) is not None}
    for outcome, way in dict.fromkeys((one.outcome, one.ablation) for one in found.values()):
        parts = [one.clause(things) for things, one in found.items() if (one.outcome, one.ablation) == (outcome, way)]
        yield f"Removable {HARMLESS[outcome]}, replaced by {way}: {', '.join(parts)}."


def section(evidence: Evidence) -> Section | None:
    """The curves, every order's share, and the FFNs that are needed; None where nothing was pruned."""
    pruned = [name for name in COMPONENTS if name in set(evidence.metrics["component"])]
    figures = tuple(f"pruning_{name}s" for name in pruned)
    lines, table = tuple(needed(evidence)), shares(evidence, pruned)
    if not (figures or lines):
        return None
    return Section("pruning", "What can be removed", lines, table, figures, _note(evidence) if table else "")


def shares(evidence: Evidence, pruned: list[str]) -> PageTable | None:
    """A row an order."""
    rows = []
    for order, words in ORDERS.items():
        found = [share(evidence, name, order) for name in pruned]
        if any(found):
            rows.append((words, *("-" if one is None else one.cell for one in found)))
    return PageTable(("lowest first by", *(COMPONENTS[name] for name in pruned)), tuple(rows)) if rows else None


def _note(evidence: Evidence) -> str:
    told = [(share(evidence, name, order), things) for order in ORDERS for name, things in COMPONENTS.items()]
    first, *_ = (one for one, _ in told if one is not None)
    by_way = {one.ablation: things for one, things in told if one is not None}
    ways = listed([f"{way} ({things})" for way, things in by_way.items()]) if len(by_way) > 1 else first.ablation
    return (
        f"Share shown to be removable {HARMLESS[first.outcome]}, and from where it is shown not to be; "
        f"{counted(first.tasks, 'task')} together at {shots(first.shots)}, replaced by {ways}, on validation "
        "documents. Bands: 5th to 95th percentile over draws."
    )


def needed(evidence: Evidence) -> Iterator[str]:
    """FFNs whose removal alone is shown to cost more than the margin, Holm over all: by each way, mean first."""
    rows = evidence.rows(kind=Kind.FFN_NEEDED, a=POOLED)
    rows = rows[rows["shots"] == rows["shots"].max()]
    of_way = {told: rows[rows["level"] == str(CausalLevel(CHOICE, way))] for way, told in WAYS.items()}
    found = [f"replaced by {told}, {_shown(these)}" for told, these in of_way.items() if len(these)]
    if found:
        yield f"FFNs shown to be needed, that is, to cost more than 0.05 nats of choice alone: {'; '.join(found)}."


def _shown(rows: Any) -> str:
    """`2 of 30, FFN 0 (3.7 nats) and FFN 29 (1.3 nats)`."""
    sure = rows[rows["p_holm"] <= LEVEL].sort_values("value", ascending=False)
    worst = [f"FFN {row.b} ({number(row.value, 1)} nats)" for row in sure.head(3).itertuples(index=False)]
    most = f", most of all {listed(worst)}" if len(sure) > 3 else f", {listed(worst)}" if worst else ""
    return f"{len(sure) or 'none'} of {len(rows)}{most}"


def open_shares(evidence: Evidence) -> Iterator[str]:
    """A line a component whose share has open steps."""
    for name, things in COMPONENTS.items():
        found = share(evidence, name)
        if found is not None and not isnan(found.documents):
            known = f"shown to {found.shown:.0f}%" if found.shown > 0 else "shown at no step"
            beyond = f", shown not to be from {found.refuted:.0f}%" if isfinite(found.refuted) else ""
            yield (
                f"How many {things} are removable {HARMLESS[found.outcome]}, replaced by {found.ablation}: "
                f"{known}{beyond}; "
                f"{documents(found.documents)} the next step."
            )
