"""Which documents a limit takes: spread over the split, and over independent passages, never the first of a file.

Data sets stand in files as they were gathered: all of one label, all questions about one passage. So a limit takes one
document of every cluster before a second of any; the clusters, and the documents in each, stand in an order that the
hash of their names decides. A smaller limit takes a part of what a larger one takes, whatever the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence


def spread(units: Iterable[tuple[str, str]], limit: int | None = None) -> list[str]:
    """The first `limit` units in that order; units are (unit, cluster), repeated ones count once."""
    clusters: dict[str, list[str]] = {}
    for unit, cluster in dict(units).items():
        clusters.setdefault(cluster, []).append(unit)
    placed = [
        (place, _hash(cluster), unit)
        for cluster, members in clusters.items()
        for place, unit in enumerate(sorted(members, key=_hash))
    ]
    return [unit for _, _, unit in sorted(placed)][:limit]


def spread_places(units: Sequence[str], clusters: Sequence[str], limit: int | None = None) -> list[int]:
    """Places of the items of the first `limit` units: a unit's own items side by side, in their own order."""
    held: dict[str, list[int]] = {}
    for place, unit in enumerate(units):
        held.setdefault(unit, []).append(place)
    return [place for unit in spread(zip(units, clusters, strict=True), limit) for place in held[unit]]


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
