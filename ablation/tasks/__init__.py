"""The tasks: the 14 of METHODS 6, the built-in probes, and the multiple-choice tasks of lm-evaluation-harness."""

from __future__ import annotations

from ablation.tasks.expanding import expand_task_names
from ablation.tasks.loading import load_task
from ablation.tasks.names import GROUPS, ICL14, PROBES
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
