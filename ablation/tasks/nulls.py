"""Fields that are null and would stand in a prompt as the word None.

A template may ask for nulls (`{{hint or ''}}`), so a null is refused only where it is itself what a text shows: a mark
in its place stands where the word stood, and an empty text in its place makes another text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ablation.tasks.rows import Row, null_paths, place_of
from interp.errors import UsageError

MARK = "\ue000\ue001"  # no letters, so that no filter of a template changes it
WORD = "none"
Texts = Callable[[Row], tuple[str, ...]]


def refuse_nulls(row: Row, texts: Texts) -> None:
    """Raise UsageError where a null of the row stands in its texts."""
    paths = list(null_paths(row))
    if not paths or not any(WORD in text for text in folded(texts, row)):
        return
    for path in paths:
        if shown(row, path, texts):
            raise UsageError(
                f"The field {'.'.join(map(str, path))!r} of {place_of(row)} is null or absent, and the prompt would "
                "show the word None in its place. Give the text, or an empty one, or delete the line."
            )


def shown(row: Row, path: tuple[Any, ...], texts: Texts) -> bool:
    """Whether the null at this place is what the texts show as None."""
    plain = folded(texts, row)
    try:
        marked, bare = (folded(texts, replaced(row, path, value)) for value in (MARK, ""))
    except Exception:  # it is no text of the prompt: a number, or what the template asks about
        return False
    return marked != plain != bare and tuple(text.replace(MARK, WORD) for text in marked) == plain


def folded(texts: Texts, row: Row) -> tuple[str, ...]:
    return tuple(text.casefold() for text in texts(row))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of a row, or of what is in it, with another value at one place."""
    if not path:
        return new
    key, *rest = path
    inside = replaced(value[key], tuple(rest), new)
    if isinstance(value, list):
        return [*value[:key], inside, *value[key + 1 :]]
    return {**value, key: inside}
