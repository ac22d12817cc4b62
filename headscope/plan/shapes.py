"""A model as its configuration says: layers, heads, widths, parameters; no weights.

1. From a configuration: the model is built of tensors without values, and counted. What a gradient keeps is counted
   likewise, in a forward pass of such tensors: everything that autograd saves, and what the gates' listeners hold.
2. From shapes.json, by the model's id on the hub: well-known models, so that they can be planned for without a network
   and within seconds. docs/known_shapes.py makes the file, by the first way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation.batch_sizes import GRADIENT_TOKENS
from interp.errors import RefusedModelError

if TYPE_CHECKING:
    from interp.architecture import Layout
    from interp.model import HookedModel

SHAPES = Path(__file__).with_name("shapes.json")
GRADIENT_VALUES = 34  # a width and layer where it can't be counted; Korthikanti et al. 2022, without attention matrices
COUNTED_TOKENS = 64
HELD = 2  # values a width and layer that listeners hold: what heads write from, and what the FFN adds
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}


@dataclass(frozen=True)
class Shape:
    """The model as its configuration says."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    d_model: int
    vocabulary: int
    context: int | None
    parameters: int
    embedding_parameters: int
    layers_with_heads: int
    layers_with_ffns: int
    kept: int  # bytes that a gradient keeps of a token in float32
    kept_half: int  # and in bfloat16, where norms still work in float32

    @property
    def all_heads(self) -> int:
        return self.layers_with_heads * self.heads

    def memory(self, dtype: str) -> dict[str, int]:
        """Bytes of weights, of a knock-out's stored residual stream and of a gradient, for a batch of 1,024 tokens."""
        width = WIDTHS[dtype]
        stream = GRADIENT_TOKENS * self.d_model * self.layers * width
        return {
            "weights": self.parameters * width,
            "knock-out": stream,
            "gradient": GRADIENT_TOKENS * self.kept_in(dtype),
        }

    def kept_in(self, dtype: str) -> int:
        """Bytes that a gradient keeps of a token on its way through all layers."""
        return self.kept_half if WIDTHS[dtype] == 2 else self.kept * WIDTHS[dtype] // WIDTHS["float32"]


def known_shape(model: str) -> Shape | None:
    """The shape of a well-known model by its id, in any case; None for others."""
    found = known_shapes().get(model.lower())
    return None if found is None else found[1]


@cache
def known_shapes() -> dict[str, tuple[str, Shape]]:
    """Lower-case id -> id and shape."""
    stored = json.loads(SHAPES.read_text(encoding="utf-8"))
    return {name.lower(): (name, Shape(**facts)) for name, facts in stored.items()}


def shape_of(config: Any) -> Shape:
    """Layout and sizes of the model on the meta device."""
    import torch
    from transformers import AutoModelForCausalLM

    from interp.architecture import read_layout
    from interp.model import HookedModel
    from interp.quiet import transformers_quietly

    with transformers_quietly(), torch.device("meta"):
        hf = AutoModelForCausalLM.from_config(config)
    layout = read_layout(hf)
    model = HookedModel(hf, None, layout)
    if not model.attention_layers:
        raise RefusedModelError(f"{layout.architecture} has no layer with attention heads that headscope can read")
    return Shape(
        architecture=layout.architecture,
        layers=model.n_layers,
        heads=model.n_heads,
        kv_heads=model.n_kv_heads,
        d_model=model.d_model,
        vocabulary=model.vocab_size,
        context=model.max_length,
        parameters=sum(parameter.numel() for parameter in hf.parameters()),
        embedding_parameters=_embeddings(hf, layout),
        layers_with_heads=len(model.attention_layers),
        layers_with_ffns=len(model.ffn_layers),
        kept=kept_bytes(config, "float32"),
        kept_half=kept_bytes(config, "bfloat16"),
    )


def kept_bytes(config: Any, dtype: str) -> int:
    """Bytes a token that a gradient keeps, by a forward pass without values; by `GRADIENT_VALUES` where none can be."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from transformers import AutoModelForCausalLM

    from interp.architecture import read_layout
    from interp.model import HookedModel
    from interp.quiet import transformers_quietly

    kind = getattr(torch, dtype)
    with transformers_quietly(), FakeTensorMode(allow_non_fake_inputs=True):
        hf = AutoModelForCausalLM.from_config(config, dtype=kind).eval().requires_grad_(False)
        model = HookedModel(hf, None, read_layout(hf))
        per_layer = model.d_model * WIDTHS[dtype] * model.n_layers
        try:
            saved = _saved_bytes(model)
        except RuntimeError:  # a family that looks at values on its way
            return GRADIENT_VALUES * per_layer
    return saved // COUNTED_TOKENS + HELD * per_layer


def _saved_bytes(model: HookedModel) -> int:
    """What autograd saves of a forward pass, the weights themselves left out."""
    import torch

    from ablation.gate_gradients import gate_sums

    weights = {parameter.untyped_storage()._cdata for parameter in model.hf.parameters()}
    found: dict[int, Any] = {}

    def keep(value: Any) -> Any:
        storage = value.untyped_storage()
        if storage._cdata not in weights:
            found[storage._cdata] = storage
        return value

    tokens = torch.zeros(1, COUNTED_TOKENS, dtype=torch.long)
    with gate_sums(model), torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        model.hf(input_ids=tokens, use_cache=False, logits_to_keep=1)
    return sum(storage.nbytes() for storage in found.values())


def _embeddings(hf: Any, layout: Layout) -> int:
    """Parameters of the input embedding, unless the unembedding uses them too."""
    embed = hf.get_submodule(layout.embed).weight
    return 0 if hf.get_submodule(layout.unembed).weight is embed else int(embed.numel())
