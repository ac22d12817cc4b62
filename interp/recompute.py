"""Gradients larger than memory: every block is run again during the backward pass instead of being remembered.

Hugging Face's own checkpointing does nothing in eval mode, and train mode switches dropout on. Here the blocks
themselves are wrapped, in eval mode, in reentrant checkpointing: one block's activations (and, where weights are
offloaded, one block's weights) are in memory at a time. The numbers are the same to the last bit.

Call `.backward()` on the loss, inside the context: `torch.autograd.grad` does not work with reentrant checkpointing,
and hooks that are taken off early are not there when a block runs again. Gates and edits act in both runs; attention
listeners hear the first one only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from interp import hooks

if TYPE_CHECKING:
    from interp.model import HookedModel


@contextmanager
def recompute_blocks(model: HookedModel) -> Iterator[None]:
    """Forget what the blocks compute and run them again when their gradients are asked for."""
    with ExitStack() as stack:
        embedding = model.hf.get_submodule(model.layout.embed)
        stack.callback(hooks.trace_embedding(embedding).remove)
        for layer in range(model.n_layers):
            stack.enter_context(replaced_forward(model.layout.block(model.hf, layer), _checkpointed))
        yield


@contextmanager
def replaced_forward(block: nn.Module, wrap: Callable[[Any], Any]) -> Iterator[None]:
    """Put `wrap(forward)` in place of a block's forward, and take it off again."""
    own = "forward" in vars(block)
    forward = block.forward
    block.forward = wrap(forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        if own:
            block.forward = forward  # type: ignore[method-assign]
        else:
            del block.forward


def _checkpointed(forward: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not args:
            args = (kwargs.pop("hidden_states"),)
        return checkpoint(partial(_as_tuple, forward, kwargs), *args, use_reentrant=True, preserve_rng_state=False)

    return run


def _as_tuple(forward: Any, kwargs: dict[str, Any], *args: Any) -> Any:
    """What the block returns; GPT-1 returns a list, which checkpointing would not follow."""
    output = forward(*args, **kwargs)
    return tuple(output) if isinstance(output, list) else output
