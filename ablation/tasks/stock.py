"""The harness's own multiple-choice tasks, by name: found in its index, refused where they can't be served.

A folder of documents replaces the hub by a YAML file of two entries that includes the harness's own.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from ablation.tasks.names import STOCK_PREFIX, is_own, unknown_task
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
            f"{bare!r} is a group of lm-evaluation-harness, not a task: expand_task_names (--tasks) gives its tasks"
            f"{members(entry)}."
        )
    settings = entry.cfg or {}
    kind = "Python" if entry.yaml_path is None or "class" in settings else settings.get("output_type", "generate_until")
    if kind != "multiple_choice" or settings.get("doc_to_image") or settings.get("doc_to_audio"):
        raise UsageError(
            f"The task {bare!r} of lm-evaluation-harness is a {kind} task and can't be used: headscope scores text "
            "tasks by the log-likelihood of given choices (output_type multiple_choice)."
        )
    return Path(entry.yaml_path)


def single_tasks(name: str) -> tuple[str, ...]:
    """The single tasks that a name of the harness means: itself, or what a group and the groups in it hold.

    Raises UsageError for an unknown name, and for a task, in a group or alone, that can't be served.
    """
    name = as_indexed(name)
    bare, prefix = name.removeprefix(STOCK_PREFIX), STOCK_PREFIX if name.startswith(STOCK_PREFIX) else ""
    entry = index().get(bare)
    if entry is not None and entry.kind.name in ("GROUP", "TAG"):
        found = [task for inside in inside_of(entry) for task in single_tasks(f"{STOCK_PREFIX}{inside}")]
        names = [task.removeprefix(STOCK_PREFIX) for task in found]
        if not names:
            raise UsageError(f"The group {bare!r} of lm-evaluation-harness names no tasks: name its tasks one by one.")
        return tuple(dict.fromkeys(f"{prefix if prefix or not is_own(task) else STOCK_PREFIX}{task}" for task in names))
    stock_yaml(name)
    return (name,)


def as_indexed(name: str) -> str:
    """The name as the harness writes it, where one of its names differs in case alone."""
    bare = name.removeprefix(STOCK_PREFIX)
    alike = [bare] if bare in index() else [known for known in index() if known.lower() == bare.lower()]
    return name.removesuffix(bare) + alike[0] if len(alike) == 1 else name


def inside_of(entry: Any) -> list[str]:
    """The names that a group of the harness lists."""
    listed = sorted(entry.tags) if entry.kind.name == "TAG" else (entry.cfg or {}).get("task", [])
    listed = [listed] if isinstance(listed, str) else listed
    return [item if isinstance(item, str) else str(item.get("task", item.get("group"))) for item in listed]


def members(entry: Any) -> str:
    """Some names of what a group holds, as the end of a sentence."""
    names = inside_of(entry)
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
