"""Tasks that a user's own YAML file defines, in the words of lm-evaluation-harness: `--tasks ./mine.yaml`.

The file's `task:` is the name that the task has from then on, in this process: in tables, and wherever it is loaded.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from ablation.tasks.names import GROUPS, is_own, own_case
from interp.errors import UsageError, quoted

SUFFIXES = (".yaml", ".yml")
NAME = re.compile(r"[\w.-]{1,100}", flags=re.ASCII)
LONGEST_REASON = 500
_FILES: dict[str, Path] = {}


def is_file(written: str) -> bool:
    """Whether what was typed as a task is meant as a file."""
    return written.lower().endswith(SUFFIXES)


def register(written: str) -> str:
    """The name of the task that the file defines. Raises UsageError for a file that is not there or defines none."""
    path = _file(written)
    name = _settings(path).get("task")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        got = (
            quoted(name) if isinstance(name, str) else f"a {type(name).__name__}"
        )  # a list may hold itself, or be huge
        got = "none" if name is None else got
        raise UsageError(
            f"{str(path)!r} names no task: expected `task: NAME` in it, of letters, digits, _ . and -, got {got}."
        )
    if is_own(name) or name in GROUPS:
        raise UsageError(f"{str(path)!r} calls its task {name!r}, as one of the project's own: give it another name.")
    held = _FILES.setdefault(name, path.resolve())
    if held != path.resolve():
        raise UsageError(f"{str(path)!r} and {str(held)!r} both call their task {name!r}: rename one of them.")
    return name


def named(written: str) -> str:
    """The name of the task that is meant by a name in any case, or by a file."""
    return register(written) if is_file(written) else own_case(written)


def file_of(name: str) -> Path | None:
    """The file that defined this name, where one did."""
    return _FILES.get(name)


def written(name: str) -> str:
    """How a task is typed on the command line: by its file, where it has one."""
    return str(_FILES.get(name, name))


def _file(written: str) -> Path:
    """Where the file is. Raises UsageError where there is none."""
    path = Path(written)
    with suppress(OSError, RuntimeError):  # a name that is too long, the home of nobody
        path = path.expanduser()
        if path.is_file():
            return path
    raise UsageError(
        f"There is no file {quoted(path)}: expected a task of lm-evaluation-harness, which begins with `task: NAME`."
    )


def _settings(path: Path) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        return load_yaml(path, resolve_func=False)
    except Exception as error:  # whatever YAML, an include that is missing, or an encoding fails with
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]
        raise UsageError(f"{str(path)!r} can't be read as a task: {reason}. Expected YAML in UTF-8.") from error
