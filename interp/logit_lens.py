"""The logit lens: what the model would say next if its blocks ended after each layer.

nostalgebraist 2020, *interpreting GPT: the logit lens*.
1. Keep the residual stream at one position after every block.
2. Hand these streams to the final norm in the place of its input, as if they were the positions of one run: everything
   from there on (norm, unembedding, soft-cap, scale) is the model's own, so that the last layer gives its own logits.
A lens says what can be read off, not what the model uses. Left out: trained translators (the tuned lens), and families
without one norm in front of the unembedding, whose stream is read by no map that earlier layers share.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp import hooks
from interp.errors import RefusedModelError

if TYPE_CHECKING:
    from interp.model import HookedModel


def logit_lens(
    model: HookedModel, tokens: Int[Tensor, "one query"], position: int = -1
) -> Float[Tensor, "layer vocab"]:
    """Log-probabilities of every next token after `position`, as read after each layer; the last is the model's.

    Gates and patches that are held around this take part. Raises RefusedModelError for families without a final norm
    in front of the unembedding.
    """
    layout = model.layout
    if layout.ln_final is None or layout.post_norm:
        raise RefusedModelError(
            f"{layout.architecture} has no one norm between its blocks and its unembedding, so there is no logit lens: "
            "the stream of an earlier layer is read by nothing that the last one's is"
        )
    streams: dict[int, Tensor] = {}

    def keep(point: hooks.Point, value: Tensor) -> None:
        streams[point.layer] = value[0, position].clone()  # a view would keep the layer's whole stream

    points = [hooks.Point("resid_post", layer) for layer in range(model.n_layers)]
    with torch.no_grad():
        with hooks.capture(model, points, keep):
            model.run(tokens)
        listed = [streams[layer] for layer in range(model.n_layers)]
        most = model.max_length or model.n_layers
        parts = [_read(model, listed[first : first + most]) for first in range(0, model.n_layers, most)]
    return torch.cat(parts).float().log_softmax(-1)


def _read(model: HookedModel, streams: list[Tensor]) -> Float[Tensor, "layer vocab"]:
    """Logits of the model's own end for these streams: a run of as many tokens, whose streams they replace."""

    def replace(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (torch.stack([stream.to(args[0]) for stream in streams])[None].view_as(args[0]), *args[1:])

    norm = model.hf.get_submodule(str(model.layout.ln_final))
    with ExitStack() as stack:
        stack.callback(norm.register_forward_pre_hook(replace).remove)
        return model(torch.zeros(1, len(streams), dtype=torch.long, device=model.device))[0]
