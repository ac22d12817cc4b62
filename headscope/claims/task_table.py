"""One row a task: the full model, the areas with their intervals, the removable shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from headscope.claims import shares
from headscope.claims.evidence import Evidence, bracket, number, table
from headscope.claims.shares import SHARES

HEADINGS = (
    "task",
    "accuracy, full model",
    "its one-sided lower 95% bound",
    "clusters of documents",
    "area, own order [95%]",
    "area, random orders [5th to 95th percentile]",
    "shown removable by accuracy, own order",
    "by log-likelihood, own order",
    "by accuracy, random orders",
    "by log-likelihood, random orders",
)


def by_task(evidence: Evidence, level: str, shots: int, tasks: Sequence[str], chance: Sequence[str]) -> Iterator[str]:
    """Clusters are independent sets of documents, the unit of the intervals; random shares are medians over draws.

    Without anything above chance there is nothing for an area to be a share of.
    """
    rows = []
    for task in tasks:
        full = evidence.rows(kind="full_metric", level=level, shots=shots, a=task).iloc[0]
        name = f"{task} (not above chance)" if task in chance else task
        low = 0.0 if full["ci_low"] < 0 else full["ci_low"]
        cells = [name, number(full["value"]), number(low), str(evidence.clusters(task, shots, level))]
        for order in ("own", "random"):
            area = evidence.rows(kind="pruning_area", level=level, shots=shots, a=task, b=order)
            cells.append("-" if task in chance else _with_interval(area))
        for order in ("own", "random"):
            cells += [_share(evidence, kind, level, shots, order, task) for kind in SHARES]
        rows.append(cells)
    yield from table(HEADINGS, rows)


def _share(evidence: Evidence, kind: str, level: str, shots: int, order: str, task: str) -> str:
    there = evidence.rows(kind=kind, level=level, shots=shots, a=task, b=order)
    return "-" if there.empty else shares.share(evidence, kind, level, shots, order, task=task)


def _with_interval(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "-"
    one = rows.iloc[0]
    return number(one["value"]) + bracket(one["ci_low"], one["ci_high"])
