"""Who gives what to whom, and where? A sentence is given; who gives, who gets, the thing or the room is asked for."""

from __future__ import annotations

from ablation.tasks.probes.suite import Item, half
from ablation.tasks.probes.words import TOOLS, one_each

RULES = ("who gives", "who gets", "what", "where")
ITEMS = 50
NAMES = one_each(
    """
    Anna Ben Clara David Emma Frank Grace Henry Ida Jack Kate Leo Maria Nick Olivia Paul Rosa Sam Tina Victor Alice
    Brian Carol Daniel Eva Felix Helen Ivan Julia Karl Laura Martin Nina Oscar Peter Rachel Simon Sarah Thomas Wendy
    """
)
ROOMS = one_each(
    """
    kitchen garden garage library office bathroom bedroom hallway basement attic school museum hotel station market bank
    church hospital theatre restaurant
    """
)


def items(split: str) -> list[Item]:
    """Two persons, a tool and a room; train and validation use other ones of each."""
    names, things, rooms = (half(words, split, "roles") for words in (NAMES, TOOLS, ROOMS))
    made = []
    for number in range(ITEMS):
        giver = names[number % len(names)]
        getter = names[(number + 1 + number // len(names)) % len(names)]
        thing, room = things[number % len(things)], rooms[(number + number // len(rooms)) % len(rooms)]
        made.append(Item(f"{giver} gave {getter} the {thing} in the {room}.", (giver, getter, thing, room)))
    return made
