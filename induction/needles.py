"""Prompts that ask for something said long before: needles in filler, for retrieval (Method 2.10).

1. A context holds one sentence "The password for KEY is VALUE." at each depth (10, 50 and 90% of it), with different
   keys and values; around them stand built-in sentences, or the sentences of a text.
2. Behind it, the question for one of them, and its value's tokens but the last, so that the prompt ends at the query
   that predicts the last one. Every item has a context of its own; each depth is asked for as often as the others.
3. All prompts of a length have exactly so many tokens: filler is cut at the front. A needle stands at the sentence
   boundary that is nearest to its depth.
4. An item's other values are nine that share no word with its own: those of the other needles, and some that stand
   nowhere.
In a shorter context the longer prompts are as long as it is (`fitting_lengths`), 256 tokens or half of them filler.
Text becomes ids piece by piece, and a value has the same ids in the needle and in the answer: its places are known.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from induction.groups import slices
from induction.names import PLACES, one_each
from induction.texts import front_ids, ids_behind, sentences
from interp.errors import UsageError
from interp.model import HookedModel
from interp.shown import one_line
from interp.tokenizer import tokenizer_of

LENGTHS, DEPTHS, EACH = (256, 1024), (0.1, 0.5, 0.9), 8
LONGER = 1.25  # so many times the length before it is another length
CHOICES = 10
NEEDLE = " The password for {} is"
QUESTION = "\nQuestion: What is the password for {}?\nAnswer:"
FIRST_WORDS = one_each(
    """
    blue, golden, wooden, silent, crooked, frozen, hollow, purple, rusty, silver, striped, velvet, yellow, broken,
    crystal, dusty, gentle, orange, painted, scarlet
    """
)
SECOND_WORDS = one_each(
    """
    lantern, anchor, basket, bridge, candle, dragon, feather, garden, hammer, island, kettle, ladder, mirror, needle,
    piano, rabbit, saddle, tiger, umbrella, window
    """
)
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Needle:
    """Where an item's value is predicted and where it stands: one entry a token, a repeated token once.

    queries: positions that predict the value's tokens. places: where these stand in the needle. others: for each other
    key of the context, the places of its value's tokens (the last one again where it has fewer).
    """

    queries: tuple[int, ...]
    places: tuple[int, ...]
    others: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, value: Ids, first_query: int, place: int, others: Sequence[tuple[int, int]]) -> Needle:
        """For a value that stands at `place` and is asked for from `first_query` on; others: (place, tokens)."""
        kept = [n for n, token in enumerate(value) if token not in value[:n]]
        shifted = tuple(tuple(start + min(n, count - 1) for n in kept) for start, count in others)
        return cls(tuple(first_query + n for n in kept), tuple(place + n for n in kept), shifted)


@dataclass(frozen=True, eq=False)
class NeedleGroup:
    """Prompts of one length."""

    tokens: Int[Tensor, "item position"]
    indices: tuple[int, ...]
    needles: tuple[Needle, ...]

    @property
    def key(self) -> dict[str, Any]:
        asked = [[needle.queries, needle.places, needle.others] for needle in self.needles]
        return {"tokens": self.tokens.tolist(), "needles": asked}

    def batches(self, max_tokens: int) -> Iterator[NeedleGroup]:
        """The group in parts of at most `max_tokens` tokens each, one prompt at least."""
        for part in slices(self.tokens, max_tokens):
            yield replace(self, tokens=self.tokens[part], indices=self.indices[part], needles=self.needles[part])


@dataclass(frozen=True)
class NeedleItem:
    """One prompt: its ids up to the value's first token, the value among its choices, and what it is an item of."""

    context: Ids
    choices: tuple[Ids, ...]  # the value first
    needle: Needle
    length: int
    depth: float

    @property
    def tokens(self) -> Ids:
        return (*self.context, *self.choices[0][:-1])


@one_line
@dataclass(frozen=True, eq=False)
class NeedlePrompts:
    """All items, grouped by length; iterate over the groups."""

    groups: tuple[NeedleGroup, ...]
    items: tuple[NeedleItem, ...]
    seed: int

    def __iter__(self) -> Iterator[NeedleGroup]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def of(cls, items: Sequence[NeedleItem], seed: int, device: torch.device) -> NeedlePrompts:
        """Items whose prompts of equal length run together."""
        groups = []
        for length in sorted({len(item.tokens) for item in items}):
            indices = tuple(n for n, item in enumerate(items) if len(item.tokens) == length)
            tokens = torch.tensor([items[n].tokens for n in indices], device=device)
            groups.append(NeedleGroup(tokens, indices, tuple(items[n].needle for n in indices)))
        return cls(tuple(groups), tuple(items), seed)


def needle_prompts(
    model: HookedModel,
    *,
    lengths: Sequence[int] = LENGTHS,
    depths: Sequence[float] = DEPTHS,
    each: int = EACH,
    filler: str | None = None,
    seed: int = 0,
) -> NeedlePrompts:
    """`each` items for every length and depth.

    lengths: of whole prompts, in tokens. filler: text to put around the needles in place of the built-in sentences.
    Raises UsageError for a model without a tokenizer, a length that needles and question do not fit or that is beyond
    the model's context, a single depth, a filler that is too short.
    """
    tokenizer = tokenizer_of(model, "needles in a context")
    _refuse(model, lengths, depths, each)
    items = [
        _item(tokenizer, int(length), depths, asked, filler, f"{seed}/{length}/{number}/{asked}")
        for length in lengths
        for number in range(each)
        for asked in range(len(depths))
    ]
    return NeedlePrompts.of(items, seed, model.device)


def fitting_lengths(model: HookedModel) -> tuple[int, ...]:
    """The protocol's lengths as far as the model's context holds them; none where it holds no sensible prompt.

    A length that the context cuts to little more than the one before it is none of its own.
    """
    fewest, most = fewest_tokens(model), longest_prompt(model)
    fitted: list[int] = []
    for length in LENGTHS:
        cut = length if most is None else min(length, most)
        if cut >= max(fewest, LONGER * fitted[-1] if fitted else 0):
            fitted.append(cut)
    return tuple(fitted)


def longest_prompt(model: HookedModel) -> int | None:
    """The longest prompt that the context holds with each choice at its end; None where it has no limit.

    A choice may have more tokens than the value that is asked for.
    """
    values = _value_sizes(tokenizer_of(model, "needles in a context"))
    return None if model.max_length is None else model.max_length - (max(values) - min(values))


def fewest_tokens(model: HookedModel) -> int:
    """Of the shortest prompt: half of it filler, so that needles are apart, or else the protocol's shortest length.

    More than that only where needles and question alone can be longer.
    """
    tokenizer = tokenizer_of(model, "needles in a context")
    heads = sorted(len(ids_behind(tokenizer, NEEDLE.format(key))) for key in PLACES)[-len(DEPTHS) :]
    value, stop = max(_value_sizes(tokenizer)), len(ids_behind(tokenizer, ".", behind=" window"))
    question = max(len(ids_behind(tokenizer, QUESTION.format(key))) for key in PLACES)
    said = sum(heads) + len(DEPTHS) * (value + stop)
    asked = len(front_ids(tokenizer)) + said + question + value - 1
    return max(asked + 1, min(2 * asked, min(LENGTHS)))


def _value_sizes(tokenizer: Any) -> list[int]:
    """How many tokens each value can have."""
    behind = NEEDLE.format(PLACES[0])
    words = itertools.product(FIRST_WORDS, SECOND_WORDS)
    return [len(ids_behind(tokenizer, f" {one} {two}", behind=behind)) for one, two in words]


def _refuse(model: HookedModel, lengths: Sequence[int], depths: Sequence[float], each: int) -> None:
    if not 2 <= len(depths) <= CHOICES or not all(0 <= depth <= 1 for depth in depths):
        raise UsageError(
            f"depths are 2 to {CHOICES} shares between 0 and 1 (the other needles are the null), got {list(depths)}"
        )
    if not lengths or each < 1:
        raise UsageError(f"there must be a length and an item for each depth; got lengths={list(lengths)}, {each=}")
    most = longest_prompt(model)
    if most is not None and max(lengths) > most:
        raise UsageError(
            f"a prompt of {max(lengths)} tokens, with the longest choice at its end, is longer than this model's "
            f"context of {model.max_length}: give lengths={tuple(min(length, most) for length in lengths)} or less"
        )


def _item(
    tokenizer: Any, length: int, depths: Sequence[float], asked: int, filler: str | None, seed: str
) -> NeedleItem:
    """A context with its needles, and the question for one of them."""
    draw = random.Random(f"needles/{seed}")  # noqa: S311
    keys = draw.sample(PLACES, len(depths))
    words = zip(draw.sample(FIRST_WORDS, CHOICES), draw.sample(SECOND_WORDS, CHOICES), strict=True)
    heads = [ids_behind(tokenizer, NEEDLE.format(key)) for key in keys]
    values = [ids_behind(tokenizer, f" {one} {two}", behind=NEEDLE.format(keys[0])) for one, two in words]
    stop, front = ids_behind(tokenizer, ".", behind=" window"), front_ids(tokenizer)
    said = [(*head, *value, *stop) for head, value in zip(heads, values, strict=False)]
    question, value = ids_behind(tokenizer, QUESTION.format(keys[asked])), values[asked]
    rest = len(front) + sum(map(len, said)) + len(question) + len(value) - 1
    if length <= rest:
        raise UsageError(f"needles and question alone have {rest} tokens: give lengths above that, not {length}")
    text, starts = _with_needles(_filler(tokenizer, filler, length - rest, seed), said, depths)
    places = [len(front) + start + len(head) for start, head in zip(starts, heads, strict=True)]
    context = (*front, *text, *question)
    others = [(place, len(values[n])) for n, place in enumerate(places) if n != asked]
    needle = Needle.of(value, len(context) - 1, places[asked], others)
    return NeedleItem(context, (value, *values[:asked], *values[asked + 1 :]), needle, length, float(depths[asked]))


def _with_needles(filler: Sequence[Ids], said: Sequence[Ids], depths: Sequence[float]) -> tuple[Ids, list[int]]:
    """The filler's sentences with the needles between them, and where each needle begins."""
    ends = [0]
    for sentence in filler:
        ends.append(ends[-1] + len(sentence))
    boundary = [min(range(len(ends)), key=lambda n: abs(ends[n] - depth * ends[-1])) for depth in depths]
    text, starts = list[int](), [0] * len(said)
    for place in range(len(ends)):
        for number in sorted((n for n, at in enumerate(boundary) if at == place), key=lambda n: depths[n]):
            starts[number] = len(text)
            text += said[number]
        text += filler[place] if place < len(filler) else ()
    return tuple(text), starts


def _filler(tokenizer: Any, filler: str | None, size: int, seed: str) -> list[Ids]:
    """Sentences of `size` tokens in all, the first one cut at its front."""
    found, total = list[Ids](), 0
    for sentence in sentences(seed) if filler is None else _from_text(filler, seed):
        found.append(ids_behind(tokenizer, f" {sentence}"))
        total += len(found[-1])
        if total >= size:
            break
    else:
        raise UsageError(f"the filler has {total} tokens, and these contexts need {size}: give a longer text")
    spare = total - size
    while len(found[0]) <= spare:
        spare -= len(found.pop(0))
    return [found[0][spare:], *found[1:]]


def _from_text(text: str, seed: str) -> Iterator[str]:
    """The text's sentences, from one of them on and round."""
    every = [sentence for sentence in re.split(r"(?<=[.!?])\s+", text.strip()) if sentence]
    first = random.Random(f"filler/{seed}").randrange(max(1, len(every)))  # noqa: S311
    return iter([*every[first:], *every[:first]])
