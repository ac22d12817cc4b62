"""A key-value cache that many rows read and none changes: the keys of one prompt, for every row behind it.

`update` hands a layer the prompt's keys for as many rows as it brings, with theirs behind; nothing is kept, so that the
copy lives no longer than that layer's attention.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


def new_cache() -> Any:
    """An empty cache; without a configuration, whose sliding layers could not be cut."""
    from transformers import DynamicCache

    return DynamicCache()


def shared_cache(filled: Any, length: int) -> Any:
    """The first `length` positions of a filled cache of one row, to be read by any number of rows."""
    shared = new_cache()
    for layer in filled.layers:
        held = _layer_class()()
        if layer.is_initialized:
            held.lazy_initialization(layer.keys, layer.values)
            held.keys, held.values = layer.keys[:, :, :length], layer.values[:, :, :length]
        shared.layers.append(held)
    return shared


@cache
def _layer_class() -> Any:
    """Made on demand: transformers takes seconds to import."""
    from transformers.cache_utils import DynamicLayer

    class SharedLayer(DynamicLayer):  # type: ignore[misc]
        def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
            rows = len(key_states)
            keys, values = (held.expand(rows, -1, -1, -1) for held in (self.keys, self.values))
            return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)

    return SharedLayer
