"""Which model a number belongs to: where it came from, what computed it, and hashes of all that decides it.

The same weights give other numbers under another configuration (window, rotary base, norm's epsilon) and behind another
tokenizer (a BOS token in front).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from interp.errors import UsageError
from interp.offload import in_memory
from interp.tokenizer import read_text

if TYPE_CHECKING:
    from interp.model import HookedModel

FULL_BYTES = 4 << 30
SAMPLES, MARKED = 1024, 16
VOLATILE = frozenset({"transformers_version", "dtype", "torch_dtype"})


@dataclass(frozen=True)
class WeightHash:
    """SHA-256 over every weight's name, shape, dtype and bytes.

    full: whether all bytes were read; else `SAMPLES` evenly spaced values of every weight.
    """

    sha256: str
    full: bool


def weight_hash(hf: nn.Module, *, full_bytes: int = FULL_BYTES) -> WeightHash:
    """The hash of a model's parameters and of the buffers saved with them; full up to `full_bytes` of weights."""
    sizes = (weight.numel() * weight.element_size() for _, weight in _weights(hf, load=False))
    full = sum(sizes) <= full_bytes
    digest = hashlib.sha256(b"full" if full else b"sampled")
    for name, weight in _weights(hf, load=True):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}\n".encode())
        digest.update(_bytes(weight if full else _sampled(weight, SAMPLES)))
    return WeightHash(digest.hexdigest(), full)


def weight_mark(hf: nn.Module) -> str:
    """What tells that weights in memory were changed since: where they are, how often written to, some of their values.

    A write through `.data` counts nothing, so that values are looked at too: `MARKED` of every weight.
    """
    digest = hashlib.sha256()
    for name, weight in _weights(hf, load=False):
        if not weight.is_meta:
            written = None if weight.is_inference() else weight._version
            digest.update(f"{name} {weight.data_ptr()} {written}\n".encode())
            digest.update(_bytes(_sampled(weight.detach(), MARKED)))
    return digest.hexdigest()


def identity(model: HookedModel) -> dict[str, Any]:
    """What a stored number is filed under; the hash is computed once, and again when weights were changed.

    How it was checked is no part of it: the numbers are the same.
    """
    hashed = model.weight_hash
    return {
        "source": None,
        "revision": None,
        **{name: value for name, value in model.provenance.items() if name != "check"},
        "weight_hash": hashed.sha256,
        "weight_hash_covers": "all bytes" if hashed.full else f"{SAMPLES} values a tensor",
        "config_hash": model.provenance.get("config_hash") or config_hash(model.hf.config.to_diff_dict()),
        "tokenizer_hash": tokenizer_hash(model.tokenizer),
        "architecture": model.layout.architecture,
        "dtype": str(model.dtype).removeprefix("torch."),
        "route": model.route,
        "versions": dict(_versions()),
    }


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a config.json, without what changes no number: versions, names, and the dtype, which stands beside."""
    told = {name: value for name, value in config.items() if not name.startswith("_") and name not in VOLATILE}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def tokenizer_hash(tokenizer: Any) -> str | None:
    """SHA-256 of vocabulary, rules and what stands in front of a text; padding and truncation are the caller's."""
    if tokenizer is None:
        return None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = sorted(tokenizer.get_vocab().items()) if backend is None else json.loads(backend.to_str())
    if isinstance(rules, dict):
        rules = {name: value for name, value in rules.items() if name not in ("padding", "truncation")}
    try:
        front = read_text(tokenizer, "a")
    except UsageError:  # a vocabulary without `a` and without a token for what it does not know
        front = None
    told = [rules, front, getattr(tokenizer, "bos_token_id", None)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    return tuple((name, version(name)) for name in ("torch", "transformers", "transformer-lens"))


def _weights(hf: nn.Module, *, load: bool) -> Iterator[tuple[str, Tensor]]:
    """Parameters and saved buffers in order of name, each once: a tied weight goes by the name it is tied to."""
    owners = {}
    for prefix, module in hf.named_modules():
        for name in (*module._parameters, *module._buffers.keys() - module._non_persistent_buffers_set):
            if getattr(module, name) is not None:
                owners[f"{prefix}.{name}".removeprefix(".")] = (module, name)
    for path in sorted(owners.keys() - dict(getattr(hf, "all_tied_weights_keys", None) or {}).keys()):
        module, name = owners[path]
        if not load:
            yield path, getattr(module, name)
            continue
        with in_memory(module, recurse=False):
            yield path, getattr(module, name).detach()


def _sampled(weight: Tensor, count: int) -> Tensor:
    flat = weight.flatten()
    places = torch.linspace(0, flat.numel() - 1, min(count, flat.numel()), dtype=torch.float64).long()
    return flat[places.to(flat.device)]


def _bytes(weight: Tensor) -> bytes | memoryview:
    held = weight.detach().cpu().contiguous().flatten().view(torch.uint8)
    return held.numpy().data
