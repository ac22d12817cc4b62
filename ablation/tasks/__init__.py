"""The tasks: the 14 of Method 6, the built-in probes, and the multiple-choice tasks of lm-evaluation-harness.

Importing this package loads nothing heavy; its names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ablation.tasks.names import GROUPS, ICL14, PROBES, expand_task_names

if TYPE_CHECKING:
    from ablation.tasks.loading import load_task
    from ablation.tasks.task import Task, TaskScore
    from ablation.tasks.tokens import Demonstration, Document, TokenDocument, TokenDocuments

__all__ = [
    "GROUPS",
    "ICL14",
    "PROBES",
    "Demonstration",
    "Document",
    "Task",
    "TaskScore",
    "TokenDocument",
    "TokenDocuments",
    "expand_task_names",
    "load_task",
]

_HOMES = {
    "Demonstration": "tokens",
    "Document": "tokens",
    "Task": "task",
    "TaskScore": "task",
    "TokenDocument": "tokens",
    "TokenDocuments": "tokens",
    "load_task": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ablation.tasks' has no attribute {name!r}")
    return getattr(import_module(f"ablation.tasks.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
