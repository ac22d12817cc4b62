"""Picking by kind: the animal, the food, the tool or the piece of clothing out of a list of four words."""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half, shuffled
from ablation.tasks.probes.words import KINDS

RULES = tuple(KINDS)
ITEMS = 50


def items(split: str) -> list[Item]:
    """One word of each kind, in any order; train and validation use different words."""
    words = [half(kind, split, "list_category") for kind in KINDS.values()]
    lists = [tuple(kind[n * (place + 1) % len(kind)] for place, kind in enumerate(words)) for n in range(ITEMS)]
    return [Item(", ".join(shuffled(four, f"list_category/{split}/{n}")), four) for n, four in enumerate(lists)]
