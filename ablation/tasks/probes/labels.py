"""Arbitrary labels: animals are A and numbers are B, or the other way round.

The two kinds are easy to tell apart, so that what has to be learnt is the label and not the kind.
"""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half, shuffled
from ablation.tasks.probes.words import ANIMALS

RULES = ("animals are A", "animals are B")
NUMBERS = tuple(str(number) for number in range(101, 101 + 9 * len(ANIMALS), 9))


def items(split: str) -> list[Item]:
    """As many animals as numbers."""
    animals = [Item(word, ("A", "B")) for word in half(ANIMALS, split, "labels")]
    numbers = [Item(number, ("B", "A")) for number in half(NUMBERS, split, "labels")]
    return shuffled([*animals, *numbers], f"labels/{split}")
