"""The rich backend: TransformerLens's TransformerBridge over the same tensors.

Booting a bridge replaces modules in place and completes the tokenizer's special tokens, so it gets a module tree and a
tokenizer of its own. The tree is a deep copy whose memo maps every parameter and buffer to itself: the original stays
as it was and no weight is copied. A bridge is compared with the model before it is handed out.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from interp import hooks
from interp.errors import RefusedModelError, UsageError
from interp.quiet import transformer_lens_quietly

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from interp.model import HookedModel


def build(model: HookedModel) -> TransformerBridge:
    """A TransformerBridge for `model`; eager attention, every hook point of TransformerLens.

    It has a module tree of its own, which gates, edits and readers of `model` do not reach: run while they are held, it
    raises UsageError.
    """
    if any(parameter.is_meta for parameter in model.hf.parameters()):
        raise RefusedModelError("TransformerLens refuses models whose weights are offloaded; load the model in memory")
    refuse_held(model)
    with transformer_lens_quietly(), _own_tokenizer(model.tokenizer) as tokenizer:
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        shared = {id(tensor): tensor for tensor in chain(model.hf.parameters(), model.hf.buffers())}
        twin = copy.deepcopy(model.hf, shared)
        twin.set_attn_implementation("eager")
        try:
            bridge = build_bridge_from_module(
                twin, model.layout.architecture, hf_config=twin.config, tokenizer=tokenizer, dtype=model.dtype
            )
            apart, limit = _apart(model, bridge)
        except Exception as error:
            raise RefusedModelError(
                f"TransformerLens can't boot or run a bridge over this {model.layout.architecture} "
                f"({type(error).__name__}: {error}); everything else of headscope works without it"
            ) from error
    if not apart < limit:
        raise RefusedModelError(
            f"TransformerLens's bridge over this {model.layout.architecture} computes other logits than the model "
            f"(by {apart:.3g} of their spread), so what it reads is not the model's; everything else of headscope "
            "works without it"
        )
    twin.register_forward_pre_hook(partial(_refuse_held, model))
    return bridge


def refuse_held(model: HookedModel) -> None:
    """Refuse to run a second module tree while something is held on the first."""
    if any(hooks.is_touched(model.layout.block(model.hf, layer)) for layer in range(model.n_layers)):
        raise UsageError(
            "gates, edits or readers are held on the model, and its bridge is another module tree that they do not "
            "reach: leave their context first, and hook the bridge itself, as in "
            "bridge.run_with_hooks(tokens, fwd_hooks=[('blocks.3.attn.hook_z', change)])"
        )


def _refuse_held(model: HookedModel, module: Any, args: Any) -> None:
    refuse_held(model)


@contextmanager
def _own_tokenizer(tokenizer: Any) -> Iterator[Any]:
    """A copy in a folder of its own, from which TransformerLens reads it again."""
    if tokenizer is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="headscope-") as folder:
        own = copy.deepcopy(tokenizer)
        own.save_pretrained(folder)
        own.name_or_path = own.init_kwargs["name_or_path"] = folder
        yield own


def _apart(model: HookedModel, bridge: TransformerBridge) -> tuple[float, float]:
    """How far its logits are from the model's, and how far they may be: TransformerLens rebuilds some attentions."""
    from interp.checks.choices import has_experts
    from interp.checks.rest import at_rest
    from interp.checks.result import is_precise, relative

    rest = at_rest(model)
    with torch.no_grad():
        theirs = bridge(rest.tokens)
    apart = [relative(theirs[:, place], rest.plain[:, place]) for place in range(rest.tokens.shape[1])]
    if has_experts(model) and not is_precise(model):  # they may flip, at a position here and there
        return sorted(apart)[len(apart) // 2], rest.limit
    return max(apart), rest.limit
