"""Reading and changing activations: places in a model, and hooks that are always undone.

The only file with hook-name strings. A place is a `Point`: one of the names below, at a layer.

| name | shape | what |
|---|---|---|
| resid_pre, resid_mid, resid_post | batch query d_model | the residual stream before, inside and after the block |
| q, k, v | batch query (kv_)head d_head | outputs of the projections, before rotary embedding and q/k-norm |
| rot_q, rot_k | batch query (kv_)head d_head | what attention multiplies: after both |
| pattern | batch head query key | attention probabilities |
| z | batch query head d_value | what enters the output projection |
| mlp_out | batch query d_model | what the FFN adds to the residual stream |

TransformerLens's spellings are accepted: `hook_z`, `blocks.3.attn.hook_z`, `hook_resid_pre`, `hook_mlp_out`, ...
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from interp import changes
from interp.architecture import linear_weight
from interp.attention.rows import FactoredRows, blocks
from interp.errors import RefusedModelError, UsageError
from interp.training import refuse_dropout

if TYPE_CHECKING:
    from interp.model import HookedModel

NAMES = ("resid_pre", "resid_mid", "resid_post", "q", "k", "v", "rot_q", "rot_k", "pattern", "z", "mlp_out")
OF_HEADS = ("q", "k", "v", "rot_q", "rot_k", "pattern", "z")
EDITABLE = ("resid_pre", "resid_post", "q", "k", "v", "z", "mlp_out")
Edit = changes.Change
Store = Callable[[int, Tensor], None]


class Point(NamedTuple):
    """A place in the model."""

    name: str
    layer: int


def points(names: Iterable[str | tuple[str, int]], n_layers: int) -> list[Point]:
    """Every place the names mean; a name without a layer means all layers."""
    found: list[Point] = []
    for name in names:
        short, layer = _parse(name)
        for number in range(n_layers) if layer is None else (layer,):
            if not -n_layers <= number < n_layers:
                raise UsageError(f"{name!r}: layer {number} does not exist, the model has layers 0-{n_layers - 1}")
            found.append(Point(short, number % n_layers))
    return list(dict.fromkeys(found))


def of_one_layer(name: str | tuple[str, int]) -> bool:
    """Whether the name says which layer it means."""
    return _parse(name)[1] is not None


def _parse(name: str | tuple[str, int]) -> tuple[str, int | None]:
    """The place and, where it is said, the layer."""
    given: int | None = None
    text: object = name
    if isinstance(name, tuple):
        if len(name) != 2 or not isinstance(name[1], int):
            raise UsageError(f"{name!r} is not a place: write (name, layer), for example ('z', 3)")
        text, given = name
    match = re.fullmatch(r"(?:blocks\.(\d+)\.)?(?:attn\.|mlp\.)?(?:hook_)?(\w+)", str(text))
    if match is None or match[2] not in NAMES:
        raise UsageError(
            f"{name!r} is not a place headscope reads; the places are {', '.join(NAMES)} "
            "(TransformerLens's spellings, as in blocks.3.attn.hook_z, are accepted)"
        )
    inside = None if match[1] is None else int(match[1])
    if given is not None and inside is not None and given != inside:
        raise UsageError(f"{name!r} names two layers, {inside} and {given}")
    return match[2], inside if given is None else given


@contextmanager
def edit(model: HookedModel, point: Point, change: Edit) -> Iterator[None]:
    """Pass the activation at `point` through `change` (None leaves it) for as long as the context lasts."""
    if point.name not in EDITABLE:
        raise UsageError(f"{point.name} can be read but not changed; what can be changed: {', '.join(EDITABLE)}")
    refuse_dropout(model.hf)
    with ExitStack() as stack:
        for handle in _attach(model, point, change):
            stack.callback(handle.remove)
        yield


@contextmanager
def capture(model: HookedModel, wanted: Iterable[Point], store: Callable[[Point, Tensor], None]) -> Iterator[None]:
    """Hand every activation at the wanted places to `store`."""
    refuse_dropout(model.hf)
    attention: dict[str, list[int]] = {}
    with ExitStack() as stack:
        for point in wanted:
            if point.name in ("pattern", "rot_q", "rot_k"):
                attention.setdefault(point.name, []).append(point.layer)
                continue
            for handle in _attach(model, point, partial(_read, point, store)):
                stack.callback(handle.remove)
        for name, layers in attention.items():
            stack.enter_context(model.watch_attention(partial(_read_rows, name, store), layers=layers))
        yield


def _read(point: Point, store: Callable[[Point, Tensor], None], value: Tensor) -> None:
    # Falcon and OLMo go on to change theirs in place
    store(point, value if point.name == "z" else value.clone())


def _read_rows(name: str, store: Callable[[Point, Tensor], None], layer: int, rows: Any) -> None:
    if name == "pattern":
        store(Point(name, layer), dense_pattern(rows))
    elif isinstance(rows, FactoredRows):
        value = rows.q if name == "rot_q" else rows.k
        store(Point(name, layer), rearrange(value, "b h q d -> b q h d"))
    else:
        raise RefusedModelError(f"{name} is not visible in a family outside Hugging Face's attention interface")


def dense_pattern(rows: Any) -> Tensor:
    """The whole attention matrix [batch head query key] of one layer."""
    batch, heads, length = rows.shape
    first = next(blocks(rows))[2]
    pattern = first.new_zeros(batch, heads, length, length)
    for start, stop, probabilities in blocks(rows):
        pattern[:, :, start:stop, : probabilities.shape[-1]] = probabilities
    return pattern


def _attach(model: HookedModel, point: Point, change: Edit) -> list[Any]:
    """Register the hooks of one place; `change` gets the activation in its documented shape."""
    layout, hf, (name, layer) = model.layout, model.hf, point
    block = layout.block(hf, layer)
    if name == "z":
        module = _need(model, layer, layout.o, "has no attention heads")
        change = changes.in_heads(change, model.n_heads)
        return [module.register_forward_pre_hook(changes.at_input(change))]
    if name == "resid_pre":
        return [block.register_forward_pre_hook(changes.at_input(change), with_kwargs=True)]
    if name == "resid_post":
        return [block.register_forward_hook(changes.at_output(change))]
    if name == "mlp_out":
        module = _need(model, layer, layout.ffn_out, "has no FFN that headscope can place")
        scaled, beside = changes.scaled(change, layout.residual_scale), layout.inner(hf, layer, layout.ffn_beside)
        if beside is not None:
            return changes.summed(beside, module, scaled)
        return changes.unflattened(block, module, scaled, after=True)
    if name == "resid_mid":
        return changes.unflattened(block, _middle(model, layer), change, after=False)
    return _attach_projection(model, point, change)


def _attach_projection(model: HookedModel, point: Point, change: Edit) -> list[Any]:
    layout, hf, (name, layer) = model.layout, model.hf, point
    in_heads = changes.in_heads(change, model.n_heads if name == "q" else model.n_kv_heads)
    if layout.qkv is None:
        module = _need(model, layer, getattr(layout, name), f"has no separate {name} projection")
        if name == "q" and layout.gated_q:
            in_heads = changes.in_heads(changes.without_gate(change), model.n_heads)
        return [module.register_forward_hook(changes.at_output(in_heads))]
    weight, bias = layout.projections(hf, layer)[name]
    module = _need(model, layer, layout.qkv, "has no attention")
    return [module.register_forward_pre_hook(changes.at_input(partial(_projected, in_heads, weight, bias, name)))]


def _projected(change: Edit, weight: Tensor, bias: Tensor | None, name: str, value: Tensor) -> None:
    """Where q, k and v come from one projection, its part is computed a second time, to be read."""
    if change(nn.functional.linear(value, weight, bias)) is not None:
        raise UsageError(f"this family makes q, k and v in one projection: {name} can be read, not changed")


def _middle(model: HookedModel, layer: int) -> nn.Module:
    """The module whose input is the residual stream between attention and FFN; parallel blocks have none."""
    layout = model.layout
    if model.parallel:
        raise RefusedModelError(f"{layout.architecture} runs attention and FFN side by side: there is no resid_mid")
    name = layout.ln2 if layout.ln2 is not None and not layout.post_norm else layout.ffn or "fc1"
    return _need(model, layer, name, "has no FFN")


def _need(model: HookedModel, layer: int, name: str | None, why: str) -> nn.Module:
    module = model.layout.inner(model.hf, layer, name)
    if module is None:
        raise RefusedModelError(f"layer {layer} of {model.layout.architecture} {why}")
    return module


def o_rows(module: nn.Module, n_heads: int) -> Tensor:
    """W_O of every head: [head d_value d_model]."""
    return rearrange(linear_weight(module), "m (h d) -> h d m", h=n_heads)


def trace_embedding(module: nn.Module) -> Any:
    """Make an embedding's output require a gradient, so that frozen models can be differentiated."""
    return module.register_forward_hook(_trace)


def _trace(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.requires_grad_() if torch.is_grad_enabled() else output


def is_touched(block: nn.Module) -> bool:
    """Whether a hook of ours stands on this block or inside it."""
    hooks = (h for part in block.modules() for h in (*part._forward_hooks.values(), *part._forward_pre_hooks.values()))
    return any(changes.is_ours(hook) for hook in hooks)
