"""Families whose attention is plain matrix products (Bloom, MPT, GPT-1, GPT-J, GPT-Neo): their own eager weights.

The module is asked for its weights; a hook reads them and puts None in their place, so that one layer's matrix is in
memory at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from interp.attention.door import Listener, Route, implementation, recomputing
from interp.attention.rows import PatternRows
from interp.errors import RefusedModelError, UsageError


@contextmanager
def listening(
    hf: Any, modules: Sequence[tuple[int, nn.Module]], listener: Listener, route: Route = "auto"
) -> Iterator[None]:
    """Hand the pattern of these (layer, attention module) pairs to `listener` for as long as the context lasts."""
    if route not in ("auto", "eager"):
        raise UsageError(
            f"{type(hf).__name__} hands out its eager attention alone: its route is 'eager', not {route!r}"
        )
    with ExitStack() as stack:
        stack.enter_context(implementation(hf, [module for _, module in modules], "eager"))
        for layer, module in modules:
            if "output_attentions" in inspect.signature(module.forward).parameters:
                handle = module.register_forward_pre_hook(_ask, with_kwargs=True)
                stack.callback(handle.remove)
            handle = module.register_forward_hook(_reader(layer, listener))
            stack.callback(handle.remove)
        yield


def _ask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {**kwargs, "output_attentions": True}


def _reader(layer: int, listener: Listener) -> Any:
    def read(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        found = [n for n, part in enumerate(output) if n > 0 and isinstance(part, Tensor) and part.dim() == 4]
        if not found:
            raise RefusedModelError(f"{type(module).__name__} in layer {layer} does not hand out its attention weights")
        if not recomputing():
            listener(layer, PatternRows(output[found[0]].detach()))
        return type(output)(None if n == found[0] else part for n, part in enumerate(output))

    return read
