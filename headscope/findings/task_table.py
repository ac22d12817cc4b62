"""How a removable share is told. A share of 0 means that the first step tried was not shown to be harmless, no more.

By accuracy, 0 means nothing at all where the documents are too few: they could not exclude a loss of 2 points even if
no answer changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

import pandas as pd

from headscope.findings.evidence import Evidence, bracket, formatted, table
from headscope.store.comparisons import POOLED, REMOVABLE, Kind, PruningLevel

SHARES = (REMOVABLE["metric"], REMOVABLE["choice"])
MARGIN = -0.02
UNDECIDED = "too few documents to decide"
HEADINGS = (
    "task",
    "accuracy, full model",
    "its one-sided lower 95% bound",
    "clusters of documents",
    "area, own order [95%]",
    "area, random orders [5th to 95th percentile]",
    "shown removable by accuracy, own order",
    "by choice, own order",
    "by accuracy, random orders",
    "by choice, random orders",
)


def share(evidence: Evidence, kind: str, level: PruningLevel, shots: int, order: str, *, task: str = POOLED) -> str:
    """The removable share of a task, or of all above chance together, in words."""
    value = evidence.value(kind=kind, level=level, shots=shots, a=task, b=order)
    steps = evidence.steps(level, shots, order, task)
    return in_words(value, steps, undecided=kind == SHARES[0] and blind(evidence, level, shots, task))


def blind(evidence: Evidence, level: PruningLevel, shots: int, task: str = POOLED) -> bool:
    """Whether the documents are too few to exclude a loss of 2 points of accuracy even where no answer changes."""
    return evidence.value(kind=Kind.UNCHANGED_BOUND, level=level, shots=shots, a=task) <= MARGIN


def in_words(value: float, steps: Sequence[int], *, undecided: bool = False) -> str:
    """steps: the percentages tried, without 0."""
    if not isfinite(value):
        return "not known"
    if steps and value < steps[0]:
        return UNDECIDED if undecided else f"less than {steps[0]}%, the first step tried"
    if value == 0:
        return UNDECIDED if undecided else "nothing at the steps tried"
    return f"{value:.0f}%, the last step tried" if steps and value >= steps[-1] else f"{value:.0f}%"


def brief(value: float, steps: Sequence[int], *, undecided: bool = False) -> str:
    """The same for a cell of a table."""
    if value >= steps[0]:
        return f"{value:.0f}%"
    return "undecided" if undecided else f"<{steps[0]}%"


def by_task(
    evidence: Evidence, level: PruningLevel, shots: int, tasks: Sequence[str], chance: Sequence[str]
) -> Iterator[str]:
    """Clusters are independent sets of documents, the unit of the intervals; random shares are medians over draws.

    Without anything above chance there is nothing for an area to be a share of.
    """
    rows = []
    for task in tasks:
        full = evidence.rows(kind=Kind.FULL_METRIC, level=level, shots=shots, a=task).iloc[0]
        name = f"{task} (not above chance)" if task in chance else task
        low = 0.0 if full["ci_low"] < 0 else full["ci_low"]
        cells = [name, formatted(full["value"]), formatted(low), str(evidence.clusters(task, shots, level))]
        for order in ("own", "random"):
            area = evidence.rows(kind=Kind.PRUNING_AREA, level=level, shots=shots, a=task, b=order)
            cells.append("-" if task in chance else _with_interval(area))
        for order in ("own", "random"):
            cells += [_share(evidence, kind, level, shots, order, task) for kind in SHARES]
        rows.append(cells)
    yield from table(HEADINGS, rows)


def _share(evidence: Evidence, kind: str, level: PruningLevel, shots: int, order: str, task: str) -> str:
    there = evidence.rows(kind=kind, level=level, shots=shots, a=task, b=order)
    return "-" if there.empty else share(evidence, kind, level, shots, order, task=task)


def _with_interval(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "-"
    row = rows.iloc[0]
    return formatted(row["value"]) + bracket(row["ci_low"], row["ci_high"])
