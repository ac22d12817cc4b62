"""Where a model keeps what we read: the blocks, z, the FFN's contribution, the projections.

The names come from TransformerLens's architecture adapters, read without booting a bridge. This is the only file that
touches them (a private corner of that library, hence the narrow version range in pyproject).

- z is the input of `o` (the head outputs side by side).
- What an FFN adds to the residual stream is the output of the norm behind it where there is one (`ln2_post`: Gemma 2/3,
  OLMo 2), else of its last linear (`mlp.out`), else of the whole module (mixture of experts) (Method 3.3); Granite
  multiplies it by `residual_scale` on the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from interp.errors import RefusedModelError
from interp.offload import in_memory

Split = Callable[[nn.Module], tuple[Any, Any, Any]]


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
    residual_scale: float = 1.0
    gated_q: bool = False

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

    def inner_norms(self, hf: nn.Module, layer: int) -> list[str]:
        """Norms between the heads and the output projection (BitNet), as wide as all heads together."""
        attention, o = self.inner(hf, layer, self.attn), self.inner(hf, layer, self.o)
        if attention is None or o is None:
            return []
        width = linear_width(o)
        return [
            name
            for name, module in attention.named_modules()
            if "norm" in type(module).__name__.lower()
            and not re.match(r"(q|k|v|kv|query|key|value)_", name.rpartition(".")[2])
            and getattr(getattr(module, "weight", None), "shape", None) == (width,)
        ]

    def qk_norm(self, hf: nn.Module, layer: int, name: Literal["q", "k"]) -> nn.Module | None:
        """The norm on a layer's queries or keys, also where TransformerLens names none (Phi)."""
        attention, named = self.inner(hf, layer, self.attn), self.inner(hf, layer, getattr(self, f"{name}_norm"))
        if attention is None or named is not None:
            return named
        wanted = re.compile("(q|query)_(layer)?norm" if name == "q" else "(k|key)_(layer)?norm")
        return next((module for child, module in attention.named_children() if wanted.fullmatch(child)), None)

    def projections(self, hf: Any, layer: int) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Weights [out d_model] and biases [out] of q, k and v, taken apart where the model fuses them."""
        attention = self.inner(hf, layer, self.attn)
        if attention is not None and self.qkv is not None and self.split is not None:
            with in_memory(attention):
                return dict(zip("qkv", self._taken_apart(attention, self.split), strict=True))
        modules = {name: self.inner(hf, layer, getattr(self, name)) for name in "qkv"}
        if attention is None or any(module is None for module in modules.values()):
            raise RefusedModelError(
                f"{self.architecture}: layer {layer} has no plain q, k and v projections, so scores made from its "
                "weights (OV eigenvalues, composition) do not exist for it"
            )
        with in_memory(attention):
            found = {name: (linear_weight(part), _bias(part)) for name, part in modules.items() if part is not None}
        heads = hf.config.get_text_config().num_attention_heads
        return {**found, "q": _without_gate(*found["q"], heads)} if self.gated_q else found

    def _taken_apart(self, attention: nn.Module, split: Split) -> list[tuple[Tensor, Tensor | None]]:
        try:
            return [(part.weight.detach(), _bias(part)) for part in split(attention)]
        except Exception as error:
            raise RefusedModelError(
                f"{self.architecture} fuses q, k and v in {self.qkv} in a way that headscope can't take apart "
                f"({type(error).__name__}), so q, k, v and scores made from their weights do not exist for it"
            ) from error


def _without_gate(weight: Tensor, bias: Tensor | None, heads: int) -> tuple[Tensor, Tensor | None]:
    """Qwen3-Next keeps an output gate in the q projection: every head holds its query rows, then its gate's."""
    rows = rearrange(weight, "(h two d) m -> two (h d) m", h=heads, two=2)[0]
    return rows, None if bias is None else rearrange(bias, "(h two d) -> two (h d)", h=heads, two=2)[0]


def linear_width(module: nn.Module) -> int:
    """How many inputs a Linear, or GPT-2's transposed Conv1D, takes."""
    return _shape(module)[1]


def linear_outputs(module: nn.Module) -> int:
    """How many outputs a Linear, or GPT-2's transposed Conv1D, has."""
    return _shape(module)[0]


def _shape(module: nn.Module) -> tuple[int, ...]:
    shape = module.get_parameter("weight").shape
    return tuple(shape[::-1] if type(module).__name__ == "Conv1D" else shape)


def linear_weight(module: nn.Module) -> Float[Tensor, "out in"]:
    """The matrix of a Linear, or of GPT-2's transposed Conv1D, as [out in]."""
    with in_memory(module):
        weight = module.get_parameter("weight").detach()
        return weight.T if type(module).__name__ == "Conv1D" else weight


def read_layout(hf: Any) -> Layout:
    """Ask TransformerLens's adapter for this architecture; refuse, with the reason, what it cannot place."""
    architecture = type(hf).__name__
    adapter = _adapter(hf, architecture)
    components = _named(adapter.component_mapping)
    inside = _named(getattr(components.get("blocks"), "submodules", None))
    attention, ffn = inside.get("attn"), inside.get("mlp")
    parts = _named(getattr(attention, "submodules", None))
    if attention is None or "o" not in parts or "unembed" not in components:
        raise RefusedModelError(
            f"{architecture} has no attention heads that headscope can read: TransformerLens places "
            f"{sorted(inside) or 'nothing'} in its blocks, and headscope needs softmax attention with an output "
            "projection (state-space and encoder-decoder models are not served)"
        )
    fused = "qkv" in parts
    wanted = ("qkv", "q_norm", "k_norm") if fused else ("q", "k", "v", "q_norm", "k_norm")
    return Layout(
        architecture=architecture,
        **_names(components, "blocks", "embed", "unembed", "pos_embed", "ln_final", "project_in", "project_out"),
        embed_norm=_names(components, "embed_ln").get("embed_ln"),
        attn=attention.name,
        o=_within(attention, parts["o"]),
        ffn=None if ffn is None else ffn.name,
        ffn_out=_ffn_out(inside, ffn),
        split=_split(hf.config, attention) if fused else None,
        post_norm=architecture in _POST_NORM or not getattr(hf.config, "do_layer_norm_before", True),
        residual_scale=float(getattr(hf.config.get_text_config(), "residual_multiplier", 1.0)),
        gated_q=bool(getattr(adapter.cfg, "gated_q_proj", False)),
        **_norms(hf.config, inside),
        **{name: _within(attention, parts[name]) for name in wanted if name in parts},
    )


_POST_NORM = frozenset({"OpenAIGPTLMHeadModel"})


def _split(config: Any, attention: Any) -> Split | None:
    """How a fused projection is taken apart: TransformerLens's way, but for Falcon's groups, which it mistakes."""
    if getattr(config, "new_decoder_architecture", False):
        return partial(_falcon_groups, heads=config.num_attention_heads, groups=config.num_kv_heads)
    found: Split | None = getattr(attention, "split_qkv_matrix", None)
    return found


def _falcon_groups(attention: nn.Module, *, heads: int, groups: int) -> tuple[Any, Any, Any]:
    """Falcon 40B and later: every kv group holds its query heads, then its key, then its value."""
    fused = attention.get_submodule("query_key_value")
    bias, each = getattr(fused, "bias", None), heads // groups

    def apart(rows: Tensor) -> list[Tensor]:
        sizes = [each, 1, 1]
        grouped = rearrange(rows, "(g n d) ... -> g n d ...", g=groups, n=each + 2)
        return [rearrange(part, "g n d ... -> (g n d) ...") for part in grouped.split(sizes, dim=1)]

    biases: list[Tensor | None] = [None] * 3 if bias is None else [*apart(bias)]
    weights = apart(fused.get_parameter("weight"))
    q, k, v = (SimpleNamespace(weight=w, bias=b) for w, b in zip(weights, biases, strict=True))
    return q, k, v


def _norms(config: Any, inside: dict[str, Any]) -> dict[str, str]:
    """The norms around attention and FFN; Falcon 11B has one for both where TransformerLens names two."""
    names = _names(inside, "ln1", "ln2", "ln1_post", "ln2_post")
    if getattr(config, "new_decoder_architecture", False) and config.num_ln_in_parallel_attn == 1:
        return {"ln1": "input_layernorm"}
    return names


def _within(owner: Any, part: Any) -> str:
    return ".".join(filter(None, (owner.name, part.name)))


def _names(components: dict[str, Any], *wanted: str) -> dict[str, str]:
    return {name: components[name].name for name in wanted if name in components}


def _ffn_out(inside: dict[str, Any], ffn: Any) -> str | None:
    if "ln2_post" in inside:
        return inside["ln2_post"].name
    if ffn is None:
        return None
    last = _named(getattr(ffn, "submodules", None)).get("out")
    return _within(ffn, last) if last is not None else ffn.name


def _named(components: dict[str, Any] | None) -> dict[str, Any]:
    return {name: component for name, component in (components or {}).items() if component is not None}


def _adapter(hf: Any, architecture: str) -> Any:
    from interp.quiet import transformer_lens_quietly

    with transformer_lens_quietly():
        from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf

        try:
            config = build_bridge_config_from_hf(hf.config, architecture, architecture, torch.float32)
            return ArchitectureAdapterFactory.select_architecture_adapter(config)
        except Exception as error:
            raise RefusedModelError(
                f"{architecture} is not an architecture that TransformerLens {_version()} knows, so headscope cannot "
                f"tell where its heads are ({type(error).__name__}); docs/families.md says how a family is added"
            ) from error


def _version() -> str:
    from importlib.metadata import version

    return version("transformer-lens")


def _bias(module: Any) -> Tensor | None:
    bias = getattr(module, "bias", None)
    return bias.detach() if isinstance(bias, Tensor) else None
