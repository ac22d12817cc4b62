"""A unit's work, packed for another process: everything but the model, which each worker has.

1. The model is left out and named; the worker puts its own in its place.
2. What has a `shared_key` (what stands in for removed parts, evaluations that share prefixes) is packed once, and
   named by its key in all units that use it. A worker unpacks it once.
3. The rest (documents, masks) travels with the unit. Functions travel by their names, so that both sides must run the
   same code: `code_hash` says whether they do.
Packing is cloudpickle's, which runs code when it is unpacked: units go from the driver to its own workers and nowhere
else. What comes back is safetensors.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import safetensors.torch
from torch import Tensor

from interp.model import HookedModel

PACKAGES = ("interp", "induction", "ablation", "headscope")
CODE = (".py", ".yaml")
MODEL = "model"
Compute = Callable[[], Mapping[str, Tensor]]


class Packer:
    """Packs work; `shared` holds what was packed once, by key."""

    def __init__(self) -> None:
        self.shared: dict[str, bytes] = {}

    def pack(self, compute: Compute) -> tuple[bytes, tuple[str, ...]]:
        """The work, and the keys of what it shares."""
        named: dict[str, Any] = {}
        packed = _packed(compute, named)
        keys = list(named)
        for key in keys:
            if key not in self.shared:
                inner: dict[str, Any] = {}
                self.shared[key] = _packed(named[key], inner, outermost=named[key])
                if inner:
                    raise TypeError(f"{key} shares {', '.join(inner)}: shared parts must stand by themselves")
        return packed, tuple(keys)


def unpacked(packed: bytes, model: HookedModel, shared: Callable[[str], Any]) -> Any:
    """What was packed, with this model in it; `shared(key)` gives what is shared."""
    return _Unpickler(io.BytesIO(packed), model, shared).load()


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """A finished unit on its way back."""
    return safetensors.torch.save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()})


def from_bytes(content: bytes) -> dict[str, Tensor]:
    return dict(safetensors.torch.load(content))


def code_hash() -> str:
    """SHA-256 over the four packages' files of code, by name."""
    digest = hashlib.sha256()
    for name, path in _files():
        digest.update(f"{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _files() -> Iterator[tuple[str, Path]]:
    from importlib import import_module

    for package in PACKAGES:
        (folder,) = import_module(package).__path__
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix in CODE:
                yield f"{package}/{path.relative_to(folder).as_posix()}", path


def _packed(value: Any, named: dict[str, Any], *, outermost: Any = None) -> bytes:
    out = io.BytesIO()
    _Pickler(out, named, outermost).dump(value)
    return out.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc,name-defined]
    """Notes what is shared in `named`; `outermost` is packed itself."""

    def __init__(self, file: io.BytesIO, named: dict[str, Any], outermost: Any) -> None:
        super().__init__(file)
        self.named, self.outermost = named, outermost

    def persistent_id(self, value: Any) -> str | None:
        if isinstance(value, HookedModel):
            return MODEL
        key = None if value is self.outermost or isinstance(value, type) else getattr(value, "shared_key", None)
        if not isinstance(key, str):
            return None
        self.named[key] = value
        return f"shared {key}"


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, model: HookedModel, shared: Callable[[str], Any]) -> None:
        super().__init__(file)
        self.model, self.shared = model, shared

    def persistent_load(self, name: str) -> Any:
        return self.model if name == MODEL else self.shared(name.removeprefix("shared "))
