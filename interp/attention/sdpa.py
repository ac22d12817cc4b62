"""Where attention is caught in most families: at the call of torch's `scaled_dot_product_attention`.

Hugging Face's "sdpa" implementation makes this call, and Falcon and much code that comes with a model make it
themselves. The model's own code runs up to it, under the name that it knows: some branch on the name (GLM-5 applies its
sparse mask for "eager" and "sdpa" only), so that any other would change what they compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from interp.attention.door import Ear, Listener, Route, answer, ear_on, ears, implementation
from interp.errors import RefusedModelError, UsageError


@contextmanager
def listening(
    hf: Any, modules: Sequence[tuple[int, nn.Module]], listener: Listener, route: Route = "auto"
) -> Iterator[None]:
    """Hand the rows of these (layer, attention module) pairs to `listener` for as long as the context lasts."""
    with ExitStack() as stack:
        if getattr(hf, "_supports_sdpa", False):
            stack.enter_context(implementation(hf, [module for _, module in modules], "sdpa"))
        calls = stack.enter_context(_Calls())
        for layer, module in modules:
            stack.enter_context(ear_on(module, Ear(layer, listener, route)))
            stack.callback(module.register_forward_pre_hook(calls.enter).remove)
            stack.callback(module.register_forward_hook(calls.leave, always_call=True).remove)
        yield


class _Calls(TorchFunctionMode):
    """Answers torch's attention for the module that is running; of several at once the innermost answers for all."""

    def __init__(self) -> None:
        super().__init__()
        self._module: nn.Module | None = None

    def enter(self, module: nn.Module, args: Any) -> None:
        self._module = module

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._module = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention and self._module is not None and (listeners := ears(self._module)):
            return _heard(listeners, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _heard(
    listeners: Sequence[Ear],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """torch's attention, by its arguments; shared keys are shared by the routes in any case."""
    if dropout_p:
        raise UsageError("the model is in training mode with attention dropout: call .eval() first")
    if attn_mask is None and not is_causal and query.shape[2] > 1:
        raise RefusedModelError(f"layer {listeners[0].layer} lets every position see all others: it looks ahead")
    return answer(listeners, query, key, value, attn_mask, scale)
