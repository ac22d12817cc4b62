"""From a task's name to its definition: a task object of lm-evaluation-harness that knows its documents and texts."""

from __future__ import annotations

import logging
import random
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablation.tasks.choices import choices_of
from ablation.tasks.data import DEFINITION, definition_in_folder, folder_for, unreachable_hub
from ablation.tasks.labels import refuse_no_gold, right_choices
from ablation.tasks.names import ICL14, PROBES, STOCK_PREFIX
from ablation.tasks.own_files import file_of
from ablation.tasks.rows import PLACE, Row, misfit
from ablation.tasks.stock import stock_task
from interp.errors import HeadscopeError, UsageError

HERE = Path(__file__).resolve().parent


def definition(name: str, data: str | Path) -> tuple[Any, str]:
    """The harness's task object, and where its documents are from: `built in`, `hub` or `folder`.

    Raises UsageError for an unknown or unfit task, a folder without it, an unreachable hub, and documents whose fields
    do not fit.
    """
    require_harness()
    if name in PROBES:
        return own_task(name, None), "built in"
    bare = name.removeprefix(STOCK_PREFIX)
    if (path := file_of(name)) is not None:
        return users_task(name, path, data), "file"
    folder = folder_for(bare, data)
    try:
        with quiet_harness():
            if name in ICL14:
                task = own_task(name, folder)
            elif folder is not None and (path := definition_in_folder(name, folder)):
                task = folders_task(name, path, path.parent.parent)
            else:
                task = stock_task(name, folder)
    except HeadscopeError:
        raise
    except Exception as error:  # The harness imports code and renders one document here: any kind of error.
        raise failure(bare, folder, error) from error
    return task, "hub" if folder is None else "folder"


def own_task(name: str, folder: Path | None) -> Any:
    """One of the project's own tasks, from its YAML file."""
    from lm_eval.tasks import TaskManager

    metadata = {} if folder is None else {"data_root": str(folder)}
    place = HERE / ("probes" if name in PROBES else "icl14")
    with quiet_harness():
        manager = TaskManager(include_path=str(place), include_defaults=False, metadata=metadata)
        return manager.load(name)["tasks"][name]


def users_task(name: str, path: Path, data: str | Path) -> Any:
    """A task of a user's own YAML file; what our loader reads stands in the folder `data`, or beside the file."""
    home = path.parent.parent if path.name == DEFINITION and path.parent.name == name else path.parent
    root = Path(data) if str(data) != "hub" and (Path(data) / name).is_dir() else home
    try:
        with quiet_harness():
            return folders_task(name, path, root)
    except HeadscopeError:
        raise
    except Exception as error:  # the file may run any code, and its documents may be anywhere
        if isinstance(error, UnicodeDecodeError) or type(error).__name__ == "DatasetGenerationError":
            raise unreadable(path, error) from error
        raise failure(f"{name} ({path})", home, error) from error


def folders_task(name: str, path: Path, root: Path) -> Any:
    """A task that a file defines, as the folder of its documents may: ROOT/NAME/task.yaml."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, metadata={"data_root": str(root)})
    tasks = manager.load(str(path))["tasks"]
    if name not in tasks or tasks[name].OUTPUT_TYPE != "multiple_choice":
        raise UsageError(
            f"{path} does not define a task {name!r} of multiple choice: expected `task: {name}` and `output_type: "
            "multiple_choice` in it, as in lm-evaluation-harness."
        )
    return tasks[name]


def require_harness() -> None:
    """Say how to install the harness where it is missing."""
    try:
        import lm_eval.tasks  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"Tasks need lm-evaluation-harness, which can't be imported ({error}). "
            "Install it with: pip install 'headscope[tasks]'"
        ) from error


def failure(task: str, folder: Path | None, error: Exception) -> UsageError:
    """The error for a task that could not be built: code or documents that are missing or do not fit."""
    if isinstance(error, ImportError):
        return UsageError(
            f"lm-evaluation-harness's own code of {task} can't be imported with the libraries of this environment "
            f"({error}): name another task; the project's own are {', '.join(ICL14)}."
        )
    tried, row = first_document(error) or (None, {})
    if tried is not None and (told := mistake_in(tried, row)) is not None:
        return told
    if folder is None and isinstance(error, OSError | ValueError):
        return unreachable_hub(task, "the data set that lm-evaluation-harness names", error)
    return misfit(f"the first document of {task}{f' ({row[PLACE]})' if row.get(PLACE) else ''}", error, row)


def unreadable(path: Path, error: Exception) -> UsageError:
    """The error for files that a task's own definition names and `datasets` fails on."""
    return UsageError(
        f"The documents that {str(path)!r} names can't be read ({type(error).__name__}: {error.__cause__ or error}). "
        "Expected JSON lines in UTF-8; another encoding is converted by `iconv -f UTF-16 -t UTF-8 FILE > new.jsonl` "
        "(or -f WINDOWS-1252)."
    )


def first_document(error: Exception) -> tuple[Any, Row] | None:
    """The task whose first document the harness failed at while it built the task, and that document."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "test_doc" in frame.f_locals:
            return frame.f_locals["self"], frame.f_locals["test_doc"]
    return None


def mistake_in(task: Any, row: Row) -> UsageError | None:
    """What is wrong with the choices or the label of a task's first document, where it is these."""
    row = {PLACE: f"the first document of {task.config.task}", **row}
    try:
        with quiet_harness():
            choices = choices_of(task, row)
            refuse_no_gold(row, right_choices(task, row, "acc")[0], choices)
    except UsageError as told:
        return told
    except Exception:  # another field, or the task's own code
        return None
    return None


@contextmanager
def quiet_harness() -> Iterator[None]:
    """Use the harness without its advice on how to call it; the caller's log level and random numbers are put back."""
    logger = logging.getLogger("lm_eval")
    level, numbers = logger.level, random.getstate()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        random.setstate(numbers)
