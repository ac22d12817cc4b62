"""Which choice of a row is right, as people write it, and rows that do not say.

1. A label is the choice's place (0, 1.0, "1", true) or, in tasks of a user or of the harness, the choice's own text.
   Where choices are digits a text may be either: all labels of the task together tell which.
2. Missing is what is empty (null, "", no entry, NaN) and what is below 0 (-1, as test splits have it). Another label
   that means no choice is a mistake, and refused in a user's own files.
3. A row without a label is no demonstration, and no training document (Method 6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from numbers import Real
from typing import Any
from weakref import WeakKeyDictionary

from ablation.tasks.choices import choices_of
from ablation.tasks.metrics import record_right
from ablation.tasks.rows import PLACE, Row, empty, place_of, telling_row
from interp.errors import UsageError, quoted

MISSING = -1
LARGEST = 1e9
# Where data sets keep the right answer; empty there, a template that reads it fails.
FIELDS = ("label", "labels", "answerKey", "answer", "answers", "gold", "target")
OWN_TEXT, NUMBER, EITHER = "own text", "number", "either"
_READINGS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def place(label: Any, choices: Sequence[str]) -> int:
    """The place of the choice that a label means by itself; MISSING where it means none."""
    if isinstance(label, str):
        if label in choices:
            return choices.index(label)
        return int(label) if re.fullmatch(r"\s*-?[0-9]{1,9}\s*", label) else MISSING
    number = float(label) if isinstance(label, Real) else LARGEST  # null, a list
    return int(number) if abs(number) < LARGEST and number.is_integer() else MISSING  # NaN, Infinity, 1.5


def meant(task: Any, row: Row, label: Any, choices: Sequence[str]) -> int:
    """The place of the choice that a label means in this task. Raises UsageError where nothing tells."""
    found, number = place(label, choices), place(label, ())
    if found == number or not isinstance(label, str) or label not in choices or not 0 <= number < len(choices):
        return found
    reading = reading_of(task)
    if reading == EITHER:
        raise UsageError(
            f"The label {quoted(label)} of {place_of(row)} is the text of one choice and the place of another, "
            f"{quoted(choices[number])}, and the other labels of {task.config.task} do not tell which is meant: write "
            "its labels as numbers, the places of the choices from 0."
        )
    return found if reading == OWN_TEXT else number


def reading_of(task: Any) -> str:
    """What labels written as text are in this task: the one of the two that all of them can be."""
    if task not in _READINGS:
        held = list(text_labels(task))
        texts = all(label in choices for label, choices in held)
        numbers = all(0 <= place(label, ()) < len(choices) for label, choices in held)
        _READINGS[task] = EITHER if texts == numbers else OWN_TEXT if texts else NUMBER
    return _READINGS[task]


def text_labels(task: Any) -> Iterator[tuple[str, Sequence[str]]]:
    """All labels of a task that are written as text, with the choices of their rows; missing ones left out."""
    sampler = getattr(task, "sampler", None)
    training = task.training_docs() if task.has_training_docs() else ()
    for row in chain(task.eval_docs, training, sampler.df if sampler else ()):
        with suppress(Exception):  # whoever needs the row will say
            choices = choices_of(task, row)
            yield from ((one, choices) for one in labels_of(task, row) if isinstance(one, str) and not missing(one))


def labels_of(task: Any, row: Row) -> list[Any]:
    """The right answers that a row tells, as it has them."""
    told = task.doc_to_text(row) if task.multiple_input else task.doc_to_target(row)
    return told if isinstance(told, list) else [told]


def right_choices(task: Any, row: Row, metric: str) -> tuple[int, tuple[int, ...]]:
    """The gold choice, and all choices that count as right; MISSING and none where the row does not say.

    Raises UsageError for a label that can't be read and, in a file that we read, for one that means no choice.
    """
    try:
        labels, choices = labels_of(task, row), choices_of(task, row)
        if metric == "em":
            return labels[0], record_right(row)
    except Exception:
        if any(name in row and empty(row[name]) for name in label_fields(task)):
            return MISSING, ()
        raise
    golds = [meant(task, row, label, choices) for label in labels]
    if PLACE in row:
        refuse_wrong(task, row, labels, golds, choices)
    return (golds or [MISSING])[0], tuple(one for one in golds if 0 <= one < len(choices))


def refuse_wrong(task: Any, row: Row, labels: Sequence[Any], golds: Sequence[int], choices: Sequence[str]) -> None:
    """Raise UsageError for a label that is there and means none of the choices."""
    told = {name: row[name] for name in label_fields(task) if name in row}
    if any(missing(value) for value in told.values()):
        return
    held = [one for value in told.values() for one in (value if isinstance(value, list) else [value])]
    for label, gold in zip(labels, golds, strict=True):
        excused = missing(label) and (not told or label in held)  # what a template computes may be below 0
        if not excused and not 0 <= gold < len(choices):
            raise wrong_label(row, told if len(told) == 1 else {"": label}, label, len(choices))


def wrong_label(row: Row, told: Row, label: Any, count: int) -> UsageError:
    """The error for a label that means none of the choices, as the row's field tells it."""
    ((name, value),) = told.items()
    where = f" in {name!r}" if name else ""
    wanted = (
        f"a number from 0 to {count - 1}, a choice's own text," if value == label else "one of the data set's labels,"
    )
    return UsageError(
        f"{place_of(row)} has the label {quoted(value)}{where}, which means none of its {count} choices. "
        f"Expected {wanted} or null where there is no label."
    )


def refuse_no_gold(row: Row, gold: int, choices: Sequence[str]) -> None:
    """Raise UsageError for a document to be evaluated that has no right answer."""
    if not 0 <= gold < len(choices):
        raise UsageError(
            f"{place_of(row)} has no gold label among its {len(choices)} choices (got {gold}). "
            "Expected labelled documents: test splits without labels can't be used."
        )


def missing(label: Any) -> bool:
    """Whether a label says that there is none: empty, or a number below 0."""
    return empty(label) or (isinstance(label, Real | str) and re.fullmatch(r"\s*-[0-9.]+\s*", str(label)) is not None)


def label_fields(task: Any) -> tuple[str, ...]:
    """Where its rows keep the right answer: the field that is named, those that a template reads, or all the usual."""
    told = task.config.doc_to_text if task.multiple_input else task.config.doc_to_target
    if not isinstance(told, str):
        return FIELDS
    if told in task.features:
        return (told,)
    return tuple(name for name in FIELDS if re.search(rf"\b{name}\b", told))


def labelled(task: Any, rows: Iterable[Row], metric: str) -> list[Row]:
    """The rows that say which choice is right."""
    return [row for row in rows if has_label(task, row, metric)]


def has_label(task: Any, row: Row, metric: str) -> bool:
    """Whether a row says which choice is right; one that can't be read is refused by its name."""
    with telling_row(row):
        return bool(right_choices(task, row, metric)[1])


def as_numbers(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one of the 14 tasks, whose `label` is a number: also where it was written as text, 1.0, true or null."""
    return [{**row, "label": as_number(row["label"])} if "label" in row else row for row in rows]


def as_number(label: Any) -> Any:
    """A label as a number where it can be one; other words stay, for whoever reads them to refuse."""
    found = place(label, ())
    return label if found == MISSING and not empty(label) and str(label).strip() != str(MISSING) else found
