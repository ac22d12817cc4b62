"""Run a headscope command in this process, and read what a run directory holds."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from headscope.cli import main

ROOT = Path(__file__).resolve().parents[2]


class Outcome(NamedTuple):
    status: int
    out: str
    error: str


@contextlib.contextmanager
def a_place_of_its_own() -> Iterator[None]:
    """Not the repository, where `make report` may have left a run that commands would offer; else where a test went."""
    if Path.cwd() != ROOT:
        yield
        return
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield


def command(*arguments: object) -> Outcome:
    """`headscope ARGUMENTS`, its status and what it printed."""
    out, error = io.StringIO(), io.StringIO()
    status = 0
    with (
        a_place_of_its_own(),
        mock.patch.object(sys, "argv", ["headscope", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return Outcome(status, out.getvalue(), error.getvalue())


def done(*arguments: object) -> Outcome:
    """The same for a command that must succeed."""
    found = command(*arguments)
    assert found.status == 0, found.error
    return found


def refused(found: Outcome, *words: str) -> None:
    """A non-zero status and one sentence with these words, no traceback, nothing on standard output."""
    assert found.status in (1, 2)
    last = found.error.strip().splitlines()[-1]
    assert last.startswith("headscope: ") and "Traceback" not in found.error, found.error
    for word in words:
        assert word in last, last
    assert not found.out


def tables(folder: Path) -> dict[str, bytes]:
    """Every table and item table of a run, byte for byte."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def units(folder: Path) -> set[str]:
    return {path.name for path in (folder / "units").glob("*.unit")}
