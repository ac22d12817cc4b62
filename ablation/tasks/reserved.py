"""Training documents that are kept for the screen, and all that is left for other uses (Method 4).

A task is chosen by the screen and judged afterwards: documents that did the one must not do the other, nor may they
stand in for removed components, rank heads or be shown as demonstrations. So a third of the training documents, 60 at
most, is reserved, in whole clusters in an order that the hash of the clusters' names decides: not by the seed, the
number of shots or a limit. `part="screen"` loads these, `part="rest"` everything else. Both show demonstrations from
the rest, and validation documents of a reserved cluster (a passage that both splits share) are no part of the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from interp.errors import UsageError

PARTS = ("all", "screen", "rest")
RESERVED = 60
SHARE = 3
Row = Mapping[str, Any]


def reserved_clusters(rows: Sequence[Row], *, units: int = RESERVED) -> frozenset[str]:
    """Clusters of training rows that together hold `units` units, or a third of all of them where that is less."""
    held: dict[str, set[str]] = {}
    for row in rows:
        held.setdefault(cluster_of(row), set()).add(str(row.get("unit_id") or row["document_id"]))
    wanted = min(units, sum(map(len, held.values())) // SHARE)
    chosen: list[str] = []
    for cluster in sorted(held, key=_hash):
        if sum(len(held[one]) for one in chosen) >= wanted:
            break
        chosen.append(cluster)
    return frozenset(chosen)


def divided(
    rows: Sequence[Row], pool: Sequence[Row], training: Sequence[Row] | None, part: str, task: str
) -> tuple[list[Row], list[Row]]:
    """The rows to evaluate, and the rows to show, of this part of a task. Raises UsageError where it has no such part.

    training: the rows that the reserved ones are taken from; None where the task has no training documents.
    """
    if part == "all":
        return list(rows), list(pool)
    if training is None:
        raise UsageError(
            f"{task} has no train documents, so none can be reserved for a screen: leave part='all', or name another "
            "task"
        )
    reserved = reserved_clusters(training)
    chosen = [row for row in rows if (cluster_of(row) in reserved) == (part == "screen")]
    if not chosen:
        raise UsageError(
            f"{task} has {len(training)} train documents: too few to keep some for a screen (a third of them, in whole "
            "clusters). Leave the task out of the screen, or give more documents"
        )
    return chosen, [row for row in pool if cluster_of(row) not in reserved]


def cluster_of(row: Row) -> str:
    return str(row.get("cluster_id") or row["document_id"])


def _hash(cluster: str) -> str:
    return hashlib.sha256(f"screen|{cluster}".encode()).hexdigest()
