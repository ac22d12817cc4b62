"""The running check: a model's first log-likelihood and every thousandth after it are computed again by another route.

The engine shares prefixes, packs rows and makes logits at scored positions alone. Here the request runs by itself, from
all the logits the model gives, and must come out the same. What holds at load (the self-check) is seen to hold on the
documents that are scored, at a thousandth of their cost. Removed components are removed here too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ablation.engine.prefix_plan import Request
from ablation.engine.sharing import plain_log_likelihood
from ablation.names import RECHECK_EVERY
from interp.errors import HeadscopeError

if TYPE_CHECKING:
    from interp.model import HookedModel

WITHIN = {torch.float64: 1e-6, torch.float32: 1e-2}  # nats; rounding grows with the length of a context
HALF = 1.0  # in half precision, a token's experts may change with the order of a sum
_KEPT = "_headscope_scored"


def recheck(
    model: HookedModel,
    requests: Sequence[Request],
    names: Sequence[str],
    scores: Float[Tensor, " request"],
    *,
    gates: Callable[[int], AbstractContextManager[Any]],
) -> list[int]:
    """Compute again those that are due, and return which; `gates` are those of a request. Raises HeadscopeError."""
    before = vars(model.hf).get(_KEPT, 0)
    vars(model.hf)[_KEPT] = before + len(requests)
    due = list(range(-before % RECHECK_EVERY, len(requests), RECHECK_EVERY))
    for number in due:
        with gates(number):
            again = float(plain_log_likelihood(model, requests[number]))
        limit = WITHIN.get(model.dtype, HALF) * max(1.0, abs(again) / 10)
        if not abs(again - float(scores[number])) <= limit:
            raise HeadscopeError(
                f"the log-likelihood of document {names[number]} is {float(scores[number]):.6f} where prefixes are "
                f"shared and {again:.6f} when it is computed by itself, more than {limit:.2g} apart: nothing computed "
                "here can be trusted. Please report it, with the model and its family; run `headscope doctor`"
            )
    return due
