"""Whole numbers, as a person gives them: Python's, numpy's or torch's, and neither booleans nor floats."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from interp.errors import UsageError, quoted


def whole(value: Any) -> int | None:
    """The value as an int; None for what is no whole number. 1.0 is none, and True is none."""
    told = str(getattr(value, "dtype", ""))  # of a tensor; torch, which light commands do without, is not loaded
    if isinstance(value, bool | np.bool_) or told == "torch.bool":
        return None
    try:
        return index(value)
    except (TypeError, ValueError):
        return None


def whole_number(value: Any, name: str) -> int:
    """The value as an int. Raises UsageError, which calls it `name`, for what is no whole number."""
    found = whole(value)
    if found is None:
        raise UsageError(f"{name} is a whole number, got {quoted(value)} ({type(value).__name__})")
    return found
