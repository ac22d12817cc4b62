"""Attribution patching: first-order estimates of what patching a head does, from a few backward passes.

Method 3.4; Nanda 2023, Syed et al. 2024 (arXiv 2310.10348); integrated gradients: Hanna et al. 2024 (arXiv 2403.17806).
1. z of every head on the clean and on the corrupt prompt: what patching would change it by.
2. dm/dz on the corrupt prompt (`attribution`), or its mean over M = 8 inputs between the two prompts' embeddings, at
   their midpoints (j - 1/2) / M (`ig`).
3. The estimate is the sum over the patched positions of (z' - z) · dm/dz.
The answers' own tokens are not interpolated. Left out: estimates for FFNs (patching.py says why).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from einops import einsum, reduce
from jaxtyping import Float
from torch import Tensor, nn

from ablation.patch_effects import WHAT, HeadEffects, PatchQuestion, clean_activations, effects_of
from interp.overflow import refuse_broken_effects

if TYPE_CHECKING:
    from interp.model import HookedModel

MIDPOINTS = 8


def estimated(model: HookedModel, question: PatchQuestion, places: tuple[int, ...], *, method: str) -> HeadEffects:
    """Estimated effects of every head; `by_position` holds each position's part."""
    pair = question.pair
    from_end = [place - len(pair.corrupt) for place in places]
    clean, corrupt = (clean_activations(model, ids, from_end, "z") for ids in (pair.clean, pair.corrupt))
    between = [(j + 0.5) / MIDPOINTS for j in range(MIDPOINTS)] if method == "ig" else [0.0]
    slopes, values = zip(*(_slope(model, question, places, share) for share in between), strict=True)
    slope = torch.stack(slopes).mean(0)
    each = einsum((clean - corrupt).to(slope), slope, "layer head place d, layer head place d -> place layer head")
    outside = [layer for layer in range(model.n_layers) if layer not in model.attention_layers]
    each[:, outside] = torch.nan
    plain = values[0] if method != "ig" else _value_at(model, question, 0.0)
    total = reduce(each, "place layer head -> layer head", "sum")
    refuse_broken_effects(model, WHAT, total, question.prompts)
    return effects_of(model, question, total, places, method=method, corrupt=plain, each=each)  # type: ignore[return-value]


def _slope(
    model: HookedModel, question: PatchQuestion, places: tuple[int, ...], share: float
) -> tuple[Float[Tensor, "layer head place d_value"], float]:
    """dm/dz with the prompt's embeddings that share of the way from corrupt to clean, and m there."""
    with _moved(model, question, share), model.gradients() as found:
        value = _forward(model, question)
        value.backward()
    empty = torch.zeros(len(places), model.n_heads, model.d_value, dtype=torch.float64)
    summed = [
        found.z_grad[layer][:, list(places)].double().sum(0).cpu() if layer in found.z_grad else empty
        for layer in range(model.n_layers)
    ]
    return torch.stack(summed).transpose(1, 2), float(value.detach())


def _value_at(model: HookedModel, question: PatchQuestion, share: float) -> float:
    with torch.no_grad(), _moved(model, question, share):
        return float(_forward(model, question))


def _forward(model: HookedModel, question: PatchQuestion) -> Float[Tensor, ""]:
    """The outcome from whole runs of all paths; a patch would stand in each of them, so their slopes are added."""
    scored = question.scored
    rows = scored.paths()
    logits = model.hf(input_ids=rows.tokens.to(model.device), use_cache=False).logits
    wanted = torch.stack([logits[rows.where[place]] for place in scored.places])
    return question.value(scored.summed(wanted[None])[0])


@contextmanager
def _moved(model: HookedModel, question: PatchQuestion, share: float) -> Iterator[None]:
    """Inside, the embeddings of the prompt lie between corrupt (0) and clean (1); the answers' stay."""
    clean = torch.tensor(question.pair.clean, device=model.device)

    def between(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        if share == 0.0:
            return None
        length = len(clean)
        target = module.forward(clean[None]).detach()
        moved = torch.lerp(output[:, :length], target.expand(len(output), -1, -1).to(output), share)
        return torch.cat([moved, output[:, length:]], dim=1)

    handle = model.hf.get_submodule(model.layout.embed).register_forward_hook(between)
    try:
        yield
    finally:
        handle.remove()
