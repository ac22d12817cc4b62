"""A number that is no number stops a run where it appears, and is traced to the first place in the model that made it.

In a stored table NaN means that there is no such head; what broke down must never get there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
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
