"""Gates: what "removed" means (Method 3.3).

m = 1 keeps, 0 removes, between interpolates: z' = m z + (1 - m) z_ref at every position; z_ref = 0 without a reference.
A head's gate stands on z, at the input of the output projection; an FFN's on what is added to the residual stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from interp import hooks
from interp.errors import RefusedModelError, UsageError
from interp.masks import FFNMask, FFNs, HeadMask, Heads, ffn_mask, head_mask

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
    model: HookedModel, *, heads: Heads | None = None, ffns: FFNs | None = None, reference: Reference | None = None
) -> Iterator[None]:
    """Hold the gates for as long as the context lasts; a leading batch axis gives each sequence its own mask.

    A list of heads, or of the layers of FFNs, is what is removed. The values of a tensor may leave 0 to 1, as steps
    along a gradient do; those of a HeadMask, of an FFNMask and of a numpy array may not.

    Layers without heads (or without an FFN) have nothing to gate: their entries of a mask are not looked at.
    Raises UsageError for masks of another shape, of integers, or with NaN.
    """
    head_values = _values(head_mask(heads, model.n_layers, model.n_heads), (model.n_layers, model.n_heads), "heads")
    ffn_values = _values(ffn_mask(ffns, model.n_layers), (model.n_layers,), "ffns")
    if ffn_values is not None and not model.ffn_layers:
        raise RefusedModelError(f"{model.layout.architecture} has no FFN that headscope can place: none can be gated")
    with ExitStack() as stack:
        for layer in range(model.n_layers):
            if head_values is not None and layer in model.attention_layers:
                _hold(stack, model, "z", layer, head_values[..., layer, :], reference)
            if ffn_values is not None and layer in model.ffn_layers:
                _hold(stack, model, "mlp_out", layer, ffn_values[..., layer], reference)
        yield


def _hold(
    stack: ExitStack, model: HookedModel, name: str, layer: int, gate: Tensor, reference: Reference | None
) -> None:
    if not gate.requires_grad and bool((gate == 1).all()):
        return
    sequences = gate.shape[0] if gate.dim() == (2 if name == "z" else 1) else 1

    change = partial(_gated, gate, sequences, name, layer, reference)
    stack.enter_context(hooks.edit(model, hooks.Point(name, layer), change))


def _gated(gate: Tensor, sequences: int, name: str, layer: int, reference: Reference | None, value: Tensor) -> Tensor:
    if sequences not in (1, len(value)):
        raise UsageError(f"masks were given for {sequences} sequences, but {len(value)} run together")
    other = None
    if reference is not None:
        other = reference.z(layer, value) if name == "z" else reference.ffn(layer, value)
    shaped = gate.to(value.device, value.dtype)
    shaped = shaped[..., None, :, None] if name == "z" else shaped[..., None, None]
    return value * shaped if other is None else torch.lerp(_fitted(other, value, layer), value, shaped)


def _fitted(other: Tensor, value: Tensor, layer: int) -> Tensor:
    try:
        return other.to(value).expand_as(value)
    except RuntimeError as error:
        raise UsageError(
            f"the reference for layer {layer} has shape {tuple(other.shape)}, which does not broadcast to "
            f"{tuple(value.shape)}"
        ) from error


def _values(mask: HeadMask | FFNMask | Tensor | None, shape: tuple[int, ...], what: str) -> Tensor | None:
    if mask is None:
        return None
    values = mask if isinstance(mask, Tensor) else mask.values
    if tuple(values.shape[-len(shape) :]) != shape or values.dim() > len(shape) + 1 or not values.numel():
        raise UsageError(
            f"the mask over {what} must have shape {shape} (or one such mask a sequence), got {tuple(values.shape)}"
        )
    _refuse_odd(values, what, beyond=isinstance(mask, Tensor))
    return values


def _refuse_odd(values: Tensor, what: str, *, beyond: bool) -> None:
    """NaN and infinity; without `beyond` also values outside of 0 to 1."""
    if not bool(torch.isfinite(values).all()):
        raise UsageError(f"the mask over {what} holds NaN or infinity; 1 keeps, 0 removes, between interpolates")
    if not beyond and not bool(((values >= 0) & (values <= 1)).all()):
        raise UsageError(f"the mask over {what} holds values outside of 0 to 1; 1 keeps, 0 removes")
