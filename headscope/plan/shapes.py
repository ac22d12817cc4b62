"""A model as its configuration says: layers, heads, widths, parameters; no weights.

1. From a configuration: the model is built on the meta device, and counted.
2. From shapes.json, by the model's id on the hub: well-known models, so that they can be planned for without a network
   and within seconds. docs/known_shapes.py makes the file, by the first way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import RefusedModelError

if TYPE_CHECKING:
    from interp.architecture import Layout

SHAPES = Path(__file__).with_name("shapes.json")
GRADIENT_VALUES = 34  # after Korthikanti et al. 2022, without the attention matrix
BATCH_TOKENS = 1024
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

    @property
    def all_heads(self) -> int:
        return self.layers_with_heads * self.heads

    def memory(self, dtype: str) -> dict[str, int]:
        """Bytes of weights, of a knock-out's stored residual stream and of a gradient, for a batch of 1,024 tokens."""
        width = WIDTHS[dtype]
        stream = BATCH_TOKENS * self.d_model * self.layers * width
        return {"weights": self.parameters * width, "knock-out": stream, "gradient": GRADIENT_VALUES * stream}


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
    )


def _embeddings(hf: Any, layout: Layout) -> int:
    """Parameters of the input embedding, unless the unembedding uses them too."""
    embed = hf.get_submodule(layout.embed).weight
    return 0 if hf.get_submodule(layout.unembed).weight is embed else int(embed.numel())
