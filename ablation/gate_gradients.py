"""Gradients of head and FFN gates, position by position, while a frozen model runs backward (Method 3.1).

The gradient of a gate at one position is z·dL/dz there: z enters the output projection as m z. An FFN's is the same dot
product on what it adds to the residual stream. Where something stands in for what is removed, m z + (1 - m) z_ref, it
is (z - z_ref)·dL/dz. The graph begins at the first layer's z; what stands below is not differentiated. Sums over
positions are formed as the gradients arrive, and nothing of one layer outlives its turn.

Behind an RMS norm (Gemma 2/3, OLMo 2) scaling all heads of a layer together does nothing, so their plain gradients sum
to 0. `frozen_norm` holds the norm's scale fixed: (gain * r / rms) · dL/d(output of the norm).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from einops import einsum, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp import hooks, norms
from interp.errors import HeadscopeError, RefusedModelError
from interp.gating import Reference

if TYPE_CHECKING:
    from interp.model import HookedModel


@dataclass
class GateSums:
    """Sums over positions of z·dL/dz, filled during `.backward()`, one entry a layer.

    `token`: of its absolute value; `group`: the same for kv groups, whose gates move together; `plain`: as it is.
    `reference`: what stands in for z where it is removed; set it before each forward pass.
    """

    n_kv_heads: int
    reference: Reference | None = None
    head_token: dict[int, Float[Tensor, "batch head"]] = field(default_factory=dict)
    head_plain: dict[int, Float[Tensor, "batch head"]] = field(default_factory=dict)
    group_token: dict[int, Float[Tensor, "batch kv_head"]] = field(default_factory=dict)
    ffn_token: dict[int, Float[Tensor, " batch"]] = field(default_factory=dict)
    ffn_plain: dict[int, Float[Tensor, " batch"]] = field(default_factory=dict)

    def add_heads(self, layer: int, dots: Float[Tensor, "batch query head"]) -> None:
        grouped = reduce(dots, "b q (g h) -> b q g", "sum", g=self.n_kv_heads)
        self.head_token[layer] = reduce(dots.abs(), "b q h -> b h", "sum")
        self.head_plain[layer] = reduce(dots, "b q h -> b h", "sum")
        self.group_token[layer] = reduce(grouped.abs(), "b q g -> b g", "sum")

    def add_ffn(self, layer: int, dots: Float[Tensor, "batch query"]) -> None:
        self.ffn_token[layer] = reduce(dots.abs(), "b q -> b", "sum")
        self.ffn_plain[layer] = reduce(dots, "b q -> b", "sum")

    @property
    def tables(self) -> tuple[dict[int, Tensor], ...]:
        return self.head_token, self.head_plain, self.group_token, self.ffn_token, self.ffn_plain

    def finite(self) -> bool:
        return all(bool(value.isfinite().all()) for table in self.tables for value in table.values())

    def divided(self, factor: float) -> GateSums:
        """These sums, each divided by the factor that the loss was multiplied with."""
        if factor != 1:
            for table in self.tables:
                for layer, value in table.items():
                    table[layer] = value / factor
        return self


@dataclass
class NodeSums(GateSums):
    """The same for documents whose positions stand in several rows, or branch: a position is a node of a document.

    `owners`: the document of every node. `nodes`: where the rows that are run now belong; set it before each forward
    pass, whose backward pass comes before the next one. `finish` makes the sums when all have been run.
    """

    owners: Int[Tensor, " node"] = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    nodes: Int[Tensor, "batch query"] | None = None
    head_dots: dict[int, Float[Tensor, "node head"]] = field(default_factory=dict)
    ffn_dots: dict[int, Float[Tensor, " node"]] = field(default_factory=dict)

    def add_heads(self, layer: int, dots: Float[Tensor, "batch query head"]) -> None:
        self._add(self.head_dots, layer, dots)

    def add_ffn(self, layer: int, dots: Float[Tensor, "batch query"]) -> None:
        self._add(self.ffn_dots, layer, dots)

    def finish(self) -> None:
        for layer, dots in self.head_dots.items():
            grouped = reduce(dots, "n (g h) -> n g", "sum", g=self.n_kv_heads)
            self.head_token[layer], self.head_plain[layer] = self._owned(dots.abs()), self._owned(dots)
            self.group_token[layer] = self._owned(grouped.abs())
        for layer, dots in self.ffn_dots.items():
            self.ffn_token[layer], self.ffn_plain[layer] = self._owned(dots.abs()), self._owned(dots)

    def _add(self, held: dict[int, Tensor], layer: int, dots: Float[Tensor, "batch query *head"]) -> None:
        if self.nodes is None:
            raise HeadscopeError("gate gradients arrived before it was said which nodes their rows are")
        if layer not in held:
            held[layer] = dots.new_zeros(len(self.owners), *dots.shape[2:])
        held[layer].index_add_(0, self.nodes.flatten().to(dots.device), dots.flatten(0, 1))

    def _owned(self, values: Float[Tensor, "node *head"]) -> Float[Tensor, "document *head"]:
        """Sums over the nodes of each document."""
        count = int(self.owners.max()) + 1
        return values.new_zeros(count, *values.shape[1:]).index_add(0, self.owners.to(values.device), values)


@contextmanager
def gate_sums(model: HookedModel, *, frozen_norm: bool = False, into: GateSums | None = None) -> Iterator[GateSums]:
    """Build a loss inside, call `.backward()` inside; parameters stay frozen. `into`: sums of another kind."""
    sums = GateSums(model.n_kv_heads) if into is None else into
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        for layer in model.attention_layers:
            norm = _post_norm(model, layer)
            if frozen_norm and norm is not None:
                _listen_behind_norm(stack, model, layer, norm, sums)
            else:
                _listen(stack, model, hooks.Point("z", layer), sums)
        for layer in model.ffn_layers:
            _listen(stack, model, hooks.Point("mlp_out", layer), sums)
        yield sums


def post_norm_layers(model: HookedModel) -> tuple[int, ...]:
    """Layers with a norm between the output projection and the residual stream."""
    return tuple(layer for layer in model.attention_layers if _post_norm(model, layer) is not None)


def _listen(stack: ExitStack, model: HookedModel, point: hooks.Point, sums: GateSums) -> None:
    add = sums.add_heads if point.name == "z" else sums.add_ffn
    adds_in_place = model.parallel and point.name == "mlp_out"  # Falcon adds attention's output onto the FFN's

    def begin(value: Tensor) -> Tensor | None:
        if not torch.is_grad_enabled():
            return None
        traced = value if value.requires_grad else value.detach().requires_grad_()
        held, reference = value.detach(), sums.reference
        version = held._version

        def arrived(gradient: Tensor) -> None:
            if held._version != version:
                where = f"{point.name} of layer {point.layer}"
                raise HeadscopeError(
                    f"{model.layout.architecture} changes {where} in place, so its gate gradient "
                    "can't be read: importance does not serve this family"
                )
            add(point.layer, _dots(_lost(held, reference, point), gradient))

        traced.register_hook(arrived)
        return traced.clone() if adds_in_place else traced

    stack.enter_context(hooks.edit(model, point, begin))


def _lost(value: Tensor, reference: Reference | None, point: hooks.Point) -> Tensor:
    """What a removed component takes away: all of its value, or what sets it apart from its reference."""
    if reference is None:
        return value
    other = reference.z(point.layer, value) if point.name == "z" else reference.ffn(point.layer, value)
    return value if other is None else value - other


def _dots(value: Tensor, gradient: Tensor) -> Tensor:
    """Dot products over the last axis, in float32 or better."""
    if value.dtype.itemsize < 4:
        value, gradient = value.float(), gradient.float()
    return (value * gradient).sum(-1)


def _post_norm(model: HookedModel, layer: int) -> nn.Module | None:
    return model.layout.inner(model.hf, layer, model.layout.ln1_post)


def _listen_behind_norm(stack: ExitStack, model: HookedModel, layer: int, norm: nn.Module, sums: GateSums) -> None:
    """dL/d(output of the norm), carried back to z as if the norm's scale were a constant."""
    linear = norms.probe(norm, model.d_model, device=model.device, dtype=model.dtype)
    if linear.centres:
        raise RefusedModelError(f"frozen_norm is for RMS norms behind the heads; layer {layer} has a LayerNorm there")
    held: dict[str, Tensor] = {}
    point = hooks.Point("z", layer)

    def keep(z: Tensor) -> Tensor | None:
        if not torch.is_grad_enabled():
            return None
        held["z"] = _lost(z.detach(), sums.reference, point)
        return z if z.requires_grad else z.detach().requires_grad_()

    def listen(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if not output.requires_grad:
            return
        scaled = args[0].detach() * linear.gain.to(output)
        size = scaled.square().sum(-1)
        inverse_rms = torch.where(size > 0, (output.detach() * scaled).sum(-1) / size, 0.0)  # 0: nothing is left
        z = held.pop("z")

        def arrived(gradient: Tensor) -> None:
            weighted = gradient * linear.gain.to(gradient) * inverse_rms[..., None]
            at_z = einsum(weighted, model.w_o(layer).to(gradient), "b q m, h d m -> b q h d")
            sums.add_heads(layer, _dots(z, at_z))

        output.register_hook(arrived)

    stack.enter_context(hooks.edit(model, point, keep))
    stack.callback(norm.register_forward_hook(listen).remove)
