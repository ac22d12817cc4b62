"""Folders that are made once and kept: whole or not there, whatever was killed, copied or damaged in between.

A folder is made under a temporary name and renamed when it is complete. A marker in it holds the size and SHA-256 of
every file, what was noted when it was made, and its own SHA-256; the folder is used only while all of them hold and is
made again otherwise.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock
from safetensors import SafetensorError

from interp.errors import StoreError
from interp.memory import out_of_memory

MARKER = "headscope-cache.json"
# Part of every marker: a folder made by another version of the conversion is made again.
FORMAT = 2


def cache_root() -> Path:
    """The user's cache folder for headscope; the environment variable HEADSCOPE_CACHE names another."""
    named = os.environ.get("HEADSCOPE_CACHE")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("headscope", appauthor=False))


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kept_folder(name: str, make: Callable[[Path], Mapping[str, Any]]) -> Path:
    """The folder `models/name` of the cache, whole; `make(folder)` fills it when it is missing or damaged.

    What `make` returns is kept in the marker, for `facts_of`. Two processes that ask at once make the folder once.
    Raises StoreError when the cache can't be written; errors of `make` pass through, and nothing is left behind.
    """
    folder = cache_root() / "models" / name
    if is_whole(folder):
        return folder
    with _alone_with(folder):
        if not is_whole(folder):
            _build(folder, make)
    return folder


def is_whole(folder: Path) -> bool:
    """Whether the folder holds the files of its marker, each with its size and hash, and no other."""
    marker = _marker(folder)
    if not marker:
        return False
    files = marker["files"]
    if {name: size for name, (size, _) in files.items()} != _sizes(folder):
        return False
    return all(sha256_of(folder / name) == digest for name, (_, digest) in files.items())


def facts_of(folder: Path) -> dict[str, Any]:
    """What was noted about a kept folder when it was made; empty for any other folder."""
    return dict(_marker(folder).get("facts", {}))


def _marker(folder: Path) -> dict[str, Any]:
    """The marker's content; empty where there is none, or none that this version wrote."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(marker, dict) or marker.pop("sha256", None) != _digest(marker):
        return {}
    files, facts = marker.get("files"), marker.get("facts")
    if not (isinstance(files, dict) and isinstance(facts, dict) and marker.get("format") == FORMAT):
        return {}
    return marker if all(map(_is_file, files.values())) else {}


def _is_file(told: Any) -> bool:
    """Size and SHA-256."""
    return isinstance(told, list) and [type(part) for part in told] == [int, str]


def _digest(marker: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(marker, sort_keys=True).encode()).hexdigest()


def _sizes(folder: Path) -> dict[str, int]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


@contextmanager
def _alone_with(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; say which folder it was when the disk refuses something."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{folder.name}.lock"):
            yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, SafetensorError) and "I/O" not in str(error) and "os error" not in str(error):
            raise  # what is read is damaged: no matter of the disk
        if out_of_memory(error):
            raise
        raise StoreError(
            f"The cache folder {folder.parent} can't be used: {error}. It has to be writable, with room for the "
            "model's weights in float32. Set HEADSCOPE_CACHE to a folder that is."
        ) from error


def _build(folder: Path, make: Callable[[Path], Mapping[str, Any]]) -> None:
    """Fill a temporary neighbour and give it the folder's name. The caller holds the lock."""
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        facts = dict(make(new))
        files = {name: [size, sha256_of(new / name)] for name, size in _sizes(new).items()}
        marker = {"format": FORMAT, "facts": facts, "files": files}
        sealed = {**marker, "sha256": _digest(marker)}
        (new / MARKER).write_text(json.dumps(sealed, indent=2, sort_keys=True), encoding="utf-8")
        if folder.exists():
            os.replace(folder, new.with_name(f"{new.name}.old"))
        os.replace(new, folder)
    finally:
        for leftover in folder.parent.glob(f".{folder.name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
