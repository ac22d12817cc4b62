"""Which rows and which wording a task's prompts are made of, as hashes: one name may be loaded with others another day.

Hashed are all rows of a part of the task, whatever the limit, the shots or the seed take of them. Of a wording in
Python only the function's name is seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SHOWN = "demonstrations"
WORDING = ("doc_to_text", "doc_to_choice", "doc_to_target", "gen_prefix", "target_delimiter")
Row = Mapping[str, Any]


def sources_of(
    definition: Any, split: str, rows: Sequence[Row], pool: Sequence[Row], *, shots: int
) -> tuple[tuple[str, str], ...]:
    """The split's hash by its name and, where some are shown, that of the rows that demonstrations are drawn from."""
    asked = (split, _hash(rows, [definition.config.description, *_wording(definition.config)]))
    if not shots:
        return (asked,)
    settings = definition.fewshot_cfg
    return (asked, (SHOWN, _hash(pool, [_named(settings.fewshot_delimiter), *_wording(settings)])))


def _wording(settings: Any) -> list[str]:
    return [_named(getattr(settings, name, None)) for name in WORDING]


def _named(value: Any) -> str:
    return value.__qualname__ if callable(value) and hasattr(value, "__qualname__") else repr(value)


def _hash(rows: Iterable[Row], wording: Sequence[Any]) -> str:
    digest = hashlib.sha256("\n".join(map(_named, wording)).encode())
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=repr).encode())
        digest.update(b"\n")
    return digest.hexdigest()
