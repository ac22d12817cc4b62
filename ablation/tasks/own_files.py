"""Tasks that a user's own YAML file defines, in the words of lm-evaluation-harness: `--tasks ./mine.yaml`.

The file's `task:` is the name that the task has from then on, in this process: in tables, and wherever it is loaded.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ablation.tasks.names import GROUPS, is_own
from interp.errors import UsageError

SUFFIXES = (".yaml", ".yml")
NAME = re.compile(r"[\w.-]{1,100}", flags=re.ASCII)
_FILES: dict[str, Path] = {}


def is_file(written: str) -> bool:
    """Whether what was typed as a task is meant as a file."""
    return written.lower().endswith(SUFFIXES)


def register(written: str) -> str:
    """The name of the task that the file defines. Raises UsageError for a file that is not there or defines none."""
    path = Path(written).expanduser()
    if not path.is_file():
        raise UsageError(
            f"There is no file {str(path)!r}: expected a task of lm-evaluation-harness, which begins with `task: NAME`."
        )
    name = _settings(path).get("task")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(
            f"{str(path)!r} names no task: expected `task: NAME` in it, of letters, digits, _ . and -, got {name!r}."
        )
    if is_own(name) or name in GROUPS:
        raise UsageError(f"{str(path)!r} calls its task {name!r}, as one of the project's own: give it another name.")
    held = _FILES.setdefault(name, path.resolve())
    if held != path.resolve():
        raise UsageError(f"{str(path)!r} and {str(held)!r} both call their task {name!r}: rename one of them.")
    return name


def file_of(name: str) -> Path | None:
    """The file that defined this name, where one did."""
    return _FILES.get(name)


def written(name: str) -> str:
    """How a task is typed on the command line: by its file, where it has one."""
    return str(_FILES.get(name, name))


def _settings(path: Path) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        return load_yaml(path, resolve_func=False)
    except Exception as error:  # whatever YAML, an include that is missing, or an encoding fails with
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{str(path)!r} can't be read as a task: {reason}. Expected YAML in UTF-8.") from error
