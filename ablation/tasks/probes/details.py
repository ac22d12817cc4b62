"""One detail of a sentence: the colour, the animal, the number or the month."""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half
from ablation.tasks.probes.words import ANIMALS, one_each

RULES = ("colour", "animal", "number", "month")
COLOURS = one_each("red blue green yellow black white brown grey pink purple orange golden")
NUMBERS = one_each("two three four five six seven eight nine ten eleven twelve twenty")
MONTHS = one_each("January February March April May June July August September October November December")


def items(split: str) -> list[Item]:
    """An animal in a sentence of its own; train and validation use different words."""
    colours, animals, numbers, months = (half(words, split, "details") for words in (COLOURS, ANIMALS, NUMBERS, MONTHS))
    made = []
    for place, animal in enumerate(animals):
        turn, step = divmod(place, len(colours))
        colour = colours[step]
        number, month = numbers[(step + turn) % len(numbers)], months[(step + 2 * turn + 1) % len(months)]
        made.append(Item(f"The {colour} {animal} met {number} friends in {month}.", (colour, animal, number, month)))
    return made
