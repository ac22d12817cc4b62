"""What a person touches: the command line, the run directory, the report, the inspector.

Importing this package loads nothing heavy; its names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headscope.run import Run, open_run

__all__ = ["Run", "open_run"]

_HOMES = {"Run": "headscope.run", "open_run": "headscope.run"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headscope' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
