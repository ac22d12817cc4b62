"""From a generator's items to documents: every item under every rule, 200 for train and 200 for validation.

A generator is a module with `RULES` and `items(split)`; the splits share no item. Everything is decided by the
probe's name: there is no seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import Any, TypeVar

SPLITS = ("train", "validation")
DOCUMENTS = 200
T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One query and its answer under each rule, in the order of the probe's `RULES`."""

    query: str
    answers: tuple[str, ...]


def load(*, probe: str, **ignored: Any) -> Any:
    """The probe as a DatasetDict: what the YAML files name as `custom_dataset`."""
    from datasets import Dataset, DatasetDict

    return DatasetDict({split: Dataset.from_list(documents(probe, split)) for split in SPLITS})


def documents(probe: str, split: str) -> list[dict[str, Any]]:
    """The 200 rows of one split, the rules of an item side by side."""
    generator = import_module(f"ablation.tasks.probes.{probe}")
    rows = [
        row
        for number, item in enumerate(generator.items(split))
        for row in rows_of(item, generator.RULES, f"probe_{probe}/{split}", number)
    ]
    if len(rows) != DOCUMENTS:
        raise AssertionError(f"probe {probe} makes {len(rows)} {split} documents, not {DOCUMENTS}")
    return rows


def rows_of(item: Item, rules: Sequence[str], prefix: str, number: int) -> list[dict[str, Any]]:
    """One item under each rule; its choices stand in one random order for all rules."""
    choices = shuffled(item.answers, f"{prefix}/{number}")
    if not len(set(choices)) == len(choices) == len(rules):
        raise AssertionError(f"{prefix}: the answers to {item.query!r} are not {len(rules)} different ones")
    first = number * len(rules)
    return [
        {
            "text": f"Input: {item.query}\nOutput:",
            "choices": choices,
            "gold": choices.index(answer),
            "document_id": f"{prefix}/{first + place}",
            "cluster_id": f"{prefix}/item-{number}",
            "unit_id": f"{prefix}/{first + place}",
            "pool_id": rule,
        }
        for place, (rule, answer) in enumerate(zip(rules, item.answers, strict=True))
    ]


def shuffled(values: Sequence[T], key: str) -> list[T]:
    """The values in an order that the key alone decides."""
    return Random(key).sample(list(values), len(values))  # noqa: S311  (a fixed order, no secret)


def half(values: Sequence[T], split: str, key: str) -> list[T]:
    """The train or the validation half of a list, after one fixed shuffle."""
    mixed = shuffled(values, key)
    middle = len(mixed) // 2
    return mixed[:middle] if split == "train" else mixed[middle:]


def table(text: str, columns: int) -> list[tuple[str, ...]]:
    """Rows of a word list written one entry a line, fields apart by commas."""
    rows = [tuple(part.strip() for part in line.split(",")) for line in text.strip().splitlines()]
    for row in rows:
        if len(row) != columns or not all(row):
            raise AssertionError(f"expected {columns} fields: {row}")
    return rows
