"""Odd one out: of four words three are of one kind; asked for is the odd one, or the first, second or last of the rest.

The odd word stands in each place equally often.
"""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half
from ablation.tasks.probes.words import KINDS

RULES = ("odd one out", "first of the rest", "second of the rest", "last of the rest")
ITEMS, REST = 50, 3


def items(split: str) -> list[Item]:
    """Three words of one kind and one of another, each pair of kinds in turn; train and validation use other words."""
    words = [half(kind, split, "odd_one_out") for kind in KINDS.values()]
    pairs = [(one, other) for one in range(len(words)) for other in range(len(words)) if one != other]
    made = []
    for number in range(ITEMS):
        one, other = (words[kind] for kind in pairs[number % len(pairs)])
        rest = [one[(number + place * len(one) // REST) % len(one)] for place in range(REST)]
        odd = other[number % len(other)]
        place = number % (REST + 1)
        made.append(Item(", ".join([*rest[:place], odd, *rest[place:]]), (odd, *rest)))
    return made
