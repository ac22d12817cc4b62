"""The rich backend: TransformerLens's TransformerBridge over the same tensors.

Booting a bridge replaces modules in place, so it gets a module tree of its own: a deep copy whose memo maps every
parameter and buffer to itself. The original stays as it was and no weight is copied.
"""

from __future__ import annotations

import copy
from itertools import chain
from typing import TYPE_CHECKING

from interp.errors import RefusedModelError
from interp.quiet import transformer_lens_quietly

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from interp.model import HookedModel


def build(model: HookedModel) -> TransformerBridge:
    """A TransformerBridge for `model`; eager attention, every hook point of TransformerLens."""
    if any(parameter.is_meta for parameter in model.hf.parameters()):
        raise RefusedModelError("TransformerLens refuses models whose weights are offloaded; load the model in memory")
    with transformer_lens_quietly():
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        shared = {id(tensor): tensor for tensor in chain(model.hf.parameters(), model.hf.buffers())}
        twin = copy.deepcopy(model.hf, shared)
        twin.set_attn_implementation("eager")
        try:
            return build_bridge_from_module(
                twin, model.layout.architecture, hf_config=twin.config, tokenizer=model.tokenizer, dtype=model.dtype
            )
        except Exception as error:
            raise RefusedModelError(
                f"TransformerLens can't boot a bridge over this {model.layout.architecture} ({type(error).__name__}: "
                f"{error}); everything else of headscope works without it"
            ) from error
