"""Log-probabilities of chosen tokens, with logits at their positions only.

Unembedding every position costs a quarter of a small model's forward pass, and most of its memory. A hook in front of
the unembedding keeps the wanted positions; whatever the family does behind it (soft-cap, logit scale) is its own code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from interp.training import refuse_dropout

if TYPE_CHECKING:
    from interp.model import HookedModel


@contextmanager
def logits_at(model: HookedModel, rows: Int[Tensor, " pair"], positions: Int[Tensor, " pair"]) -> Iterator[None]:
    """For as long as the context lasts the model gives logits [1 pair vocab], at these (row, position) pairs."""
    refuse_dropout(model.hf)

    def keep(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0]
        return (hidden[rows.to(hidden.device), positions.to(hidden.device)][None], *args[1:])

    handle = model.hf.get_submodule(model.layout.unembed).register_forward_pre_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def target_log_probabilities(
    model: HookedModel,
    tokens: Int[Tensor, "batch query"],
    *,
    rows: Int[Tensor, " pair"],
    positions: Int[Tensor, " pair"],
    targets: Int[Tensor, " pair"],
) -> Float[Tensor, " pair"]:
    """log p(target | what stands before it), read at the position in front of it; at least float32."""
    with logits_at(model, rows, positions):
        logits = model.hf(**model.inputs(tokens)).logits[0]
    precise = logits if logits.dtype.itemsize > 4 else logits.float()
    return -nn.functional.cross_entropy(precise, targets.to(precise.device), reduction="none")
