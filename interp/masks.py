"""Masks over heads and FFNs: 1 keeps, 0 removes, between interpolates (Method 3.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError, quoted


@dataclass(frozen=True)
class HeadMask:
    """A gate value for every head."""

    values: Float[Tensor, "layer head"]

    @classmethod
    def keep_all(cls, n_layers: int, n_heads: int) -> HeadMask:
        return cls(torch.ones(n_layers, n_heads))

    def without(self, heads: Iterable[tuple[int, int]]) -> HeadMask:
        """A copy with these (layer, head) pairs removed."""
        values = self.values.clone()
        layers, width = values.shape
        for layer, head in heads:
            if not (0 <= layer < layers and 0 <= head < width):
                raise UsageError(
                    f"head {layer}.{head} does not exist: the model has layers 0-{layers - 1}, heads 0-{width - 1}"
                )
            values[layer, head] = 0.0
        return HeadMask(values)

    def removed(self) -> list[tuple[int, int]]:
        return [(int(layer), int(head)) for layer, head in (self.values == 0).nonzero()]


@dataclass(frozen=True)
class FFNMask:
    """A gate value for every FFN."""

    values: Float[Tensor, " layer"]

    @classmethod
    def keep_all(cls, n_layers: int) -> FFNMask:
        return cls(torch.ones(n_layers))

    def without(self, layers: Iterable[int]) -> FFNMask:
        """A copy with the FFNs of these layers removed."""
        values = self.values.clone()
        for layer in layers:
            if not 0 <= layer < len(values):
                raise UsageError(f"FFN {layer} does not exist: the model has layers 0-{len(values) - 1}")
            values[layer] = 0.0
        return FFNMask(values)

    def removed(self) -> list[int]:
        return [int(layer) for layer in (self.values == 0).nonzero().flatten()]


def parse_heads(text: str) -> list[tuple[int, int]]:
    """Heads as people write them: `18.6,17.3` (or `L18H6`) -> [(18, 6), (17, 3)]."""
    heads = []
    for part in filter(None, re.split(r"[\s,;]+", text.strip())):
        match = re.fullmatch(r"L?([0-9]{1,9})[.H]([0-9]{1,9})", part, flags=re.IGNORECASE)
        if match is None:
            raise UsageError(f"{quoted(part)} is not a head: write layer.head, for example 18.6, separated by commas")
        heads.append((int(match[1]), int(match[2])))
    return heads
