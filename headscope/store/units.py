"""Work units: each finished piece of a computation in a file of its own, so that a killed run goes on where it was.

A file is one line of JSON (format, key, length and SHA-256 of the rest), then safetensors. Its name is the hash of all
that determines the content: the model's identity and the versions (given once), and the key of the unit.
1. Ask for a unit by its key: there, whole and for this very key -> its tensors.
2. Otherwise compute it and put it: written under a temporary name, then renamed.
A file that does not hold what its header promises is logged and treated as absent.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from headscope.store.ahead import Pending, Wanted, ahead_of, note
from headscope.store.atomic import read_regular, write_atomically
from headscope.store.canonical import canonical, digest, plain
from interp.errors import StoreError

FORMAT = 1
SUFFIX = ".unit"
LARGEST = 16 << 30  # bytes
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnitStore:
    """The folder of units; `common` belongs to every key (model identity, versions)."""

    folder: Path
    common: Mapping[str, Any] = field(default_factory=dict)

    def get(self, key: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """The tensors stored under this key, on the CPU; None if there are none or the file is damaged."""
        path = self.path(key)
        try:
            content = read_regular(path, most=LARGEST)
            return None if content is None else _decode(content, self._whole(key))
        except (OSError, ValueError, RecursionError, SafetensorError) as error:
            log.warning("the unit %s is damaged (%s) and is made again", path.name, error)
            return None

    def put(self, key: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Store the tensors under this key, in place of what was there."""
        path = self.path(key)
        if not self.folder.parent.is_dir():
            raise StoreError(f"the folder '{self.folder.parent}' is gone: it was deleted while a command worked in it")
        self.folder.mkdir(exist_ok=True)
        write_atomically(path, _encode(tensors, self._whole(key)))

    def get_or_compute(
        self, key: Mapping[str, Any], compute: Callable[[], Mapping[str, Tensor]], *, size: float = 1.0
    ) -> dict[str, Tensor]:
        """The stored unit, or the computed one, which is stored first; both ways the same bytes come back.

        size: how long it takes beside others. While an engine asks what is needed (ahead.py), a missing unit is noted.
        """
        stored = self.get(key)
        if stored is None and note(self, Wanted(key, compute, size)):
            return Pending()
        if stored is None:
            self.put(key, compute())
            stored = self.get(key)
        if stored is None:
            raise OSError(f"the unit {self.path(key)} can't be read back right after it was written")
        return stored

    def ahead(self, wanted: Iterable[tuple[Mapping[str, Any], Callable[[], Mapping[str, Tensor]], float]]) -> None:
        """Units that will be needed next (key, what computes it, size): an engine, where there is one, runs them."""
        ahead_of(self, (Wanted(*parts) for parts in wanted))

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob(f"*{SUFFIX}"))

    def path(self, key: Mapping[str, Any]) -> Path:
        return self.folder / f"{digest(self._whole(key))}{SUFFIX}"

    def _whole(self, key: Mapping[str, Any]) -> dict[str, Any]:
        return {"common": dict(self.common), "key": dict(key)}


def _encode(tensors: Mapping[str, Tensor], key: Any) -> bytes:
    # Clones: views of one storage are refused by safetensors.
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    payload = safetensors.torch.save(whole)
    header = {"format": FORMAT, "key": plain(key), "bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    return canonical(header).encode() + b"\n" + payload


def _decode(content: bytes, key: Any) -> dict[str, Tensor]:
    line, newline, payload = content.partition(b"\n")
    header = json.loads(line)
    if not newline or not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError("no header of this format")
    if header.get("bytes") != len(payload) or header.get("sha256") != hashlib.sha256(payload).hexdigest():
        raise ValueError("the content is not what its header says")
    if header.get("key") != plain(key):
        raise ValueError("the header names another key")
    return dict(safetensors.torch.load(payload))
