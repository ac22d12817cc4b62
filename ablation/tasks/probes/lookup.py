"""Looking up: three pairs of words and one of their first words again; asked for is its partner, or a neighbour.

"dog = lamp, cow = coat, fox = cup; cow": coat, or cow once more, or what stands one pair further on (from the last one,
in the first): the partner there, or the first word.
"""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half
from ablation.tasks.probes.words import NOUNS

RULES = ("partner", "unchanged", "next partner", "next word")
ITEMS, PAIRS = 50, 3


def items(split: str) -> list[Item]:
    """Pairs of words of any kind; each place is asked for equally often; train and validation use different words."""
    words = half(NOUNS, split, "lookup")
    step = len(words) // (2 * PAIRS)
    made = []
    for number in range(ITEMS):
        six = [words[(number + place * step) % len(words)] for place in range(2 * PAIRS)]
        pairs = list(zip(six[:PAIRS], six[PAIRS:], strict=True))
        (key, value), (next_key, next_value) = (pairs[(number + later) % PAIRS] for later in (0, 1))
        query = ", ".join(f"{first} = {second}" for first, second in pairs)
        made.append(Item(f"{query}; {key}", (value, key, next_value, next_key)))
    return made
