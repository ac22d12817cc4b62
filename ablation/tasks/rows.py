"""Rows of task files: which document each is, where it stands, and what to say of one that makes no prompt.

A row's `document_id`, `cluster_id`, `unit_id` and `pool_id` are text, whether written as text or as numbers; one that a
row does not give (absent, null, empty) is the default, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from interp.errors import HeadscopeError, UsageError, quoted

Row = Mapping[str, Any]
COLUMNS = ("document_id", "cluster_id", "unit_id", "pool_id")
PLACE = "_headscope_place"  # "line 3 of 'copa/train.jsonl'", in rows of a file that we read


def empty(value: Any) -> bool:
    """Whether a field holds nothing: null, NaN, an empty text or list."""
    return value is None or value != value or (isinstance(value, str | list) and not value)


def place_of(row: Row) -> str:
    """Which document a row is and, where that is known, its file and line."""
    name, line = row.get("document_id"), row.get(PLACE)
    if empty(name):
        return str(line or "a document")
    return f"{name} ({line})" if line else str(name)


def column_text(row: Row, name: str) -> str:
    """One of the four columns as text, "" where the row does not give it; a whole number is written without point."""
    value = row.get(name)
    if empty(value):
        return ""
    if not isinstance(value, str | int | float):
        raise UsageError(
            f"The field {name!r} of {place_of(row)} is a {type(value).__name__}. Expected text or a number."
        )
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def identified(row: Row, defaults: Mapping[str, str]) -> Row:
    """The row with these of its four columns as text, each with its default where the row does not give it."""
    return {**row, **{name: column_text(row, name) or default for name, default in defaults.items()}}


def distinct(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows of one split. Raises UsageError where two have one document id."""
    held: dict[str, Row] = {}
    for row in rows:
        first = held.setdefault(str(row["document_id"]), row)
        if first is not row:
            raise UsageError(
                f"Two documents have the document_id {quoted(row['document_id'])}{both_places(first, row)}: give each "
                "an id of its own, or leave `document_id` out."
            )
    return rows


def both_places(first: Row, second: Row) -> str:
    """Where two rows stand, where that is known."""
    return f" ({first[PLACE]} and {second[PLACE]})" if PLACE in first and PLACE in second else ""


def null_paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all nulls of a row: keys of objects, places in lists."""
    if value is None:
        yield path
    elif isinstance(value, Mapping | list):
        for key, held in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from null_paths(held, (*path, key))


def null_fields(row: Row) -> str:
    """A sentence that names the fields of a row that are null; "" where none is."""
    names = sorted({repr(path[0]) for path in null_paths(row)})
    return f" Null or absent in it: {', '.join(names)}." if names else ""


def misfit(document: str, error: Exception, row: Row | None = None) -> UsageError:
    """The error for documents whose fields are not those that the prompt needs."""
    return UsageError(
        f"No prompt can be made from {document}: {type(error).__name__}: {error}.{null_fields(row or {})} "
        "Expected the field names and values of the Hugging Face data set, with gold labels."
    )


@contextmanager
def telling_row(row: Row) -> Iterator[None]:
    """Around work on one row: a field that is missing or odd is a sentence that names the row."""
    try:
        yield
    except HeadscopeError:
        raise
    except Exception as error:  # Jinja and the prompts raise any kind.
        raise misfit(place_of(row), error, row) from error
