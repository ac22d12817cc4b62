"""Documents that are not independent: the unit of every interval (Method 4).

Passages (MultiRC, BoolQ, ReCoRD, WSC) are known by their text, so that a passage shared by train and validation is one
cluster; WSC is among them, since it asks about most of its passages more than once, with other nouns.
WinoGrande's twins carry no mark in the hub's fields: two sentences are twins when they offer the same two options and
share at least half of their words. Real twins share .56 and more, other pairs with equal options at most .30 (1,000
documents).
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence

TWIN_OVERLAP = 0.5


def by_text(task: str, texts: Sequence[str]) -> list[str]:
    """One cluster a distinct text."""
    return [f"{task}#{hashlib.sha256(text.encode()).hexdigest()[:16]}" for text in texts]


def twins(ids: Sequence[str], sentences: Sequence[str], options: Sequence[frozenset[str]]) -> list[str]:
    """One cluster a pair (or chain) of near-equal sentences with equal options, named after its first document."""
    groups: dict[frozenset[str], list[int]] = defaultdict(list)
    words = [frozenset(re.findall(r"\w+", sentence.lower())) for sentence in sentences]
    clusters = list(ids)
    for index, option in enumerate(options):
        for earlier in groups[option]:
            if overlap(words[earlier], words[index]) >= TWIN_OVERLAP:
                clusters[index] = clusters[earlier]
                break
        groups[option].append(index)
    return clusters


def overlap(left: frozenset[str], right: frozenset[str]) -> float:
    """Shared words by all words, in [0, 1]."""
    return len(left & right) / max(len(left | right), 1)
