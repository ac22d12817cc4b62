"""The running check of log-likelihoods: the first and every thousandth are computed again by another route.

The engine shares prefixes, packs rows, resumes at blocks and makes logits at scored positions alone. Here the request
runs by itself, from all the logits the model gives, and must come out the same. Removed components are removed here
too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from ablation.engine.prefix_plan import Request
from ablation.engine.sharing import plain_log_likelihood
from interp.rechecks import EVERY, due, refuse_unlike

if TYPE_CHECKING:
    from interp.model import HookedModel


class Case(NamedTuple):
    """One log-likelihood: what it is called, its request, and the gates over it."""

    name: str
    request: Request
    gates: AbstractContextManager[Any]


def recheck(
    model: HookedModel,
    scores: Float[Tensor, " request"],
    case: Callable[[int], Case],
    *,
    way: str = "where prefixes are shared",
) -> list[int]:
    """Compute again those that are due, and return which. Raises HeadscopeError."""
    chosen = due(model, "log-likelihoods", len(scores), EVERY)
    for number in chosen:
        name, request, gates = case(number)
        with gates:
            again = float(plain_log_likelihood(model, request))
        refuse_unlike(model, f"the log-likelihood of document {name}", float(scores[number]), again, way=way)
    return chosen
