"""Which run directories there are below a folder, for whoever named one a level too high or misspelt."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from headscope.store.names import MANIFEST
from interp.errors import StoreError

DEPTH = 3
MOST_FOLDERS = 2000  # looked into, so that a folder such as / is soon given up
MOST_NAMES = 4


def check_run(folder: Path, before: str) -> None:
    """Raises StoreError where the folder is no run directory, naming those that are.

    before: what is written in front of a run directory, so that the sentence ends in what can be typed.
    """
    if (folder / MANIFEST).is_file():
        return
    why, where, found = looked_for(folder)
    if not found:
        raise StoreError(
            f"the folder {str(folder)!r} {why}. Make a run directory first: "
            f"`headscope induction -o {shlex.quote(str(folder))}`"
        )
    names = ", ".join(map(str, found[:MOST_NAMES]))
    more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
    raise StoreError(
        f"the folder {str(folder)!r} {why}; {where} there is {names}{more}: `{before} {shlex.quote(str(found[0]))}`"
    )


def looked_for(folder: Path) -> tuple[str, str, list[Path]]:
    """What is wrong with the folder, where was looked in its place, and the run directories that are there."""
    if folder.is_dir():
        return "holds no manifest.json, so it is no run directory", "below it", runs_below(folder)
    if near := runs_near(folder):
        return "is not there", "of a like name", near
    return "is not there", "here", runs_below(Path())


def runs_below(folder: Path) -> list[Path]:
    """Run directories at most three levels down, the nearest first."""
    return [path for path in folders_below(folder) if (path / MANIFEST).is_file()]


def runs_near(folder: Path) -> list[Path]:
    """Run directories whose name is like this one's: beside it, and in `runs`."""
    places = dict.fromkeys((folder.parent, Path("runs")))
    found = {path.name: path for place in reversed(places) for path in runs_below(place)}
    return [found[name] for name in get_close_matches(folder.name, found, n=MOST_NAMES)]


def folders_below(folder: Path) -> Iterator[Path]:
    """Level by level; hidden ones are left out, and what is inside a run directory."""
    level, seen = [folder], 0
    for _ in range(DEPTH):
        below: list[Path] = []
        for parent in level:
            try:
                entries = sorted(entry for entry in parent.iterdir() if not entry.name.startswith("."))
                below += [entry for entry in entries if entry.is_dir() and not (parent / MANIFEST).is_file()]
            except OSError:
                continue
            seen += len(entries)
            if seen > MOST_FOLDERS:
                yield from below
                return
        yield from below
        level = below
