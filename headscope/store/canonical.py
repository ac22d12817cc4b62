"""One JSON text for one value: what identities and unit keys are compared and hashed by."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from interp.errors import UsageError

LONE = re.compile(r"\\ud[89a-f]")  # a surrogate, alone or one of two


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces. Raises UsageError for what JSON can't hold without loss.

    Tuples and lists are one thing; 1, 1.0 and True are three; keys must be text; NaN has no place, and half a
    character (a lone surrogate) has none.
    """
    _refuse_other_keys(value)
    try:
        text = json.dumps(value, default=_mapping, sort_keys=True, separators=(",", ":"), allow_nan=False)
        if LONE.search(text):
            json.dumps(json.loads(text), ensure_ascii=False).encode()  # half a character is text in no encoding
        return text
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"a key or an identity must be made of text, finite numbers, booleans, null, lists and mappings: {error}; "
            f"got {value!r}"
        ) from error


def digest(value: Any) -> str:
    """SHA-256 of the canonical text, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def plain(value: Any) -> Any:
    """The value as it will be read back: tuples become lists."""
    return json.loads(canonical(value))


def noted(value: Any) -> Any:
    """Facts as JSON can hold them: tensors and arrays as lists, NaN as null. Raises UsageError for anything else."""
    if isinstance(value, Mapping):
        return plain({name: noted(inner) for name, inner in value.items()})
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return noted(value.tolist())
    if isinstance(value, list | tuple):
        return [noted(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else plain(value)


def _mapping(value: Any) -> Any:
    """json writes dicts only; other mappings (read-only views) are the same to us."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is none of these")


def _refuse_other_keys(value: Any) -> None:
    """json.dumps would turn the key 1 into "1" without a word."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise UsageError(f"the names in a key or an identity must be text, not {key!r}")
            _refuse_other_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_other_keys(inner)
