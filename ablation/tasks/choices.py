"""The choices of a row: a list of texts, or a sentence that says what they are instead."""

from __future__ import annotations

import json
from typing import Any

from ablation.tasks.rows import PLACE, Row, null_fields, place_of
from interp.errors import UsageError, quoted

ADVICE = 'Expected a list of texts, as ["yes", "no"] (in YAML with the quotes).'


def choices_of(task: Any, row: Row, told: Any = None) -> list[str]:
    """The choices of a row. Raises UsageError where they are no list of texts or, in a file that we read, one is empty.

    `told` are the choices' own settings where demonstrations have others than the task.
    """
    choices = task.doc_to_choice(row) if told is None else task.doc_to_choice(row, told)
    where = f"{place_of(row)}{field_of(task, told)}"
    if not isinstance(choices, list | tuple):
        raise UsageError(f"The choices of {where} are {kind(choices)}, no list. {ADVICE}")
    if not choices:
        raise UsageError(f"The choices of {where} are an empty list. {ADVICE}")
    for number, choice in enumerate(choices, start=1):
        if not isinstance(choice, str):
            raise UsageError(f"Choice {number} of {where} is {kind(choice)}, no text.{null_fields(row)} {ADVICE}")
        if not choice and PLACE in row:
            raise UsageError(f"Choice {number} of {where} is empty, so there is nothing to score. {ADVICE}")
    return list(choices)


def kind(value: Any) -> str:
    """What a value is, as the file may have it."""
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if value is None or isinstance(value, int | float):
        return json.dumps(value)
    return f"a {type(value).__name__}"


def field_of(task: Any, told: Any) -> str:
    """The field that the choices are read from, where they stand in one."""
    told = task.config.doc_to_choice if told is None else told
    return f", field {told!r}," if isinstance(told, str) and told in task.features else ""
