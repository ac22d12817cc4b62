"""Which choice of a row is right, as people write it, and rows that do not say.

1. A label is the choice's place (0, 1.0, "1", true) or, in tasks of a user or of the harness, the choice's own text.
2. Missing is what is empty (null, "", no entry, NaN) and what is no place of a choice (-1, as test splits have it).
3. A row without a label is no demonstration, and no training document (Method 6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from ablation.tasks.metrics import record_right

Row = Mapping[str, Any]
MISSING = -1
LARGEST = 1e9
# Where data sets keep the right answer; empty there, a template that reads it fails.
FIELDS = ("label", "labels", "answerKey", "answer", "answers", "gold", "target")


def place(label: Any, choices: Sequence[str]) -> int:
    """The place of the choice that a label means; MISSING where it means none."""
    if isinstance(label, str):
        if label in choices:
            return choices.index(label)
        return int(label) if re.fullmatch(r"\s*-?[0-9]{1,9}\s*", label) else MISSING
    number = float(label) if isinstance(label, Real) else LARGEST  # null, a list
    return int(number) if abs(number) < LARGEST and number.is_integer() else MISSING  # NaN, Infinity, 1.5


def right_choices(task: Any, row: Row, metric: str) -> tuple[int, tuple[int, ...]]:
    """The gold choice, and all choices that count as right; MISSING and none where the row does not say."""
    try:
        gold = task.doc_to_text(row) if task.multiple_input else task.doc_to_target(row)
        choices = task.doc_to_choice(row)
        if metric == "em":
            return gold, record_right(row)
        golds = [place(label, choices) for label in (gold if isinstance(gold, list) else [gold])]
    except Exception:
        if any(name in row and empty(row[name]) for name in label_fields(task)):
            return MISSING, ()
        raise
    return (golds or [MISSING])[0], tuple(one for one in golds if 0 <= one < len(choices))


def label_fields(task: Any) -> tuple[str, ...]:
    """Where its rows keep the right answer: the field that is named, those that a template reads, or all the usual."""
    told = task.config.doc_to_text if task.multiple_input else task.config.doc_to_target
    if not isinstance(told, str):
        return FIELDS
    if told in task.features:
        return (told,)
    return tuple(name for name in FIELDS if re.search(rf"\b{name}\b", told))


def empty(value: Any) -> bool:
    """Whether a field holds nothing: null, NaN, an empty text or list."""
    return value is None or value != value or (isinstance(value, str | list) and not value)


def labelled(task: Any, rows: Iterable[Row], metric: str) -> list[Row]:
    """The rows that say which choice is right."""
    return [row for row in rows if right_choices(task, row, metric)[1]]


def as_numbers(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one of the 14 tasks, whose `label` is a number: also where it was written as text, 1.0, true or null."""
    return [{**row, "label": as_number(row["label"])} if "label" in row else row for row in rows]


def as_number(label: Any) -> Any:
    """A label as a number where it can be one; other words stay, for whoever reads them to refuse."""
    found = place(label, ())
    return label if found == MISSING and not empty(label) and str(label).strip() != str(MISSING) else found
