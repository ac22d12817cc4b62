"""From what a person types to the names of single tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ablation.tasks.data import definition_in_folder
from ablation.tasks.names import GROUPS, is_own, own_case
from ablation.tasks.own_files import file_of, is_file, register
from interp.errors import UsageError


def expand_task_names(spec: str, *, data: str | Path = "hub") -> list[str]:
    """Names of single tasks from a comma-separated list of tasks, groups and files, each once, in order.

    Groups are `icl14`, `probes` and those of lm-evaluation-harness (`mmlu`). The project's own names may be written in
    any case (`COPA`). Others are files in the words of the harness (`./mine.yaml`), tasks that the folder `data`
    defines (TASK/task.yaml), or are looked up in the harness, whose index takes seconds to build.
    Raises UsageError for an empty list and for an unknown name, with the nearest known ones.
    """
    written = [name.strip() for name in spec.split(",") if name.strip()]
    if not written:
        raise UsageError(
            f"No task was named: got {spec!r}. Expected task names separated by commas, or a group: "
            f"{', '.join(GROUPS)}. Try `--tasks probes`, which needs no documents from elsewhere."
        )
    return list(dict.fromkeys(task for name in map(own_case, written) for task in expanded(name, data)))


def expanded(name: str, data: str | Path) -> Sequence[str]:
    """The single tasks that one name means."""
    if name in GROUPS:
        return GROUPS[name]
    if is_file(name):
        return (register(name),)
    if is_own(name) or file_of(name) is not None or definition_in_folder(name, data) is not None:
        return (name,)
    from ablation.tasks.stock import single_tasks

    return single_tasks(name)
