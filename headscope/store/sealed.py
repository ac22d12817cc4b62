"""A stored file is read only if it holds what was written: its SHA-256 stands in the manifest.

1. Before a file is put in place, the manifest names the new content beside the one that is there.
2. Then the file is put. A process killed between the two leaves one of these contents, never a third.
3. At the next note in the manifest, the content that is there is named alone.
A run directory of before has no such hashes; a stage that is begun there takes its files as they are.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from headscope.store.atomic import read_regular, write_atomically
from headscope.store.manifest import Manifest, read_manifest
from headscope.store.parquet import AGAIN
from interp.errors import StoreError

LARGEST = 512 << 20  # bytes of a file that is read
NOT_THERE = ""
TRIES = 20  # another process may be writing: what it names and what it puts are read one after the other
log = logging.getLogger(__name__)


def read_sealed(folder: Path, name: str, *, rewriting: bool = False) -> bytes | None:
    """The content of a stored file, None where it was never written, or was lost and is about to be written anew.

    Raises StoreError for a file that is not what was written, that is gone, or that this run did not write.
    """
    seen: tuple[str, tuple[str, ...]] | None = None
    known = False
    for _ in range(TRIES):
        content = _content(folder, name)
        manifest = read_manifest(folder)
        if manifest is None or manifest.files is None:
            return content
        known = name in manifest.files
        state, allowed = _state(content), manifest.files.get(name, (NOT_THERE,))
        if state in allowed:
            return content
        if seen == (state, allowed):
            break
        seen = state, allowed
    if content is None and rewriting:
        log.warning("%s was deleted from '%s': what it held is gone, and it is begun anew", name, folder)
        return None
    raise StoreError(_why(folder, name, content, known=known))


def put_sealed(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put these files in place, each whole or as it was. The caller holds the folder's lock."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise StoreError(f"the folder '{folder}' lost its manifest.json while it was written to: run the command again")
    states = dict(manifest.files or {})
    for name, content in files.items():
        before = _state(_content(folder, name))
        trusted = before in states.get(name, (NOT_THERE,))
        states[name] = tuple(dict.fromkeys([*([before] if trusted else []), _state(content)]))
    if states != manifest.files:
        replace(manifest, files=states).write(folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_atomically(folder / name, content)


def settled(manifest: Manifest, folder: Path) -> Manifest:
    """The manifest with one content a file, where what is there is one of those it names."""
    states = dict(manifest.files or {})
    for name, allowed in tuple(states.items()):
        there = _state(_content(folder, name)) if len(allowed) > 1 else allowed[0]
        if there == NOT_THERE and there in allowed:
            del states[name]
        elif there in allowed:
            states[name] = (there,)
    return replace(manifest, files=states)


def adopted(manifest: Manifest, folder: Path, names: Iterable[str]) -> Manifest:
    """A manifest of before with the contents of these files, as they are."""
    if manifest.files is not None:
        return manifest
    contents = {name: _content(folder, name) for name in names}
    return replace(manifest, files={name: (_state(it),) for name, it in contents.items() if it is not None})


def copy_sealed(folder: Path, target: Path, names: Iterable[str]) -> None:
    """The manifest and those of these files that are there, each read with its check, into another folder."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise StoreError(f"the folder '{folder}' holds no manifest.json, so it is no run directory")
    contents = {name: read_sealed(folder, name) for name in names}
    files = {name: (_state(it),) for name, it in contents.items() if it is not None}
    for name, content in contents.items():
        if content is not None:
            write_atomically(target / name, content)
    replace(manifest, files=files).write(target)


def _content(folder: Path, name: str) -> bytes | None:
    try:
        return read_regular(folder / name, most=LARGEST)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise StoreError(f"'{folder / name}' can't be read ({said}). {AGAIN}") from error


def _state(content: bytes | None) -> str:
    return NOT_THERE if content is None else hashlib.sha256(content).hexdigest()


def _why(folder: Path, name: str, content: bytes | None, *, known: bool) -> str:
    if content is None:
        return (
            f"'{folder / name}' was written and is gone: what is left would pass for the whole. Run the command that "
            "made it again; finished units are kept."
        )
    if not known:
        return f"'{folder / name}' was put there by something else: manifest.json does not name it. Take it away."
    return f"'{folder / name}' is not what was written (its SHA-256 is another): it was damaged or changed. {AGAIN}"
