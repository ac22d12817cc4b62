"""Families that refuse sdpa (soft-capping, attention sinks): an attention function of our own, under a name of its own.

Hugging Face calls it in place of the family's eager one, with what sdpa does not know (`softcap`, `s_aux`), and with
sdpa's mask: without a mask function beside it padding and windows would be dropped in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from einops import rearrange
from torch import Tensor, nn

from interp.attention.door import Ear, Listener, Route, answer, ear_on, ears, implementation
from interp.attention.mask import boolean_mask
from interp.errors import RefusedModelError, UsageError

NAME = "headscope"


def register() -> None:
    """Make the function and its mask known to Hugging Face; models that have another never ask for it."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, attention_function)
    AttentionMaskInterface.register(NAME, boolean_mask)


@contextmanager
def listening(
    hf: Any, modules: Sequence[tuple[int, nn.Module]], listener: Listener, route: Route = "auto"
) -> Iterator[None]:
    """Hand the rows of these (layer, attention module) pairs to `listener` for as long as the context lasts."""
    with ExitStack() as stack:
        stack.enter_context(implementation(hf, [module for _, module in modules], NAME))
        for layer, module in modules:
            stack.enter_context(ear_on(module, Ear(layer, listener, route)))
        yield


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
    """What Hugging Face calls in an attention layer: [batch head query d] in, [batch query head d] out."""
    if kwargs.get("position_bias") is not None:
        raise RefusedModelError(f"{type(module).__name__} adds a learned position bias, which headscope does not read")
    if dropout:
        raise UsageError("the model is in training mode with attention dropout: call .eval() first")
    output = answer(ears(module), query, key, value, attention_mask, scaling, softcap=softcap, sink=s_aux)
    return rearrange(output, "b h q d -> b q h d").contiguous(), None
