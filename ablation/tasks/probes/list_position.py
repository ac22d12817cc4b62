"""List operations: the first, second, third or last of four words."""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half
from ablation.tasks.probes.words import NOUNS

RULES = ("first", "second", "third", "last")
ITEMS = 50


def items(split: str) -> list[Item]:
    """Lists of four words of any kind; train and validation use different words."""
    words = half(NOUNS, split, "list_position")
    steps = [place * len(words) // len(RULES) for place in range(len(RULES))]
    lists = [tuple(words[(number + step) % len(words)] for step in steps) for number in range(ITEMS)]
    return [Item(", ".join(four), four) for four in lists]
