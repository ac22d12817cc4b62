"""A number that is no number stops a run where it appears, and is traced to the first place in the model that made it.

In a stored table NaN means that there is no such head; what broke down must never get there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp import hooks
from interp.errors import HeadscopeError

if TYPE_CHECKING:
    from interp.model import HookedModel

ADVICE = "Load the model with dtype float32, and run `headscope doctor`"


def broken(model: HookedModel, what: str, *, document: str, tokens: Sequence[int] = ()) -> HeadscopeError:
    """The error for `what` (the log-likelihood, say) of a document; with its tokens it says where it began."""
    first = first_overflow(model, tokens) if len(tokens) else ""
    where = f"; it begins in {first}" if first else ""
    return HeadscopeError(
        f"{what} of document {document} is no finite number: it overflows {dtype_of(model)}{where}. {ADVICE}"
    )


def refuse_broken_effects(
    model: HookedModel, what: str, effects: Float[Tensor, "layer ..."], prompts: Iterable[Sequence[int]]
) -> None:
    """Raise HeadscopeError for the first head ([layer head]) or FFN ([layer]) that exists and has no finite effect.

    what: of which number; prompts: the tokens that were run, to find where it begins.
    """
    there = model.attention_layers if effects.dim() == 2 else model.ffn_layers
    wrong = [place for place in (~effects.isfinite()).nonzero().tolist() if place[0] in there]
    if wrong:
        raise broken_part(model, what, wrong[0], prompts, others=len(wrong) - 1)


def broken_part(
    model: HookedModel, what: str, place: Sequence[int], prompts: Iterable[Sequence[int]], *, others: int = 0
) -> HeadscopeError:
    """The error for `what` of a head (layer, head) or FFN (layer,); with the prompts it says where it began."""
    first = next((found for tokens in prompts if (found := first_overflow(model, tokens))), "")
    named = f"head {place[0]}.{place[1]}" if len(place) == 2 else f"the FFN of layer {place[0]}"
    more = f", and {others} others with it" if others else ""
    where = f"; it begins in {first}" if first else ""
    return HeadscopeError(
        f"{what} of {named} is no finite number: it overflows {dtype_of(model)}{more}{where}. {ADVICE}"
    )


def dtype_of(model: HookedModel) -> str:
    return str(model.dtype).removeprefix("torch.")


def first_overflow(model: HookedModel, tokens: Sequence[int]) -> str:
    """The first place that is not finite when these tokens are run, in words; empty where only the logits are not."""
    found: list[str] = []

    def look(point: hooks.Point, value: Tensor) -> None:
        bad = ~value.isfinite()
        if not found and bool(bad.any()):
            found.append(_named(point, bad))

    points = [hooks.Point("resid_post", layer) for layer in range(model.n_layers)]
    points += [hooks.Point("z", layer) for layer in model.attention_layers]
    points += [hooks.Point("mlp_out", layer) for layer in model.ffn_layers]
    ids = torch.tensor([list(tokens)], device=model.device)
    with torch.no_grad(), hooks.capture(model, points, look):
        model.hf(input_ids=ids, use_cache=False)
    return found[0] if found else ""


def _named(point: hooks.Point, bad: Bool[Tensor, "batch position *rest"]) -> str:
    if point.name == "z":
        return f"head {point.layer}.{int(bad.nonzero()[0, 2])}"
    if point.name == "mlp_out":
        return f"the FFN of layer {point.layer}"
    return f"the residual stream behind layer {point.layer}"
