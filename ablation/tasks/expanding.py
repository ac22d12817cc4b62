"""From what a person types to the names of single tasks."""

from __future__ import annotations

from pathlib import Path

from ablation.tasks.data import definition_in_folder
from ablation.tasks.names import GROUPS, is_own, own_case
from interp.errors import UsageError


def expand_task_names(spec: str, *, data: str | Path = "hub") -> list[str]:
    """Names of single tasks from a comma-separated list of tasks and groups (`icl14`, `probes`), each once, in order.

    The project's own names may be written in any case (`COPA`). Others are tasks that the folder `data` defines
    (TASK/task.yaml), or are looked up in lm-evaluation-harness, whose index takes seconds to build.
    Raises UsageError for an empty list and for an unknown name, with the nearest known ones.
    """
    written = [name.strip() for name in spec.split(",") if name.strip()]
    if not written:
        raise UsageError(
            f"No task was named: got {spec!r}. Expected task names separated by commas, or a group: "
            f"{', '.join(GROUPS)}. Try `--tasks probes`, which needs no documents from elsewhere."
        )
    names = list(dict.fromkeys(task for name in map(own_case, written) for task in GROUPS.get(name, (name,))))
    for name in names:
        if not is_own(name) and definition_in_folder(name, data) is None:
            require_stock(name)
    return names


def require_stock(name: str) -> None:
    """Refuse a name that neither the project nor the harness knows, or that is not multiple choice."""
    from ablation.tasks.stock import stock_yaml

    stock_yaml(name)
