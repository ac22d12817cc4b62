"""Who listens to an attention layer, what the layer is answered, and by which route.

A model at rest is untouched: it has the attention implementation it was loaded with. While a listener is there, the one
call that computes attention is answered here, with the same output, and each listener is handed the layer's rows. Where
that call is caught differs by family: sdpa.py, named.py, eager.py. Listeners stand on the attention module itself: no
globals, and it works for families that drop extra keyword arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from interp.attention import chunked, flex, fused
from interp.attention.mask import before_content, is_biased, simplest
from interp.attention.rows import AttentionRows, FactoredRows, at_least_float32
from interp.errors import HeadscopeError, RefusedModelError, UsageError

Route = Literal["auto", "fused", "flex", "chunked", "eager"]
Listener = Callable[[int, AttentionRows], None]
_LISTENERS = "_headscope_listeners"
_ROUTES = {"fused": fused, "flex": flex, "chunked": chunked}
_PREFERRED = {"cpu": ("fused", "chunked"), "cuda": ("flex", "chunked")}


@dataclass(eq=False)
class Ear:
    """One listener at one layer, whether it has heard the run that is going on, and the mask the layer was handed."""

    layer: int
    listener: Listener
    route: Route = "auto"
    heard: bool = False
    handed: Any = None


@contextmanager
def ear_on(module: nn.Module, ear: Ear) -> Iterator[None]:
    """Put a listener on an attention module. Raises HeadscopeError where the module runs and nothing is heard."""

    def begin(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        ear.heard, ear.handed = False, kwargs.get("attention_mask")

    def end(module: nn.Module, args: Any, output: Any) -> None:
        if not ear.heard and not recomputing():
            raise HeadscopeError(
                f"{type(module).__name__} of layer {ear.layer} ran without the call that headscope listens at, so its "
                "attention can't be read: was its forward or its attention implementation replaced? Load the model "
                "anew with interp.load_model"
            )

    with ExitStack() as stack:
        stack.callback(module.register_forward_pre_hook(begin, with_kwargs=True).remove)
        stack.callback(module.register_forward_hook(end).remove)
        stack.callback(_leave, module, ear)
        setattr(module, _LISTENERS, (*getattr(module, _LISTENERS, ()), ear))
        yield


def _leave(module: nn.Module, ear: Ear) -> None:
    left = tuple(other for other in getattr(module, _LISTENERS, ()) if other is not ear)
    if left:
        setattr(module, _LISTENERS, left)
    elif hasattr(module, _LISTENERS):
        delattr(module, _LISTENERS)


def ears(module: nn.Module) -> tuple[Ear, ...]:
    """Who listens to this module now."""
    return () if recomputing() else getattr(module, _LISTENERS, ())


def recomputing() -> bool:
    """Whether a forward pass runs inside a backward one (recompute.py): its rows were heard before."""
    return bool(torch._C._current_graph_task_id() != -1)


@contextmanager
def implementation(hf: Any, modules: Sequence[nn.Module], name: str) -> Iterator[None]:
    """Let a model run with another attention implementation, and give back the one that it had."""
    owners = (hf, *modules)
    configs = [hf.config.get_text_config(), *(getattr(owner, "config", None) for owner in owners)]
    kept = [(c, c._attn_implementation) for c in {id(c): c for c in configs if c is not None}.values()]
    try:
        for config, _ in kept:  # the attribute behind the setter, which would change vision and audio parts too
            config._attn_implementation_internal = name
        yield
    finally:
        for config, before in kept:
            config._attn_implementation_internal = before


def answer(
    listeners: Sequence[Ear],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None,
    *,
    softcap: float | None = None,
    sink: Tensor | None = None,
) -> Tensor:
    """Attention's output [batch head query d_value]; the listeners hear its rows."""
    if listeners and query.shape[2] != key.shape[2]:
        raise UsageError("attention is read on whole sequences: run without a key-value cache")
    if any(ear.heard for ear in listeners):
        raise RefusedModelError(
            f"layer {listeners[0].layer} computes attention more than once in a run: which one a head is can't be told"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    wanted = next((ear.route for ear in listeners if ear.route != "auto"), "auto") if listeners else "chunked"
    mask = simplest(attention_mask)
    attend = _ROUTES[choose(wanted, query, value, softcap, biased=is_biased(mask))].attend
    output, lse = attend(query, key, value, mask, scale, softcap=softcap)
    if sink is not None:
        output, lse = with_sink(output, lse, sink)
    if listeners:
        reach = before_content(listeners[0].handed, mask)
        rows = FactoredRows(query.detach(), key.detach(), lse.detach(), float(scale), mask, softcap, reach)
        for ear in listeners:
            ear.heard = True
            ear.listener(ear.layer, rows)
    return output


def choose(wanted: str, query: Tensor, value: Tensor, softcap: float | None, *, biased: bool = False) -> str:
    """The route for these tensors: the fastest that serves them, or the one asked for if it does."""
    device = query.device.type
    for name in _PREFERRED.get(device, ("chunked",)) if wanted == "auto" else (wanted,):
        if name in _ROUTES and _ROUTES[name].serves(query, value, softcap=softcap, biased=biased):
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
