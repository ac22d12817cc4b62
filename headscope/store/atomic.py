"""Files that are whole or not there: written under a temporary name, forced to disk, renamed.

A temporary name tells the machine and the process that writes it, so that what a killed one left behind can be told
from what another is writing, and is swept at once.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from interp.errors import StoreError
from interp.leftovers import left_behind, mark

SUFFIX = ".tmp"
STALE_SECONDS = 3600.0


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path`; a process killed on the way leaves what was there before.

    Raises StoreError where the folder can't be written to (permissions, a full disk).
    """
    temporary = path.with_name(_temporary_name())
    try:
        _write_to_disk(temporary, data)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # a file system that is read-only refuses this too
            temporary.unlink(missing_ok=True)
        raise StoreError(
            f"{path.name} could not be written into the folder '{path.parent}': {error.strerror or error}. "
            "Free some space or choose another folder with -o; what was stored before is unharmed."
        ) from error


def read_regular(path: Path, *, most: int) -> bytes | None:
    """The bytes of a file, None where there is none. Raises ValueError for a folder, a pipe, or more bytes than `most`.

    Never waits: a pipe put in place of a file would be waited for without end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no file")
        if status.st_size > most:
            raise ValueError(f"it has {status.st_size:,} bytes, and at most {most:,} are read")
        return file.read(most)


def make_writable(folder: Path) -> None:
    """Make the folder if it is missing and try a write. Raises StoreError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _try_a_write(folder)
    except OSError as error:
        raise _not_writable(folder, error) from error


def check_writable(folder: Path) -> None:
    """Try a write where the folder is, or would be made; nothing is left. Raises StoreError where that fails."""
    try:
        _try_a_write(next(part for part in (folder, *folder.absolute().parents) if part.exists()))
    except OSError as error:
        raise _not_writable(folder, error) from error


def remove_stale(folder: Path, *, older_than: float = STALE_SECONDS) -> None:
    """Delete temporary files whose process is gone; of another machine's, or an unknown one's, those that are old.

    For a run directory, which is headscope's alone; `sweep` is for any other folder.
    """
    for path in folder.glob(f".*{SUFFIX}"):
        try:
            if left_behind(_marked(path)) or time.time() - path.stat().st_mtime > older_than:
                path.unlink()
        except OSError:
            continue


def sweep(folder: Path) -> None:
    """Delete what headscope's own killed processes left in a folder that others may write into too."""
    for path in folder.glob(f".*{SUFFIX}"):
        if left_behind(_marked(path)):
            with suppress(OSError):
                path.unlink()


def _marked(path: Path) -> str:
    return path.name[1:].removesuffix(SUFFIX)


def remove_empty(folder: Path) -> None:
    """Take away a folder that a command made and left without content: its lock, and itself where nothing else is."""
    (folder / ".lock").unlink(missing_ok=True)
    for part in (folder / "items", folder / "units", folder / "vectors", folder):
        try:
            part.rmdir()
        except OSError:
            continue


def _temporary_name() -> str:
    return f".{mark()}{SUFFIX}"


def _try_a_write(folder: Path) -> None:
    probe = folder / _temporary_name()
    probe.write_bytes(b"")
    probe.unlink()


def _not_writable(folder: Path, error: OSError) -> StoreError:
    occupied = next((part for part in (folder, *folder.parents) if part.is_file()), None)
    why = error.strerror or error if occupied is None else f"'{occupied}' is a file"
    return StoreError(f"the folder '{folder}' can't be written to: {why}. Choose another one with -o.")


def _write_to_disk(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut; folders can't be opened on every system."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
