"""The tasks: the 14 of Method 6, the built-in probes, and the multiple-choice tasks of lm-evaluation-harness.

Importing this package loads nothing heavy; its names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ablation.tasks.expanding import expand_task_names
from ablation.tasks.names import GROUPS, ICL14, PROBES
from interp.lazy import lazy

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

lazy(
    __name__,
    loading=("load_task",),
    task=("Task", "TaskScore"),
    tokens=("Demonstration", "Document", "TokenDocument", "TokenDocuments"),
)
