"""Arbitrary labels: animals and foods are called foo and bar, or bar and foo."""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half, shuffled
from ablation.tasks.probes.words import ANIMALS, FOODS

RULES = ("animal is foo", "animal is bar")


def items(split: str) -> list[Item]:
    """As many animals as foods."""
    animals = [Item(word, ("foo", "bar")) for word in half(ANIMALS, split, "labels")]
    foods = [Item(word, ("bar", "foo")) for word in half(FOODS, split, "labels")]
    return shuffled([*animals, *foods], f"labels/{split}")
