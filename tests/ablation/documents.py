"""Small documents of token ids, and a task made of them, for models of tests/interp/families.py."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ablation.tasks.task import TaskScore
from ablation.tasks.tokens import TokenDocument
from tests.interp.families import VOCAB


@dataclass(frozen=True)
class SmallDocument(TokenDocument):
    """Right = the gold choice."""

    @property
    def right(self) -> tuple[int, ...]:
        return (self.gold,)


def documents(n: int = 3, *, seed: int = 5, name: str = "t") -> list[TokenDocument]:
    """Prompts of different lengths, three choices each, the gold one not always the first."""
    draw = torch.Generator().manual_seed(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCAB, (length,), generator=draw).tolist())

    made = []
    for place in range(n):
        context = ids(7 + 5 * (place % 4))
        choices = tuple(ids(length) for length in (3, 1 + place % 3, 4))
        unit = f"{name}/{place}"
        made.append(SmallDocument(unit, f"c{place}", unit, (context,) * 3, choices, place % 3, 0, 0))
    return made


def partial(n: int = 2) -> list[TokenDocument]:
    """As in WinoGrande: contexts that differ in their end and in length, one continuation."""
    made = []
    for place, document in enumerate(documents(n, seed=9)):
        ends = ((5, 6), (7,))
        contexts = tuple(document.context + end for end in ends)
        made.append(replace(document, contexts=contexts, choices=(document.choices[0],) * 2, gold=place % 2))
    return made


@dataclass(frozen=True)
class SmallTask:
    """What the methods ask of a task; right = the gold choice."""

    documents: tuple[TokenDocument, ...]
    name: str = "small"
    shots: int = 0
    seed: int = 0
    metric: str = "acc"
    chance: float = 1 / 3
    majority: float = 0.4

    def token_documents(self, model: Any) -> list[TokenDocument]:
        return list(self.documents)

    def select(self, indices: Iterable[int]) -> SmallTask:
        return replace(self, documents=tuple(self.documents[index] for index in indices))

    def score(self, log_likelihoods: Iterable[Iterable[float]]) -> TaskScore:
        right = [int(np.argmax(list(row))) == d.gold for row, d in zip(log_likelihoods, self.documents, strict=True)]
        units, clusters = ([getattr(d, name) for d in self.documents] for name in ("unit", "cluster"))
        return TaskScore(np.array(right, dtype=float), tuple(units), tuple(clusters))
