"""Tables of scores as a person gives them: arrays, tensors, lists of rows, or scores whose mean is meant."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Shaped

from interp.errors import UsageError
from interp.whole import whole

# An array, a tensor, or HeadScores and FFNScores, whose mean is taken.
Scored = Any


def table_of(given: Scored) -> Shaped[np.ndarray, "..."]:
    """The array [layer head] that is meant; an array as it is, and a score a layer (FFNs) as one head a layer.

    Raises UsageError for what holds no numbers.
    """
    mean = getattr(given, "mean", given)
    table: Any = given if callable(mean) else mean  # arrays and tensors have a method of that name
    if hasattr(table, "detach"):
        table = table.detach().cpu()
        table = table.double() if table.dtype.itemsize < 4 and table.dtype.is_floating_point else table
    try:
        array = np.asarray(table)
    except (TypeError, ValueError) as error:
        raise _no_table(given) from error
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise _no_table(given)
    return array[:, None] if array.ndim == 1 else array


def whole_percents(percents: Any) -> list[int]:
    """Percentages as a list of ints. Raises UsageError for text and for what is no whole number."""
    found = [None] if isinstance(percents, str) else [whole(one) for one in percents]
    if None in found:
        raise UsageError(f"percents are whole numbers, for example (10, 20); got {percents!r}.")
    return [one for one in found if one is not None]


def _no_table(given: object) -> UsageError:
    return UsageError(
        f"A value of type {type(given).__name__} is no table of scores: give scores, their mean, or an array "
        "[layer head] of numbers."
    )
