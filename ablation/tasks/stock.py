"""The harness's own multiple-choice tasks, by name: found in its index, refused where they can't be served.

A folder of documents replaces the hub by a YAML file of two entries that includes the harness's own.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from ablation.tasks.names import STOCK_PREFIX, unknown_task
from interp.errors import UsageError


@cache
def index() -> dict[str, Any]:
    """The harness's index of its own tasks, read once a process; it takes about ten seconds."""
    from lm_eval.tasks import TaskManager

    return dict(TaskManager().task_index)


def stock_yaml(name: str) -> Path:
    """The YAML file of one of the harness's multiple-choice tasks.

    Raises UsageError for an unknown name, a group, and a task that is scored in another way than by choices.
    """
    bare = name.removeprefix(STOCK_PREFIX)
    entry = index().get(bare)
    if entry is None:
        raise unknown_task(bare, index())
    if entry.kind.name in ("GROUP", "TAG"):
        raise UsageError(
            f"{bare!r} is a group of lm-evaluation-harness, not a task. Name its tasks one by one{members(entry)}."
        )
    settings = entry.cfg or {}
    kind = "Python" if entry.yaml_path is None or "class" in settings else settings.get("output_type", "generate_until")
    if kind != "multiple_choice" or settings.get("doc_to_image") or settings.get("doc_to_audio"):
        raise UsageError(
            f"The task {bare!r} of lm-evaluation-harness is a {kind} task and can't be used: headscope scores text "
            "tasks by the log-likelihood of given choices (output_type multiple_choice)."
        )
    return Path(entry.yaml_path)


def members(entry: Any) -> str:
    """Some names of what a group holds, as the end of a sentence."""
    listed = sorted(entry.tags) if entry.kind.name == "TAG" else (entry.cfg or {}).get("task", [])
    names = [item if isinstance(item, str) else str(item.get("task", item.get("group"))) for item in listed]
    return f", for instance {', '.join(names[:5])}" if names else ""


def stock_task(name: str, folder: Path | None) -> Any:
    """The harness's task, its documents from the hub or, if given, from the folder."""
    from lm_eval.tasks import TaskManager

    bare, path = name.removeprefix(STOCK_PREFIX), stock_yaml(name)
    if folder is None:
        return TaskManager(include_defaults=False).load(str(path))["tasks"][bare]
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / "local.yaml"
        local.write_text(local_yaml(bare, path), encoding="utf-8")
        manager = TaskManager(include_defaults=False, metadata={"data_root": str(folder)})
        return manager.load(str(local))["tasks"][bare]


def local_yaml(name: str, path: Path) -> str:
    """The text of a YAML file that is the harness's, with documents read by `data.load`."""
    return (
        f"include: {str(path)!r}\n"
        f"task: {name}\n"
        "custom_dataset: !function ablation.tasks.data.load\n"
        f"dataset_kwargs: {{task: {name}}}\n"
        "training_split: train\n"
        "validation_split: validation\n"
        "test_split: null\n"
        "fewshot_split: null\n"
    )
