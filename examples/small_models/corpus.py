"""The corpus, made as it is read: stories, random repeats and three kinds of prompts.

Every sequence begins with BOS and belongs to one part. `known` marks the tokens that can be known; the others, a label
that is shown for the first time, say, are there to be learnt from:

- stories: sentences about a few people and things that come back; things have a look and a place that hold over the
  whole corpus. All tokens count as known.
- repeats: a block of random tokens, over and over. Known: from its second copy on.
- recall: `thing label` for a few things, labels drawn anew for each sequence. Known: the label of a thing shown before.
- kinds: `thing label` where the label, drawn anew for each sequence, goes with the thing's kind. Known: labels of
  things that were not shown yet, from the ninth line on.
- facts: `thing -> kind`, `thing -> look` or `thing -> place`, throughout. Known: answers from the fifth line on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from small_models.words import ACTS, ARROW, BOS, LABELS, LINE, LOOKS, NAMES, PLACES, SPECIAL, STOP, THINGS, vocabulary

CONTEXT, SHORT = 256, 64  # tokens of a long and of a short sequence
FACTS = ("kind", "look", "place")
SHORTEST_BLOCK = 8
Known = tuple[str, bool]  # a word, and whether it can be known


@dataclass(frozen=True)
class Corpus:
    """All parts; `seed` decides which look and which place a thing has."""

    seed: int = 0

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Every token, in the order of the ids."""
        return vocabulary()

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    @cached_property
    def facts(self) -> dict[str, tuple[str, ...]]:
        """Kind, look and place of each thing; looks and places are dealt out evenly."""
        things = [(thing, kind) for kind, held in THINGS.items() for thing in held]
        rng = np.random.default_rng([self.seed, 1])
        looks, places = (dealt_out(words, len(things), rng) for words in (LOOKS, PLACES))
        return {thing: (kind, look, place) for (thing, kind), look, place in zip(things, looks, places, strict=True)}

    def sequence(self, part: str, rng: np.random.Generator, *, length: int = CONTEXT) -> tuple[list[int], list[bool]]:
        """The ids of one sequence of a part, and which of them can be known."""
        ids, known = [self.ids[BOS]], [False]
        for word, can_be in PARTS[part].tokens(self, rng, length):
            ids.append(self.ids[word])
            known.append(can_be)
            if len(ids) == length:
                break
        return ids, known


def stories(corpus: Corpus, rng: np.random.Generator, length: int) -> Iterator[Known]:
    people, things = pick(NAMES, rng, 3), pick(tuple(corpus.facts), rng, 4)
    while True:
        yield from ((word, True) for word in [*sentence(corpus, rng, people, things), STOP])


def sentence(corpus: Corpus, rng: np.random.Generator, people: Sequence[str], things: Sequence[str]) -> Iterator[str]:
    """`(later) (Anna said that) Boris fed the (old) dog (in the garden)`."""
    thing = one(things, rng)
    kind, look, place = corpus.facts[thing]
    if rng.random() < 0.3:
        yield one(("then", "later", "again"), rng)
    if rng.random() < 0.3:
        yield from (one(people, rng), "said", "that")
    yield from (one(people, rng), one(ACTS[kind], rng), "the")
    yield from (look, thing) if rng.random() < 0.7 else (thing,)
    if rng.random() < 0.5:
        yield from ("in", "the", place)


def repeats(corpus: Corpus, rng: np.random.Generator, length: int) -> Iterator[Known]:
    block = pick(corpus.words[len(SPECIAL) :], rng, int(rng.integers(SHORTEST_BLOCK, length // 2 - 1)))
    yield from ((word, False) for word in block)
    while True:
        yield from ((word, True) for word in block)


def recall(corpus: Corpus, rng: np.random.Generator, length: int) -> Iterator[Known]:
    count = int(rng.integers(2, 9))
    labels = dict(zip(pick(tuple(corpus.facts), rng, count), pick(LABELS, rng, count), strict=True))
    shown: set[str] = set()
    while True:
        thing = one(tuple(labels), rng)
        yield from ((thing, False), (labels[thing], thing in shown), (LINE, False))
        shown.add(thing)


def kinds(corpus: Corpus, rng: np.random.Generator, length: int) -> Iterator[Known]:
    count = int(rng.integers(2, 4))
    labels = dict(zip(pick(tuple(THINGS), rng, count), pick(LABELS, rng, count), strict=True))
    shown: list[str] = []
    while True:
        kind = one(tuple(labels), rng)
        thing = one(THINGS[kind], rng)
        yield from ((thing, False), (labels[kind], len(shown) >= 8 and thing not in shown), (LINE, False))
        shown.append(thing)


def facts(corpus: Corpus, rng: np.random.Generator, length: int) -> Iterator[Known]:
    asked, lines = int(rng.integers(len(FACTS))), 0
    while True:
        thing = one(tuple(corpus.facts), rng)
        yield from ((thing, False), (ARROW, False), (corpus.facts[thing][asked], lines >= 4), (LINE, False))
        lines += 1


@dataclass(frozen=True)
class Part:
    """Where a part's tokens come from, and its share of the sequences."""

    tokens: Callable[[Corpus, np.random.Generator, int], Iterator[Known]]
    share: float


PARTS = {
    "stories": Part(stories, 0.2),
    "repeats": Part(repeats, 0.4),
    "recall": Part(recall, 0.1),
    "kinds": Part(kinds, 0.2),
    "facts": Part(facts, 0.1),
}


def pick(words: Sequence[str], rng: np.random.Generator, count: int) -> list[str]:
    """`count` different words."""
    return [words[place] for place in rng.permutation(len(words))[:count]]


def one(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def dealt_out(words: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """`count` words in a random order, each as often as any other or once more."""
    return [words[place % len(words)] for place in rng.permutation(count)]
