"""Where a model keeps what we read: the blocks, z, the FFN's contribution, the projections.

The names come from TransformerLens's architecture adapters, read without booting a bridge. This is the only file that
touches them (a private corner of that library, hence the narrow version range in pyproject).

- z is the input of `o` (the head outputs side by side).
- What an FFN adds to the residual stream is the output of the norm behind it where there is one (`ln2_post`: Gemma 2/3,
  OLMo 2), else of its last linear (`mlp.out`), else of the whole module (mixture of experts) (METHODS 3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp.errors import RefusedModelError

Split = Callable[[nn.Module], tuple[nn.Module, nn.Module, nn.Module]]


@dataclass(frozen=True)
class Layout:
    """Module names: `blocks`, `embed`, `ln_final`, `unembed` from the model; all others from a block."""

    architecture: str
    blocks: str
    embed: str
    unembed: str
    attn: str
    o: str
    ffn: str | None
    ffn_out: str | None
    pos_embed: str | None = None
    embed_norm: str | None = None
    ln_final: str | None = None
    project_in: str | None = None
    project_out: str | None = None
    q: str | None = None
    k: str | None = None
    v: str | None = None
    qkv: str | None = None
    q_norm: str | None = None
    k_norm: str | None = None
    ln1: str | None = None
    ln2: str | None = None
    ln1_post: str | None = None
    ln2_post: str | None = None
    split: Split | None = None
    post_norm: bool = False

    def block(self, hf: nn.Module, layer: int) -> nn.Module:
        return hf.get_submodule(self.blocks)[layer]  # type: ignore[index]

    def n_layers(self, hf: nn.Module) -> int:
        return len(hf.get_submodule(self.blocks))  # type: ignore[arg-type]

    def inner(self, hf: nn.Module, layer: int, name: str | None) -> nn.Module | None:
        """The module `name` of block `layer`; None where this layer has none (a layer without attention, say)."""
        if name is None:
            return None
        try:
            return self.block(hf, layer).get_submodule(name)
        except AttributeError:
            return None

    def projections(self, hf: nn.Module, layer: int) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Weights [out d_model] and biases [out] of q, k and v, taken apart where the model fuses them."""
        if self.qkv is not None and self.split is not None:
            attention = self.inner(hf, layer, self.attn)
            assert attention is not None
            parts: tuple[Any, ...] = self.split(attention)
            return {name: (part.weight.detach(), _bias(part)) for name, part in zip("qkv", parts, strict=True)}
        modules = {name: self.inner(hf, layer, getattr(self, name)) for name in "qkv"}
        if any(module is None for module in modules.values()):
            raise RefusedModelError(
                f"{self.architecture}: layer {layer} has no plain q, k and v projections, so scores made from its "
                "weights (OV eigenvalues, composition) do not exist for it"
            )
        return {name: (linear_weight(module), _bias(module)) for name, module in modules.items()}  # type: ignore[arg-type]


def linear_weight(module: nn.Module) -> Float[Tensor, "out in"]:
    """The matrix of a Linear, or of GPT-2's transposed Conv1D, as [out in]."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach().T if type(module).__name__ == "Conv1D" else weight.detach()


def read_layout(hf: Any) -> Layout:
    """Ask TransformerLens's adapter for this architecture; refuse, with the reason, what it cannot place."""
    architecture = type(hf).__name__
    components = _components(hf, architecture)
    blocks = components.get("blocks")
    inside = _named(getattr(blocks, "submodules", None) or {})
    attention, ffn = inside.get("attn"), inside.get("mlp")
    parts = _named(getattr(attention, "submodules", None) or {})
    if blocks is None or attention is None or "o" not in parts or "unembed" not in components:
        raise RefusedModelError(
            f"{architecture} has no attention heads that headscope can read: TransformerLens places "
            f"{sorted(inside) or 'nothing'} in its blocks, and headscope needs softmax attention with an output "
            "projection (state-space and encoder-decoder models are not served)"
        )
    fused = "qkv" in parts

    def within(owner: Any, part: Any) -> str | None:
        return None if part is None else ".".join(filter(None, (owner.name, part.name)))

    top = {name: components[name].name for name in ("pos_embed", "ln_final", "project_in", "project_out")
           if name in components}
    norms = {name: inside[name].name for name in ("ln1", "ln2", "ln1_post", "ln2_post") if name in inside}
    projections = ("qkv", "q_norm", "k_norm") if fused else ("q", "k", "v", "q_norm", "k_norm")
    return Layout(
        architecture=architecture,
        blocks=blocks.name,
        embed=components["embed"].name,
        unembed=components["unembed"].name,
        embed_norm=components["embed_ln"].name if "embed_ln" in components else None,
        attn=attention.name,
        o=str(within(attention, parts["o"])),
        ffn=None if ffn is None else ffn.name,
        ffn_out=_ffn_out(inside, ffn, within),
        split=getattr(attention, "split_qkv_matrix", None) if fused else None,
        post_norm=not getattr(hf.config, "do_layer_norm_before", True),
        **top,
        **norms,
        **{name: within(attention, parts[name]) for name in projections if name in parts},
    )


def _ffn_out(inside: dict[str, Any], ffn: Any, within: Callable[[Any, Any], str | None]) -> str | None:
    if "ln2_post" in inside:
        return inside["ln2_post"].name
    if ffn is None:
        return None
    last = _named(getattr(ffn, "submodules", None) or {}).get("out")
    return within(ffn, last) if last is not None else ffn.name


def _named(components: dict[str, Any]) -> dict[str, Any]:
    return {name: component for name, component in components.items() if component is not None}


def _components(hf: Any, architecture: str) -> dict[str, Any]:
    from interp.quiet import transformer_lens_quietly

    with transformer_lens_quietly():
        from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf

        try:
            config = build_bridge_config_from_hf(hf.config, architecture, architecture, torch.float32)
            adapter = ArchitectureAdapterFactory.select_architecture_adapter(config)
        except Exception as error:
            raise RefusedModelError(
                f"{architecture} is not an architecture that TransformerLens {_version()} knows, so headscope cannot "
                f"tell where its heads are ({type(error).__name__}); docs/families.md says how a family is added"
            ) from error
    return _named(dict(adapter.component_mapping or {}))


def _version() -> str:
    from importlib.metadata import version

    return version("transformer-lens")


def _bias(module: nn.Module) -> Tensor | None:
    bias = getattr(module, "bias", None)
    return bias.detach() if isinstance(bias, Tensor) else None
