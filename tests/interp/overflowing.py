"""A model that is sound on every token but one, on which its numbers go beyond float16."""

from __future__ import annotations

import torch

from interp.model import HookedModel


def overflow_on(model: HookedModel, token: int, layer: int = 0) -> HookedModel:
    """The same Llama: at this token the stream, near the largest float16, goes beyond it behind `layer`."""
    with torch.no_grad():
        model.hf.model.embed_tokens.weight[token] = 65_000.0
        down = model.hf.model.layers[layer].mlp.down_proj.weight
        down.copy_(down.abs() * 200)
        gate, up = (getattr(model.hf.model.layers[layer].mlp, name).weight for name in ("gate_proj", "up_proj"))
        gate.copy_(gate.abs())
        up.copy_(up.abs())
    return model
