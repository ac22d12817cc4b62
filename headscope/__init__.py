"""What a person touches: the command line, the run directory, the report, the inspector.

Importing this package loads nothing heavy; its names are loaded when they are first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headscope.plan.study import study
    from headscope.store.run import Run, open_run

__all__ = ["Run", "open_run", "study"]

_HOMES = {"Run": "headscope.store.run", "open_run": "headscope.store.run", "study": "headscope.plan.study"}


class _Package(ModuleType):
    """`headscope.plan.study` is the function, also once the file of that name has been imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'headscope' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
