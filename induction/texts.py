"""Natural text for scores that need it: sentences of our own, how text becomes ids, prompts to read heads on.

A built-in sentence is somebody, what they do, where and when. No combination comes twice, so that text of any length is
there without a file; it says nothing that anything else is asked about.
Text becomes ids as the tokenizer makes them behind other text (no marker of a beginning inside a prompt); in front of
a prompt stands what the tokenizer puts there by itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from induction.groups import slices
from interp.errors import UsageError
from interp.model import HookedModel
from interp.shown import one_line
from interp.tokenizer import read_text, tokenizer_of

WHO = (
    "The old baker",
    "A young teacher",
    "My neighbour",
    "The captain of the ferry",
    "A tired nurse",
    "The gardener",
    "His older sister",
    "A farmer from the valley",
    "The night watchman",
    "Our guide",
    "The clockmaker",
    "A group of students",
    "The new postman",
    "Her grandfather",
    "The cook",
    "A traveller with a red scarf",
    "The librarian",
    "An engineer",
    "The two brothers",
    "A woman in a green coat",
)
WHAT = (
    "walked slowly",
    "waited for a friend",
    "bought a basket of apples",
    "lost a pair of gloves",
    "told a long story",
    "repaired a wooden chair",
    "read the newspaper",
    "looked for a quiet seat",
    "heard the bells ring",
    "painted a small picture",
    "carried a heavy box",
    "sang an old song",
    "drank a cup of tea",
    "wrote a letter",
    "watched the clouds",
    "fed the birds",
    "played a game of chess",
    "found a silver coin",
    "slept for an hour",
    "took a photograph",
)
WHERE = (
    "along the river",
    "behind the church",
    "in the market square",
    "at the station",
    "near the old bridge",
    "under the chestnut trees",
    "on the top floor",
    "beside the harbour",
    "in a crowded room",
    "outside the town hall",
    "by the kitchen window",
    "at the edge of the forest",
    "on the narrow path",
    "in the corner of the garden",
    "across the street",
    "next to the mill",
    "in front of the museum",
    "on a bench in the park",
    "at the end of the road",
    "inside the empty theatre",
)
WHEN = (
    "before breakfast",
    "on Monday morning",
    "after the rain",
    "in early spring",
    "while the others worked",
    "late in the evening",
    "during the holidays",
    "without saying a word",
    "for the first time",
    "as usual",
    "when the shops were closed",
    "just before midnight",
)
LENGTH, PROMPTS = 128, 24
_BEHIND = "."


@dataclass(frozen=True, eq=False)
class TextGroup:
    """Prompts of one length, from their first token on."""

    tokens: Int[Tensor, "sequence position"]
    indices: tuple[int, ...]

    @property
    def key(self) -> dict[str, Any]:
        return {"tokens": self.tokens.tolist()}

    def batches(self, max_tokens: int) -> Iterator[TextGroup]:
        """The group in parts of at most `max_tokens` tokens each, one prompt at least."""
        for part in slices(self.tokens, max_tokens):
            yield replace(self, tokens=self.tokens[part], indices=self.indices[part])


@one_line
@dataclass(frozen=True, eq=False)
class NaturalPrompts:
    """Natural texts as ids, grouped by length; iterate over the groups. source: `built-in` or `texts`."""

    groups: tuple[TextGroup, ...]
    source: str

    def __iter__(self) -> Iterator[TextGroup]:
        return iter(self.groups)

    def __len__(self) -> int:
        return sum(len(group.indices) for group in self.groups)


def sentences(seed: int | str = 0) -> Iterator[str]:
    """The built-in sentences in an order of the seed's own, each once; 96,000 of them."""
    parts, draw = (WHO, WHAT, WHERE, WHEN), random.Random(f"sentences/{seed}")  # noqa: S311
    said: set[tuple[str, ...]] = set()
    while len(said) < prod(map(len, parts)):
        words = tuple(map(draw.choice, parts))
        if words not in said:
            said.add(words)
            yield " ".join(words) + "."


def natural_prompts(
    model: HookedModel,
    *,
    texts: Iterable[str] | None = None,
    length: int = LENGTH,
    prompts: int = PROMPTS,
    seed: int = 0,
) -> NaturalPrompts:
    """Natural text to read heads on: the texts given, cut to `length` tokens, or `prompts` built-in ones that long.

    Raises UsageError for a model without a tokenizer, and for texts of fewer than two tokens.
    """
    tokenizer = tokenizer_of(model, "natural prompts")
    length = length if model.max_length is None else min(length, model.max_length)
    if length < 2 or prompts < 1:
        raise UsageError(f"a prompt has 2 tokens or more, and there is at least one; got {length=}, {prompts=}")
    given = [_text_of(tokenizer, length, f"{seed}/{n}") for n in range(prompts)] if texts is None else list(texts)
    rows = [read_text(tokenizer, text)[:length] for text in given]
    if short := [text for text, row in zip(given, rows, strict=True) if len(row) < 2]:
        raise UsageError(f"a natural prompt needs two tokens or more; {short[0]!r} has fewer")
    if not rows:
        raise UsageError("no text was given: there is nothing to read heads on")
    groups = []
    for size in sorted({len(row) for row in rows}):
        indices = tuple(n for n, row in enumerate(rows) if len(row) == size)
        tokens = torch.tensor([rows[n] for n in indices], device=model.device)
        groups.append(TextGroup(tokens, indices))
    return NaturalPrompts(tuple(groups), "built-in" if texts is None else "texts")


def _text_of(tokenizer: Any, length: int, seed: str) -> str:
    """Built-in sentences until they have `length` tokens. Raises UsageError for a tokenizer that reads none of them."""
    source, text, held = sentences(seed), "", len(read_text(tokenizer, ""))
    while held < length:
        longer = " ".join([*([text] if text else []), *islice(source, 4)])
        found = len(read_text(tokenizer, longer))
        if found <= held:  # digits only, say, and nothing for all else: it would never end
            raise UsageError(
                f"this model's tokenizer makes no tokens of English sentences ({longer[-40:]!r}): give texts that it "
                "reads, texts=[...]"
            )
        text, held = longer, found
    return text


def ids_behind(tokenizer: Any, text: str, behind: str = _BEHIND) -> tuple[int, ...]:
    """The ids of a text as it goes on behind another: what the joint ids have beyond the other's."""
    alone, joint = (read_text(tokenizer, part, add_special_tokens=False) for part in (behind, behind + text))
    return tuple(joint[len(alone) :])


def front_ids(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer puts in front of a text by itself."""
    bare, full = read_text(tokenizer, "a", add_special_tokens=False), read_text(tokenizer, "a")
    places = (at for at in range(len(full) - len(bare) + 1) if full[at : at + len(bare)] == bare)
    return tuple(full[: next(places, 0)])
