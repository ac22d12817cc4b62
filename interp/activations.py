"""What a forward or a backward pass leaves behind: captured activations, and z with its gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from interp.errors import UsageError
from interp.hooks import Point, points
from interp.token_display import counted


class Cache(Mapping[Any, Tensor]):
    """Captured activations: `cache["z", 3]`, `cache["blocks.3.attn.hook_z"]`, or `cache["z"]` for all layers stacked.

    Stacking needs every layer: where some were not captured, or have no heads, a KeyError names those that are there.
    """

    def __init__(self, n_layers: int) -> None:
        self._values: dict[Point, Tensor] = {}
        self._n_layers = n_layers

    def store(self, point: Point, value: Tensor) -> None:
        self._values[point] = value

    def __getitem__(self, name: Any) -> Tensor:
        wanted = points([name], self._n_layers)
        missing = [point for point in wanted if point not in self._values]
        if missing:
            raise KeyError(self._what_is_there(name, missing[0]))
        values = [self._values[point] for point in wanted]
        return torch.stack(values) if _means_all(name) else values[0]

    def _what_is_there(self, name: Any, missing: Point) -> str:
        layers = sorted(point.layer for point in self._values if point.name == missing.name)
        if layers:
            return (
                f"{name!r}: layer {missing.layer} was not captured or has no such place; ask for one layer, as in "
                f"cache[{missing.name!r}, {layers[0]}]; captured: layers {layers}"
            )
        return (
            f"{name!r} was not captured; captured: {sorted({point.name for point in self._values})}; ask "
            f"for it by names=[{missing.name!r}]"
        )

    def __contains__(self, name: object) -> bool:
        try:
            return all(point in self._values for point in points([name], self._n_layers))  # type: ignore[list-item]
        except UsageError:
            return False

    def __repr__(self) -> str:
        layers: dict[str, int] = {}
        for point in self._values:
            layers[point.name] = layers.get(point.name, 0) + 1
        told = ", ".join(f"{name} ({counted(count, 'layer')})" for name, count in layers.items())
        return f"<Cache of {told or 'nothing'}>"

    def __iter__(self) -> Iterator[Point]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def _means_all(name: Any) -> bool:
    return isinstance(name, str) and not name.startswith("blocks.")


@dataclass
class Gradients:
    """Filled during `.backward()`: `z[layer]` and `z_grad[layer]`, [batch query head d_value] each."""

    z: dict[int, Tensor] = field(default_factory=dict)
    z_grad: dict[int, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Gradients of z in {counted(len(self.z_grad), 'layer')}>"

    def begin(self, layer: int, z: Tensor) -> Tensor | None:
        """Note z, and its gradient when it comes; where nothing before z has one, the graph begins here."""
        if not torch.is_grad_enabled():  # the first, forgetful pass of a recomputed block
            return None
        z = z if z.requires_grad else z.detach().requires_grad_()
        self.z[layer] = z.detach()
        z.register_hook(partial(self.z_grad.__setitem__, layer))
        return z
