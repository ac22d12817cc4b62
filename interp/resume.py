"""Running a model from block k on, exactly, with the residual stream of an earlier run put in.

Knock-out of a component in block k changes nothing below it, so a run starts from the stored input of block k: blocks
before it let everything pass, and a hook in front of block k puts the stored residual in. The model's own forward
prepares masks, positions and rotary embeddings as always.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp import hooks
from interp.errors import RefusedModelError, UsageError
from interp.recompute import replaced_forward

if TYPE_CHECKING:
    from interp.model import HookedModel


def stored_residuals(
    model: HookedModel, tokens: Int[Tensor, "batch query"], attention_mask: Tensor | None = None
) -> list[Float[Tensor, "batch query d_model"]]:
    """The residual stream that enters each block, one tensor a layer."""
    found: dict[int, Tensor] = {}
    places = [hooks.Point("resid_pre", layer) for layer in range(model.n_layers)]
    with torch.no_grad(), hooks.capture(model, places, lambda point, value: found.__setitem__(point.layer, value)):
        model.run(tokens, attention_mask)
    return [found[layer] for layer in range(model.n_layers)]


def can_resume(model: HookedModel) -> bool:
    """Not where layers reuse the keys of earlier ones."""
    return not getattr(model.config, "num_kv_shared_layers", 0)


@contextmanager
def resumed(model: HookedModel, layer: int, residual: Float[Tensor, "batch query d_model"]) -> Iterator[None]:
    """Inside, `model(tokens, attention_mask)` starts at block `layer` with `residual`; tokens give shape and positions.

    Raises UsageError for a layer that does not exist, for tokens of another shape, and where a block that is passed
    over is gated, edited or read: that would do nothing. RefusedModelError where layers reuse earlier keys (Gemma 4).
    """
    if not 0 <= layer < model.n_layers:
        raise UsageError(f"layer {layer} does not exist: the model has layers 0-{model.n_layers - 1}")
    if layer and not can_resume(model):
        raise RefusedModelError(
            f"{model.layout.architecture} has layers that reuse the keys of earlier ones: it can't "
            "be run from a later block on"
        )

    def put_in(value: Tensor) -> Tensor:
        if value.shape != residual.shape:
            raise UsageError(
                f"the stored residual has shape {tuple(residual.shape)}, the tokens need {tuple(value.shape)}"
            )
        return residual.to(value)

    with passed_over(model, layer, touched=False), hooks.edit(model, hooks.Point("resid_pre", layer), put_in):
        yield


@contextmanager
def passed_over(model: HookedModel, blocks: int, *, touched: bool) -> Iterator[None]:
    """Inside, the first `blocks` blocks hand their input on; `touched`: also where hooks of ours stand on them."""
    with ExitStack() as stack:
        for layer in range(blocks):
            block = model.layout.block(model.hf, layer)
            wrap = _passing(block, layer, model.block_returns[layer], touched)
            stack.enter_context(replaced_forward(block, wrap))
        yield


def _passing(block: nn.Module, layer: int, parts: int, touched: bool) -> Any:
    """A forward that hands its input on, alone or as the first of `parts` parts."""

    def wrap(forward: Any) -> Any:
        def passing(*args: Any, **kwargs: Any) -> Any:
            if not touched and hooks.is_touched(block):
                raise UsageError(
                    f"block {layer} is passed over in a resumed run, so what is gated, edited or read "
                    "there would do nothing"
                )
            hidden = args[0] if args else kwargs["hidden_states"]
            return (hidden, *[None] * (parts - 1)) if parts else hidden

        return passing

    return wrap


def block_returns(model: HookedModel) -> tuple[int, ...]:
    """How many parts each block returns; 0 for a plain tensor."""
    found: list[int] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        found.append(len(output) if isinstance(output, (tuple, list)) else 0)

    with ExitStack() as stack, torch.no_grad():
        for layer in range(model.n_layers):
            handle = model.layout.block(model.hf, layer).register_forward_hook(note)
            stack.callback(handle.remove)
        model.run(torch.zeros(1, 2, dtype=torch.long))
    return tuple(found)
