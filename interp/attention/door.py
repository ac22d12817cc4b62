"""The attention function Hugging Face calls for a model of ours, and who is listening to it.

Without listeners it is Hugging Face's own sdpa kernel (or, for soft-capping and attention sinks, the chunked route).
With listeners the output is the same and each of them is handed the layer's rows. Listeners stand on the attention
module itself: no globals, and it works for families that drop extra keyword arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from interp.attention import chunked, flex, fused
from interp.attention.mask import as_bool, boolean_mask
from interp.attention.rows import AttentionRows, FactoredRows, at_least_float32
from interp.errors import HeadscopeError, RefusedModelError, UsageError

NAME = "headscope"
Route = Literal["auto", "fused", "flex", "chunked", "eager"]
Listener = Callable[[int, AttentionRows], None]
_LISTENERS = "_headscope_listeners"
_ROUTES = {"fused": fused, "flex": flex, "chunked": chunked}
_PREFERRED = {"cpu": ("fused", "chunked"), "cuda": ("flex", "chunked")}


def register() -> None:
    """Make the door known to Hugging Face: the function and, always with it, its mask."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, attention_function)
    AttentionMaskInterface.register(NAME, boolean_mask)


@contextmanager
def listening(modules: Sequence[tuple[int, nn.Module]], listener: Listener, route: Route = "auto") -> Iterator[None]:
    """Hand the rows of these (layer, attention module) pairs to `listener` for as long as the context lasts."""
    mine = [(module, (layer, listener, route)) for layer, module in modules]
    try:
        for module, entry in mine:
            setattr(module, _LISTENERS, (*getattr(module, _LISTENERS, ()), entry))
        yield
    finally:
        for module, entry in mine:
            left = tuple(other for other in getattr(module, _LISTENERS, ()) if other is not entry)
            if left:
                setattr(module, _LISTENERS, left)
            elif hasattr(module, _LISTENERS):
                delattr(module, _LISTENERS)


def recomputing() -> bool:
    """Whether a forward pass runs inside a backward one (recompute.py): its rows were heard before."""
    return bool(torch._C._current_graph_task_id() != -1)


def attention_function(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What Hugging Face calls in every attention layer: [batch head query d] in, [batch query head d] out."""
    listeners = () if recomputing() else getattr(module, _LISTENERS, ())
    if not listeners and softcap is None and s_aux is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    if kwargs.get("position_bias") is not None:
        raise RefusedModelError(f"{type(module).__name__} adds a learned position bias, which headscope does not read")
    if dropout:
        raise UsageError("the model is in training mode with attention dropout: call .eval() first")
    if listeners and query.shape[2] != key.shape[2]:
        raise UsageError("attention is read on whole sequences: run without a key-value cache")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    wanted = next((route for _, _, route in listeners if route != "auto"), "auto") if listeners else "chunked"
    mask = None if attention_mask is None else as_bool(attention_mask)
    attend = _ROUTES[choose(wanted, query, value, softcap)].attend
    output, lse = attend(query, key, value, mask, scale, softcap=softcap)
    if s_aux is not None:
        output, lse = with_sink(output, lse, s_aux)
    if listeners:
        rows = FactoredRows(query.detach(), key.detach(), lse.detach(), float(scale), mask, softcap)
        for layer, listener, _ in listeners:
            listener(layer, rows)
    return rearrange(output, "b h q d -> b q h d").contiguous(), None


def choose(wanted: str, query: Tensor, value: Tensor, softcap: float | None) -> str:
    """The route for these tensors: the fastest that serves them, or the one asked for if it does."""
    device = query.device.type
    for name in _PREFERRED.get(device, ("chunked",)) if wanted == "auto" else (wanted,):
        if name in _ROUTES and _ROUTES[name].serves(query, value, softcap=softcap):
            return name
    raise HeadscopeError(
        f"the attention route {wanted!r} does not serve this layer (device {device}, soft-cap {softcap}, "
        f"widths {query.shape[-1]} and {value.shape[-1]}); use 'auto'"
    )


def with_sink(output: Tensor, lse: Tensor, sink: Tensor) -> tuple[Tensor, Tensor]:
    """GPT-OSS: one more logit a head that takes attention and gives no value, so that rows sum to less than 1."""
    lse = at_least_float32(lse)
    extra = rearrange(sink.to(lse.dtype), "h -> 1 h 1")
    share = torch.sigmoid(lse - extra).unsqueeze(-1).to(output.dtype)
    return output * share, torch.logaddexp(lse, extra)
