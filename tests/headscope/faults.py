"""Faults that are made on purpose while a command writes, and what came of each: the counts of docs/reliability.md.

An attack makes faults of one kind and returns a `Told`: how often it was made, and how it ended. `lost`: a finished
result is gone. `wrong`: a value was read, or a run ended, other than without the fault. Both must be 0. What was stored
and is then damaged is in damaged.py, faults that take a process in processes.py.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any
from unittest import mock

from headscope.store import atomic, writer
from headscope.store.manifest import FILE
from interp.errors import HeadscopeError
from tests.headscope.store.stored import readers

Work = Callable[[Path], None]
exporting = importlib.import_module("ablation.export")  # by its name, the package gives a function


@dataclass
class Told:
    """How many faults of a kind, and how they ended."""

    fault: str
    made: int = 0
    refused: int = 0  # an error that says what is wrong
    mended: int = 0  # the same command, given again, ended as if nothing had been
    harmless: int = 0  # the same values were read
    lost: int = 0
    wrong: int = 0

    def row(self) -> list[str]:
        return [
            self.fault,
            *(f"{n:,}" for n in (self.made, self.refused, self.mended, self.harmless, self.lost, self.wrong)),
        ]


# ---- a command is stopped while it writes ---------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program may catch it."""


@contextmanager
def failing(at: int, error: Callable[[], BaseException], *, lasting: bool = False) -> Iterator[list[int]]:
    """The `at`-th step of writing a file (open and write, sync, rename, sync of the folder) fails.

    Of a checkpoint: its weights, its record, its name. lasting: so do all that follow, as on a full disk. The value
    counts the steps.
    """
    steps = [0]

    def before(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            steps[0] += 1
            if steps[0] == at or (lasting and steps[0] > at):
                raise error()
            return real(*arguments, **options)

        return step

    with (
        mock.patch.object(atomic, "_write_to_disk", before(atomic._write_to_disk)),
        mock.patch.object(Path, "replace", before(Path.replace)),
        mock.patch.object(atomic, "_sync_folder", before(atomic._sync_folder)),
        mock.patch.object(exporting, "_save", before(exporting._save)),
        mock.patch.object(Path, "write_text", before(Path.write_text)),
        mock.patch.object(Path, "rename", before(Path.rename)),
    ):
        yield steps


def steps_of(work: Work, folder: Path) -> int:
    with failing(-1, Killed) as steps:
        work(folder)
    return steps[0]


def stopped_at_every_step(
    name: str,
    work: Work,
    home: Path,
    error: Callable[[], BaseException],
    *,
    most: int,
    lasting: bool = False,
    before: Path | None = None,
) -> Told:
    """Stopped at a step, and given again: `most` steps, from the first to the last. The end is that of a whole run.

    before: the folder as the command finds it.
    """
    told = Told(name)
    total = steps_of(work, begun(home / "whole", before))
    expected = contents(home / "whole")
    for at in spread(total, most):
        folder = begun(home / f"at-{at}", before)
        there = stored_names(folder)
        told.made += 1
        try:
            with failing(at, error, lasting=lasting):
                work(folder)
        except Killed:
            pass
        except HeadscopeError:
            told.refused += 1
        else:
            told.wrong += 1  # it said nothing
        told.lost += unreadable(folder) + len(there - stored_names(folder))
        work(folder)
        same = contents(folder) == expected
        told.mended += same
        told.wrong += not same
        shutil.rmtree(folder)
    return told


def begun(folder: Path, before: Path | None) -> Path:
    return folder if before is None else shutil.copytree(before, folder)


def spread(total: int, most: int) -> list[int]:
    """So many steps of all, the first and the last among them; the middle one where it is one."""
    if most == 1:
        return [(1 + total) // 2]
    return sorted({1 + (total - 1) * k // (most - 1) for k in range(most)})


def stored_names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if kept(path)}


def unreadable(folder: Path) -> int:
    """How many of the files that are there can't be read."""
    if not (folder / FILE).is_file():
        return 0
    count = 0
    for name, read in readers(folder).items():
        if (folder / name).is_file():
            try:
                read()
            except HeadscopeError:
                count += 1
    return count


def contents(folder: Path) -> dict[str, Any]:
    """All that was stored, without times, leftovers and the page."""
    manifest = json.loads((folder / FILE).read_bytes())
    manifest.pop("sha256")
    for stage in manifest["stages"]:
        stage["started"], stage["finished"] = "", bool(stage["finished"])
    files = {name: (folder / name).read_bytes() for name in stored_names(folder)}
    return {**files, FILE: manifest}


def kept(path: Path) -> bool:
    kinds = (".parquet", ".unit", ".safetensors", ".json")
    return path.is_file() and not path.name.startswith(".") and path.suffix in kinds


def killed_after_steps(name: str, work: Work, home: Path, *, steps: int, most: int) -> Told:
    """One run that is killed every so many steps of writing, and given again each time, at most so often."""
    work(home / "whole")
    return killed_again(name, work, home, repeat(steps, most))


def killed_ever_later(name: str, work: Work, home: Path, *, most: int) -> Told:
    """One run that is killed and given again, each time after more steps: what is finished takes fewer."""
    total = steps_of(work, home / "whole")
    return killed_again(name, work, home, (max(1, total * n // (most + 1)) for n in range(1, most + 1)))


def killed_again(name: str, work: Work, home: Path, moments: Iterable[int]) -> Told:
    """Killed after so many steps each time, then given to its end, beside the run in `whole` that never was."""
    told, folder = Told(name), home / "killed"
    for steps in moments:
        try:
            with failing(steps, Killed):
                work(folder)
            break
        except Killed:
            told.made += 1
            told.lost += unreadable(folder)
    else:
        work(folder)
    same = contents(folder) == contents(home / "whole")
    told.mended += told.made if same else 0
    told.wrong += not same
    return told


def limited_size(work: Work, home: Path, sizes: list[int]) -> Told:
    """Files may not grow beyond a size (RLIMIT_FSIZE); then they may."""
    told = Told("file-size limit")
    work(home / "whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for size in sizes:
        folder = home / f"size-{size}"
        told.made += 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
            work(folder)
            told.harmless += 1
        except HeadscopeError:
            told.refused += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        work(folder)
        told.wrong += contents(folder) != contents(home / "whole")
    signal.signal(signal.SIGXFSZ, handler)
    return told


def together(work: Work, home: Path, rounds: int) -> Told:
    """Two writers of one stage in one folder at a time."""
    told = Told("two writers in one folder")
    work(home / "whole")
    for number in range(rounds):
        folder = home / f"both-{number}"
        failed: list[BaseException] = []

        def one(folder: Path = folder, failed: list[BaseException] = failed) -> None:
            try:
                work(folder)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told.made += 1
        told.wrong += bool(failed) or contents(folder) != contents(home / "whole")
        told.harmless += not failed
    return told


def clocks(work: Work, home: Path) -> Told:
    """A clock that stands still, runs backwards, or is a century off."""
    told = Told("a wrong clock")
    work(home / "whole")
    moments = {
        "still": ["2026-01-01"] * 9,
        "back": ["2027-01-01", "2026-01-01"] * 9,
        "far": ["1901-01-01", "2199-01-01"] * 9,
    }
    for name, days in moments.items():
        left = iter(days)
        with mock.patch.object(writer, "_now", lambda left=left: f"{next(left)}T00:00:00+00:00"):
            work(home / name)
        told.made += 1
        same = contents(home / name) == contents(home / "whole") and not unreadable(home / name)
        told.harmless += same
        told.wrong += not same
    return told


def full_disk() -> OSError:
    return OSError(28, os.strerror(28))


def no_io() -> OSError:
    return OSError(5, os.strerror(5))
