"""Files that are whole or not there: written under a temporary name, forced to disk, renamed."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from interp.errors import StoreError

SUFFIX = ".tmp"
STALE_SECONDS = 3600.0


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path`; a process killed on the way leaves what was there before.

    Raises StoreError where the folder can't be written to (permissions, a full disk).
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}{SUFFIX}")
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
    """Delete temporary files that a killed process left behind; younger ones may still be someone's."""
    for path in folder.glob(f".*{SUFFIX}"):
        try:
            if time.time() - path.stat().st_mtime > older_than:
                path.unlink()
        except OSError:
            continue


def _try_a_write(folder: Path) -> None:
    probe = folder / f".{secrets.token_hex(8)}{SUFFIX}"
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
