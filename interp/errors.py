"""The errors a person may meet, all children of one class.

A message says what was wrong, what was expected, the caller's values, and what to do next. The command line prints it
without a traceback and leaves with a non-zero status; anything that is not one of these is a defect of the program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_VALUE = 120


def quoted(value: object, *, longest: int = LONGEST_VALUE) -> str:
    """A caller's value as an error shows it: in quotes, cut in the middle where it is long."""
    text = repr(str(value))
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]}...{text[-half:]} ({len(str(value)):,} characters)"


def field_of(parts: Iterable[str | int]) -> str:
    """Where in a file a value stands, as an error shows it: names with dots between, each cut where it is long."""
    return ".".join(name if len(name) <= LONGEST_VALUE else f"{name[:LONGEST_VALUE]}..." for name in map(str, parts))


class HeadscopeError(Exception):
    """Parent of every error that is about the caller's input, model or files and not about a defect."""


class UsageError(HeadscopeError):
    """A value the caller gave can't be served: an unknown name, a length out of range, a mask of the wrong shape."""


class ModelLoadError(HeadscopeError):
    """The model, its tokenizer or its weights could not be found, fetched or read, or are damaged."""


class RefusedModelError(HeadscopeError):
    """The model was read, but its family or its files are refused, for a reason that the message gives."""


class SelfCheckError(HeadscopeError):
    """A check at load failed: on this machine this model's numbers would not mean what they claim."""


class StoreError(HeadscopeError):
    """A run directory or a stored file can't be used: not writable, another model's, another version's, damaged."""
