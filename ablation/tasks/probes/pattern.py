"""Abstract patterns: is the third word the first one again (ABA) or the second one (ABB)?

After Marcus et al. 1999 (Science 283). The words never come back, only the pattern does.
"""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half
from ablation.tasks.probes.words import NOUNS

RULES = ("ABA", "ABB")
ITEMS = 100


def items(split: str) -> list[Item]:
    """Pairs of words; train and validation use different words."""
    words = half(NOUNS, split, "pattern")
    pairs = list(zip(words[:ITEMS], words[-ITEMS:], strict=True))
    return [Item(f"{first} {second}", (first, second)) for first, second in pairs]
