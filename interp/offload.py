"""Weights that are not in memory: accelerate keeps them on disk or on the host and brings them in a layer at a time.

An offloaded parameter stands on the `meta` device between two uses. Reading a weight therefore goes through
`in_memory`, and the device of the inputs is the one on which accelerate computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


def is_offloaded(hf: nn.Module) -> bool:
    """Whether some weights are elsewhere until they are used."""
    return any(parameter.is_meta for parameter in hf.parameters())


def main_device(hf: Any) -> torch.device:
    """Where the model wants its inputs: its own device, or the one on which accelerate computes."""
    placed = getattr(hf, "hf_device_map", None)
    if placed:
        computing = [device for device in placed.values() if str(device) not in ("cpu", "disk")]
        first = computing[0] if computing else "cpu"
        return torch.device("cuda", first) if isinstance(first, int) else torch.device(first)
    return next(hf.parameters()).device


@contextmanager
def in_memory(module: nn.Module, *, recurse: bool = True) -> Iterator[None]:
    """Hold the weights of `module` (and of all modules in it) in memory; a tensor read inside stays valid."""
    parts = module.modules() if recurse else (module,)
    absent = [part for part in parts if any(p.is_meta for p in part.parameters(recurse=False))]
    with ExitStack() as stack:
        if absent:
            from accelerate.utils import align_module_device

            for part in absent:
                stack.enter_context(align_module_device(part))
        yield
