"""The running check: a little of what is computed a fast way is computed again a plain one, and has to agree.

What holds at load (the self-check) is seen to hold on what is really measured, at a hundredth of its cost or less: the
first of a model's results of a kind is due, and every so-manieth after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.errors import HeadscopeError

if TYPE_CHECKING:
    from interp.model import HookedModel

EVERY = 1000
PROMPTS_EVERY = 100  # of prompts under patches: one that runs whole costs as much as all of its patches
WITHIN = {"torch.float64": 1e-6, "torch.float32": 1e-2}  # nats; rounding grows with the length of a context
HALF = 1.0  # in half precision, a token's experts may change with the order of a sum
_KEPT = "_headscope_computed"


def due(model: HookedModel, kind: str, count: int, every: int) -> list[int]:
    """Which of the next `count` results of this kind are to be computed again."""
    kept: dict[str, int] = vars(model.hf).setdefault(_KEPT, {})
    before = kept.get(kind, 0)
    kept[kind] = before + count
    return list(range(-before % every, count, every))


def nth(model: HookedModel, kind: str) -> int:
    """How many results of this kind the model has given."""
    kept: dict[str, int] = vars(model.hf).get(_KEPT, {})
    return kept.get(kind, 0)


def refuse_unlike(model: HookedModel, what: str, found: float, again: float, *, way: str) -> None:
    """Raise HeadscopeError where a log-likelihood that was computed this way is another by itself."""
    limit = WITHIN.get(str(model.dtype), HALF) * max(1.0, abs(again) / 10)
    if not abs(again - found) <= limit:
        raise HeadscopeError(
            f"{what} is {found:.6f} {way} and {again:.6f} when it is computed by itself, more than {limit:.2g} apart: "
            "nothing computed here can be trusted. Please report it, with the model and its family; run `headscope "
            "doctor`"
        )
