"""A number that is no number stops a run where it appears, and is traced to the first place in the model that made it.

In a stored table NaN means that there is no such head; what broke down must never get there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp import hooks
from interp.attention.door import Listener
from interp.attention.rows import AttentionRows
from interp.errors import HeadscopeError

if TYPE_CHECKING:
    from interp.model import HookedModel

ADVICE = "Load the model with dtype float32, and run `headscope doctor`"


def broken(model: HookedModel, what: str, *, document: str, tokens: Sequence[int] = ()) -> HeadscopeError:
    """The error for `what` (the log-likelihood, say) of a document; with its tokens it says where it began."""
    return no_number(model, f"{what} of document {document}", tokens)


def no_number(model: HookedModel, what: str, tokens: Sequence[int] = ()) -> HeadscopeError:
    """The error for a thing in words that is no finite number; with the tokens that were run it says where it began."""
    first = first_overflow(model, tokens) if len(tokens) else ""
    where = f"; it begins in {first}" if first else ""
    return HeadscopeError(f"{what} is no finite number: it overflows {dtype_of(model)}{where}. {ADVICE}")


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


@dataclass
class _BrokenRow(Exception):
    """Where attention is no number; raised out of the forward pass, which is run again to find where that begins."""

    layer: int
    sequence: int
    head: int
    position: int


@contextmanager
def checked_attention(
    model: HookedModel,
    tokens: Int[Tensor, "batch position"],
    listener: Listener,
    *,
    layers: Iterable[int] | None = None,
    names: Sequence[str] = ("the text",),
) -> Iterator[None]:
    """`model.watch_attention` for a run of these tokens without padding, ended by the first row that is no number.

    names: one a sequence, for the error. Raises HeadscopeError that names layer, head, position, sequence and dtype.
    """

    def hear(layer: int, rows: AttentionRows) -> None:
        wrong = (~rows.finite()).nonzero()
        if len(wrong):
            raise _BrokenRow(layer, *wrong[0].tolist())
        listener(layer, rows)

    try:
        with model.watch_attention(hear, layers=layers):
            yield
    except _BrokenRow as found:
        what = f"the attention of head {found.layer}.{found.head} at token {found.position} of {names[found.sequence]}"
        raise no_number(model, what, tokens[found.sequence].tolist()) from None


def refuse_broken_logits(
    model: HookedModel, logits: Float[Tensor, "position vocab"], tokens: Sequence[int], *, start: int = 0
) -> None:
    """Raise HeadscopeError for the first position whose logits give no probabilities.

    start: the position of the first row; tokens: all that were run, to find where it begins.
    """
    wrong = (~logits.logsumexp(-1).isfinite()).nonzero()
    if len(wrong):
        position = start + int(wrong[0])
        raise no_number(model, f"what the model says behind token {position} of the text", tokens)


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
