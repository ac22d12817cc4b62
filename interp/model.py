"""HookedModel: a Hugging Face causal language model with its heads within reach.

The fast backend: the raw model, any attention kernel, plain PyTorch hooks (hooks.py), attention probabilities by
listening (attention/). `bridge()` gives the rich backend, TransformerLens's, over the same tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from interp import gating, hooks, inputs, norms, offload, patching, resume, tokenizing, usual
from interp.activations import Cache, Gradients
from interp.architecture import Layout, linear_outputs, linear_width
from interp.attention import door, eager, named, sdpa
from interp.attention.door import Listener, Route
from interp.errors import RefusedModelError
from interp.identity import WeightHash, identity, weight_hash, weight_mark
from interp.masks import FFNs, Heads
from interp.token_display import counted

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from interp.view import AttentionView

Tokens = Int[Tensor, "batch query"]
Caught = Literal["sdpa", "named", "eager"]
CAUGHT = {"sdpa": sdpa, "named": named, "eager": eager}
Mask = Shaped[Tensor, "_batch _query"] | None  # the tokens' shape; inputs.py says so where it is another


@dataclass(frozen=True, eq=False)
class HookedModel:
    """Tokens in, logits out, and every head readable, changeable and removable on the way.

    hf: the raw Hugging Face model (frozen, in eval mode, and with the attention implementation it came with). layout:
    where things are in it. caught: where its attention is caught while somebody listens (attention/). provenance:
    source, revision, dtype and what else identifies it.
    """

    hf: Any
    tokenizer: Any
    layout: Layout
    caught: Caught = "sdpa"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    _hashes: dict[str, WeightHash] = field(default_factory=dict, init=False, repr=False)

    def __repr__(self) -> str:
        heads = f"{counted(self.n_layers, 'layer')} x {counted(self.n_heads, 'head')}"
        heads += f" ({counted(self.n_kv_heads, 'kv head')})"
        numbers = f"{str(self.dtype).removeprefix('torch.')} on {self.device}"
        return f"<HookedModel {self.provenance.get('source', '')}: {self.layout.architecture}, {heads}, {numbers}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Only what is not there: where it is, or what is like it (usual.py)."""
            if hasattr(type(self), name):  # a property that failed: let it say why
                return object.__getattribute__(self, name)
            raise AttributeError(usual.way_to(name, dir(type(self))))

    # --- sizes -----------------------------------------------------------------------------------------------------

    @cached_property
    def config(self) -> Any:
        """The text part of the model's configuration."""
        return self.hf.config.get_text_config()

    @cached_property
    def n_layers(self) -> int:
        return self.layout.n_layers(self.hf)

    @cached_property
    def n_heads(self) -> int:
        return int(self.config.num_attention_heads)

    @cached_property
    def n_kv_heads(self) -> int:
        """Key-value heads, from the width of the projections; latent attention has as many as query heads."""
        fused = self._width(self.layout.qkv)
        if fused is not None:
            return (fused // self.d_head - self.n_heads) // 2
        keys = self._width(self.layout.k)
        return self.n_heads if keys is None else keys // self.d_head

    @cached_property
    def d_head(self) -> int:
        """Width of a query or key head."""
        if self.layout.qkv is not None:
            return self.d_value
        queries = self._width(self.layout.q)
        if queries is not None:
            return queries // self.n_heads // (2 if self.layout.gated_q else 1)
        latent = getattr(self.config, "qk_head_dim", None)
        return int(latent or getattr(self.config, "head_dim", 0) or self.d_value)

    def _width(self, name: str | None) -> int | None:
        """Outputs of a projection in the first layer that has heads; None where there is no such projection."""
        module = self.layout.inner(self.hf, self.attention_layers[0], name)
        return None if module is None else linear_outputs(module)

    @cached_property
    def d_value(self) -> int:
        """Width of a head's z."""
        return linear_width(self.o_module(self.attention_layers[0])) // self.n_heads

    @cached_property
    def d_model(self) -> int:
        return int(self.config.hidden_size)

    @cached_property
    def vocab_size(self) -> int:
        """Rows of the unembedding (tokenizers may have fewer tokens)."""
        return int(self.hf.get_submodule(self.layout.unembed).weight.shape[0])

    @cached_property
    def max_length(self) -> int | None:
        """Positions the model was made for; None where the configuration does not say."""
        for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
            value = getattr(self.config, name, None)
            if isinstance(value, int) and value > 0:
                return value
        return None

    @cached_property
    def attention_layers(self) -> tuple[int, ...]:
        """Layers that have softmax attention heads; in the others every head score is NaN."""
        layers = (n for n in range(self.n_layers) if self.layout.inner(self.hf, n, self.layout.o) is not None)
        return tuple(layers)

    @cached_property
    def ffn_layers(self) -> tuple[int, ...]:
        """Layers whose FFN contribution can be read and gated."""
        layers = (n for n in range(self.n_layers) if self.layout.inner(self.hf, n, self.layout.ffn_out) is not None)
        return tuple(layers)

    @cached_property
    def parallel(self) -> bool:
        """Whether attention and FFN read the same residual stream (GPT-J, Phi, Falcon-7B, Pythia)."""
        if getattr(self.config, "new_decoder_architecture", False):
            return True
        told = getattr(self.config, "use_parallel_residual", getattr(self.config, "parallel_attn", None))
        if told is not None:
            return bool(told)
        return self.layout.ln2 is None and self.layout.ln2_post is None

    @property
    def device(self) -> torch.device:
        return offload.main_device(self.hf)

    @property
    def dtype(self) -> torch.dtype:
        return self.hf.dtype

    @property
    def eager(self) -> bool:
        """Whether attention comes as whole matrices, behind z: its family hands out its own eager weights."""
        return self.caught == "eager"

    @property
    def route(self) -> str:
        """How attention probabilities are read on this device (the manifest names it)."""
        if self.eager:
            return "eager"
        softcap = getattr(self.config, "attn_logit_softcapping", None)
        probe = torch.empty(1, 1, 1, self.d_head, device=self.device)
        return door.choose("auto", probe, probe.new_empty(1, 1, 1, self.d_value), softcap)

    def o_module(self, layer: int) -> nn.Module:
        """The output projection of a layer's attention."""
        module = self.layout.inner(self.hf, layer, self.layout.o)
        if module is None:
            raise RefusedModelError(f"layer {layer} has no attention heads")
        return module

    # --- running ---------------------------------------------------------------------------------------------------

    def __call__(self, tokens: tokenizing.Given, attention_mask: Mask = None) -> Float[Tensor, "batch query vocab"]:
        """Logits at every position; a text is read as the tokenizer reads it."""
        return self.hf(**self.inputs(tokens, attention_mask)).logits

    def run(self, tokens: tokenizing.Given, attention_mask: Mask = None) -> Float[Tensor, "batch query d_model"]:
        """The blocks and the final norm without the logits: enough, and cheaper, for anything that is read by hooks."""
        return self.hf.base_model(**self.inputs(tokens, attention_mask))[0]

    def inputs(self, tokens: tokenizing.Given, attention_mask: Mask = None) -> dict[str, Any]:
        """Arguments for the Hugging Face model: positions counted from the first real token under padding."""
        return inputs.arguments(self, tokens, attention_mask)

    def run_with_cache(
        self,
        tokens: tokenizing.Given,
        names: Sequence[str | tuple[str, int]] | None = None,
        attention_mask: Mask = None,
    ) -> tuple[Float[Tensor, "batch query vocab"], Cache]:
        """Logits and the activations at `names` (hooks.py lists the places).

        A name without a layer means every layer that has such a place. Without names: resid_pre, resid_post, z,
        mlp_out and pattern, of all layers, as long as they take 2 GiB at most; beyond that, UsageError asks for names.
        """
        tokens = inputs.read(self, tokens)
        names = usual.names(self, tokens) if names is None else names
        there = {"mlp_out": self.ffn_layers, **dict.fromkeys(hooks.OF_HEADS, self.attention_layers)}
        wanted = [
            point
            for name in names
            for point in hooks.points([name], self.n_layers)
            if hooks.of_one_layer(name) or point.layer in there.get(point.name, range(self.n_layers))
        ]
        cache = Cache(self.n_layers)
        with hooks.capture(self, wanted, cache.store):
            logits = self(tokens, attention_mask)
        return logits, cache

    def generate(
        self, tokens: tokenizing.Given, max_new_tokens: int = 20, *, temperature: float = 0.0, seed: int = 0
    ) -> Int[Tensor, "batch longer"] | str:
        """The text (or the tokens) with what the model writes behind it, under whatever is held on it (usual.py)."""
        return usual.generate(self, tokens, max_new_tokens, temperature=temperature, seed=seed)

    # --- text ------------------------------------------------------------------------------------------------------

    def to_tokens(self, text: str) -> Tokens:
        """A text as the tokenizer reads it: [1 query]."""
        return tokenizing.to_tokens(self, text)

    def to_str_tokens(self, text: str | tokenizing.Ids) -> list[str]:
        """Each token of a text or of a sequence of ids as text."""
        return tokenizing.to_str_tokens(self, text)

    def to_string(self, tokens: tokenizing.Ids) -> str:
        """The text of a sequence of ids."""
        return tokenizing.to_string(self, tokens)

    # --- watching and changing -------------------------------------------------------------------------------------

    @contextmanager
    def watch_attention(
        self, listener: Listener, *, layers: Iterable[int] | None = None, route: Route = "auto"
    ) -> Iterator[None]:
        """Hand `listener(layer, rows)` the attention rows of every layer (or of `layers`) that runs."""
        modules = []
        for layer in self.attention_layers if layers is None else layers:
            module = self.layout.inner(self.hf, layer, self.layout.attn)
            if module is None:
                raise RefusedModelError(f"layer {layer} has no attention")
            modules.append((layer, module))
        with CAUGHT[self.caught].listening(self.hf, modules, listener, route):
            yield

    @contextmanager
    def edit(self, name: str | tuple[str, int], change: hooks.Edit, *, layer: int | None = None) -> Iterator[None]:
        """Pass an activation through `change(value) -> value | None` for as long as the context lasts."""
        wanted = name if layer is None or isinstance(name, tuple) else (name, layer)
        with ExitStack() as stack:
            for point in hooks.points([wanted], self.n_layers):
                stack.enter_context(hooks.edit(self, point, change))
            yield

    @contextmanager
    def gates(
        self, heads: Heads | None = None, ffns: FFNs | None = None, reference: gating.Reference | None = None
    ) -> Iterator[None]:
        """Remove heads and FFNs at every position (Method 3.3; gating.py): `model.gates(heads=[(18, 6)], ffns=[3])`.

        A mask keeps where it is 1, removes where it is 0 and interpolates between.
        """
        with gating.gates(self, heads=heads, ffns=ffns, reference=reference):
            yield

    @contextmanager
    def patched(
        self,
        heads: Mapping[tuple[int, int], Float[Tensor, "position d_value"]] | None = None,
        ffns: Mapping[int, Float[Tensor, "position d_model"]] | None = None,
        *,
        positions: Sequence[int] | None = None,
    ) -> Iterator[None]:
        """Put other values in the place of heads' z and FFNs' contributions (Method 3.4; patching.py).

        positions: those the values are for, negative ones counted from the end; without them, values for all.
        """
        with patching.patched(self, patching.Patch(heads or {}, ffns or {}), positions):
            yield

    @contextmanager
    def gradients(self) -> Iterator[Gradients]:
        """Collect z and dL/dz of every head: build a loss inside, call `.backward()` inside, read `.z`, `.z_grad`.

        Parameters stay frozen: the graph begins at the first layer's z. Gates held around this context come before it.
        """
        found = Gradients()

        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            for layer in self.attention_layers:
                stack.enter_context(hooks.edit(self, hooks.Point("z", layer), partial(found.begin, layer)))
            yield found

    # --- weights ---------------------------------------------------------------------------------------------------

    def w_o(self, layer: int) -> Float[Tensor, "head d_value d_model"]:
        """Each head's slice of the output projection; its bias belongs to no head (Method 0)."""
        return hooks.o_rows(self.o_module(layer), self.n_heads)

    def w_qkv(self, layer: int, name: str) -> Float[Tensor, "heads d_head d_model"]:
        """Weights of the projection `name` (q, k or v) by head: query heads for q, kv heads for k and v."""
        weight = self.layout.projections(self.hf, layer)[name][0]
        heads = self.n_heads if name == "q" else self.n_kv_heads
        return rearrange(weight, "(h d) m -> h d m", h=heads)

    def refuse_inner_norm(self) -> None:
        """Refuse families with a norm between the heads and the output projection (Method 0: no per-head r there)."""
        names = self.layout.inner_norms(self.hf, self.attention_layers[0])
        if names:
            raise RefusedModelError(
                f"{self.layout.architecture} has a norm between its heads and the output projection ({names[0]}): it "
                "mixes the heads, so a single head's result does not exist; prefix matching reads the pattern and works"
            )

    @cached_property
    def unembeds_final_norm(self) -> bool:
        """Whether nothing but a positive factor stands between the final norm and the unembedding."""
        norm, unembed = (self.hf.get_submodule(str(name)) for name in (self.layout.ln_final, self.layout.unembed))
        tokens = torch.arange(2)[None] + self.vocab_size // 2
        return norms.is_read_by(norm, unembed, lambda: self(tokens))

    @property
    def weight_hash(self) -> WeightHash:
        """SHA-256 over the weights (identity.py), computed when first asked for, and again where they were changed."""
        mark = weight_mark(self.hf)
        if mark not in self._hashes:
            self._hashes.clear()
            self._hashes[mark] = weight_hash(self.hf)
        return self._hashes[mark]

    @cached_property
    def block_returns(self) -> tuple[int, ...]:
        """How many parts each block returns, 0 for a plain tensor (resume.py)."""
        return resume.block_returns(self)

    def identity(self) -> dict[str, Any]:
        """What a stored number is filed under: source, revision, weight hash, dtype, route, versions (identity.py)."""
        return identity(self)

    def attention_view(
        self, text: str | tokenizing.Ids, layer: int, head: int | None = None, *, start: int = 0
    ) -> AttentionView:
        """A layer's attention on a text (or ids), or a head's, as a notebook shows it: 64 tokens from `start` on."""
        from interp.view import attention_view

        return attention_view(self, text, layer, head, start=start)

    def bridge(self) -> TransformerBridge:
        """TransformerLens's TransformerBridge over a second module tree that shares these tensors."""
        from interp.bridge import build

        return build(self)
