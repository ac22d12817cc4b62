"""Spelling: the word in capitals, with a capital, as it is, or letter by letter."""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half
from ablation.tasks.probes.words import NOUNS

RULES = ("upper case", "capitalised", "unchanged", "letter by letter")
ITEMS = 50


def items(split: str) -> list[Item]:
    """Nouns of any kind."""
    words = half(NOUNS, split, "letter_case")[:ITEMS]
    return [Item(word, (word.upper(), word.capitalize(), word, "-".join(word))) for word in words]
