"""How much a head writes: the mean length of its result r = z W_O over the tokens of a document (Method 5).

A head that writes more moves the loss more, whatever it reads; the comparison of induction heads with important heads
is made with this partialled out, too. |r|² = z G z' with G = W_O W_O', so that r itself is never formed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from interp.model import HookedModel

NORM_DOCUMENTS = 16
BATCH_TOKENS = 1024


def norm_unit(model: HookedModel, documents: Sequence[Any]) -> Float[Tensor, "item layer head"]:
    """Mean of |r| over the positions of each document, prompt and gold continuation; NaN for layers without heads."""
    from ablation.gold import gold_batches
    from interp import hooks

    found = torch.full((len(documents), model.n_layers, model.n_heads), torch.nan)
    points = [hooks.Point("z", layer) for layer in model.attention_layers]
    for batch in gold_batches(documents, tokens=BATCH_TOKENS):
        lengths = [len(documents[place].context) + len(documents[place].target) for place in batch.places]

        def store(point: hooks.Point, z: Tensor, batch: Any = batch, lengths: list[int] = lengths) -> None:
            norms = result_norms(z, model.w_o(point.layer))
            for row, (place, length) in enumerate(zip(batch.places, lengths, strict=True)):
                found[place, point.layer] = norms[row, :length].mean(0).float().cpu()

        with torch.no_grad(), hooks.capture(model, points, store):
            model.run(batch.tokens)
    return found


def result_norms(
    z: Float[Tensor, "batch query head d_value"], w_o: Float[Tensor, "head d_value d_model"]
) -> Float[Tensor, "batch query head"]:
    """|z W_O| of every head and position, in float32 or better."""
    wide = torch.float64 if z.dtype == torch.float64 else torch.float32
    weight, held = w_o.to(z.device, wide), z.to(wide)
    gram = einsum(weight, weight, "h d m, h e m -> h d e")
    return einsum(held, gram, held, "b q h d, h d e, b q h e -> b q h").clamp_min(0).sqrt()
