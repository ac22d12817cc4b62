"""Faults that are made on purpose, and what came of each: the counts of docs/reliability.md.

An attack makes faults of one kind and returns a `Told`: how often it was made, and how it ended. `lost`: a finished
result is gone. `wrong`: a value was read, or a run ended, other than without the fault. Both must be 0.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from headscope.store import atomic, writer
from headscope.store.canonical import digest
from headscope.store.manifest import FILE
from interp.errors import HeadscopeError, StoreError
from tests.headscope.store.stored import readers, write_run

Work = Callable[[Path], None]


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


# ---- what was stored is damaged -------------------------------------------------------------------------------------


def damage(folder: Path, fault: str, times: int, change: Callable[[bytes, random.Random], bytes | None]) -> Told:
    """Change every stored file so many times; None deletes it. Whatever is read must be what was written."""
    told = Told(fault)
    for name, read in readers(folder).items():
        path, chance = folder / name, random.Random(f"{fault} {name}")
        whole, expected = path.read_bytes(), read()
        for _ in range(times):
            content = change(whole, chance)
            path.unlink() if content is None else path.write_bytes(content)
            told.made += 1
            try:
                if read() == expected:
                    told.harmless += 1
                else:
                    told.wrong += 1
            except HeadscopeError:
                told.refused += 1
        path.write_bytes(whole)
    return told


def flipped(whole: bytes, chance: random.Random) -> bytes:
    content = bytearray(whole)
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def cut(whole: bytes, chance: random.Random) -> bytes:
    return whole[: chance.randrange(len(whole))]


def zeroed(whole: bytes, chance: random.Random) -> bytes:
    """A block that never reached the disk."""
    start = chance.randrange(len(whole))
    return whole[:start] + bytes(min(512, len(whole) - start)) + whole[start + 512 :]


def longer(whole: bytes, chance: random.Random) -> bytes:
    return whole + chance.randbytes(1 + chance.randrange(64))


def damages(folder: Path, times: int) -> Iterator[Told]:
    yield damage(folder, "one bit flipped", times, flipped)
    yield damage(folder, "cut short", max(2, times // 4), cut)
    yield damage(folder, "a block of zeros", max(2, times // 4), zeroed)
    yield damage(folder, "bytes behind the end", max(2, times // 8), longer)
    yield damage(folder, "deleted", 1, lambda whole, chance: None)
    yield swaps(folder)
    yield foreign(folder)


def swaps(folder: Path) -> Told:
    """Every file in the place of every other, and of another run's of the same model."""
    told, asked = Told("exchanged for another file"), readers(folder)
    other = write_run(folder.with_name("other"), heads=2)
    contents = {f"own {name}": (folder / name).read_bytes() for name in asked}
    contents |= {f"other {name}": (other / name).read_bytes() for name in readers(other)}
    for name, read in asked.items():
        whole, expected = (folder / name).read_bytes(), read()
        for content in (it for it in contents.values() if it != whole):
            if name == FILE and content == (other / FILE).read_bytes():
                continue  # another run's manifest: then every file is refused, and the manifest is that run's
            (folder / name).write_bytes(content)
            told.made += 1
            try:
                told.wrong += read() != expected
            except HeadscopeError:
                told.refused += 1
        (folder / name).write_bytes(whole)
    return told


def foreign(folder: Path) -> Told:
    """Manifests of other formats, and of this one with a value of another type in every place."""
    told = Told("a manifest of another format or type")
    whole = (folder / FILE).read_bytes()
    content = json.loads(whole)
    variants = [{**content, "format": value} for value in (0, 2, 99, "1", None, True, 1.5)]
    for name in content:
        variants += [{**content, name: value} for value in (None, 7, "text", [], {}, [None], {"a": []})]
    for name in content["stages"][0]:
        for value in (None, -7, "\ud800", [None], {"a": [[]]}):
            variants.append({**content, "stages": [{**content["stages"][0], name: value}]})
    for variant in (it for it in variants if it != content):
        rest = {name: value for name, value in variant.items() if name != "sha256"}
        try:
            sealed = {**rest, "sha256": digest(rest)}
        except HeadscopeError:
            sealed = rest
        (folder / FILE).write_text(json.dumps(sealed))
        told.made += 1
        try:
            readers(folder)[FILE]()
            told.harmless += 1  # right types: another protocol's name, say
        except StoreError:
            told.refused += 1
    (folder / FILE).write_bytes(whole)
    return told


# ---- a command is stopped while it writes ---------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program may catch it."""


@contextmanager
def failing(at: int, error: Callable[[], BaseException], *, lasting: bool = False) -> Iterator[list[int]]:
    """The `at`-th step of writing a file (open and write, sync, rename, sync of the folder) fails.

    lasting: so do all that follow, as on a full disk. The value counts the steps.
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
    ):
        yield steps


def steps_of(work: Work, folder: Path) -> int:
    with failing(-1, Killed) as steps:
        work(folder)
    return steps[0]


def stopped_at_every_step(
    name: str, work: Work, home: Path, error: Callable[[], BaseException], *, most: int, lasting: bool = False
) -> Told:
    """Stopped at a step, and given again: as many steps as `most`, spread over all. The end is that of a whole run."""
    told = Told(name)
    total = steps_of(work, home / "whole")
    expected = contents(home / "whole")
    for at in sorted({1 + total * k // most for k in range(most)}):
        folder = home / f"at-{at}"
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
        told.lost += unreadable(folder)
        work(folder)
        same = contents(folder) == expected
        told.mended += same
        told.wrong += not same
        shutil.rmtree(folder)
    return told


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
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.suffix in (".parquet", ".unit", ".safetensors")
    }
    return {**files, FILE: manifest}


def killed_after_steps(name: str, work: Work, home: Path, *, steps: int, most: int) -> Told:
    """One run that is killed every so many steps of writing, and given again each time, at most so often."""
    told, folder = Told(name), home / "often"
    work(home / "whole")
    while told.made < most:
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
