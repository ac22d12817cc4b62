"""Gates: what "removed" means (METHODS 3.3).

m = 1 keeps, 0 removes, between interpolates: z' = m z + (1 - m) z_ref at every position. Without a reference z_ref is 0.
A head's gate stands on z, at the input of the output projection; an FFN's on what is added to the residual stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from interp import hooks
from interp.errors import UsageError
from interp.masks import FFNMask, HeadMask

if TYPE_CHECKING:
    from interp.model import HookedModel


@runtime_checkable
class Reference(Protocol):
    """What stands in for a removed component (mean and resample ablation); None means zero."""

    def z(self, layer: int, z: Tensor) -> Tensor | None:
        """Replacement for z, broadcastable to [batch query head d_value]."""
        ...

    def ffn(self, layer: int, output: Tensor) -> Tensor | None:
        """Replacement for the FFN's contribution, broadcastable to [batch query d_model]."""
        ...


@contextmanager
def gates(
    model: HookedModel,
    *,
    heads: HeadMask | Tensor | None = None,
    ffns: FFNMask | Tensor | None = None,
    reference: Reference | None = None,
) -> Iterator[None]:
    """Hold the gates for as long as the context lasts; a leading batch axis gives each sequence its own mask."""
    head_values = _values(heads, (model.n_layers, model.n_heads), "heads")
    ffn_values = _values(ffns, (model.n_layers,), "ffns")
    with ExitStack() as stack:
        for layer in range(model.n_layers):
            if head_values is not None and layer in model.attention_layers:
                _hold(stack, model, "z", layer, head_values[..., layer, :], reference)
            if ffn_values is not None:
                _hold(stack, model, "mlp_out", layer, ffn_values[..., layer], reference)
        yield


def _hold(
    stack: ExitStack, model: HookedModel, name: str, layer: int, gate: Tensor, reference: Reference | None
) -> None:
    if not gate.requires_grad and bool((gate == 1).all()):
        return

    def change(value: Tensor) -> Tensor:
        other = None
        if reference is not None:
            other = reference.z(layer, value) if name == "z" else reference.ffn(layer, value)
        shaped = gate.to(value.device, value.dtype)
        shaped = shaped[..., None, :, None] if name == "z" else shaped[..., None, None]
        return value * shaped if other is None else torch.lerp(other.to(value).expand_as(value), value, shaped)

    stack.enter_context(hooks.edit(model, hooks.Point(name, layer), change))


def _values(mask: HeadMask | FFNMask | Tensor | None, shape: tuple[int, ...], what: str) -> Tensor | None:
    if mask is None:
        return None
    values = mask if isinstance(mask, Tensor) else mask.values
    if tuple(values.shape[-len(shape) :]) != shape or values.dim() > len(shape) + 1:
        raise UsageError(f"the mask over {what} must have shape {shape} (or one such mask a sequence), "
                         f"got {tuple(values.shape)}")
    return values
