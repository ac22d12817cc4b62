"""Text to token ids and back, as a model takes and gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UsageError, quoted
from interp.token_display import token_texts
from interp.tokenizer import read_text, tokenizer_of

if TYPE_CHECKING:
    from interp.model import HookedModel

Tokens = Int[Tensor, "batch query"]
Ids = Sequence[int] | Int[Tensor, "query"] | Tokens


def to_tokens(model: HookedModel, text: str) -> Tokens:
    """A text as the tokenizer reads it, with what it puts in front by itself: [1 query], on the model's device.

    Raises UsageError for a text without tokens, and where the model has no tokenizer.
    """
    ids: list[int] = read_text(tokenizer_of(model, f"the text {quoted(text, longest=40)}"), text, verbose=False)
    if not ids:
        raise UsageError("the text is empty, and the tokenizer puts nothing in front: give at least one token")
    return torch.tensor([ids], device=model.device)


def ids_of(model: HookedModel, given: str | Ids) -> list[int]:
    """The ids of one text, or of one sequence that is ids already."""
    if isinstance(given, str):
        return list(map(int, to_tokens(model, given)[0].tolist()))
    if not isinstance(given, Tensor):
        return [int(token) for token in given]
    if given.dim() > 2 or (given.dim() == 2 and len(given) != 1):
        raise UsageError(f"one sequence of tokens is wanted, [query] or [1 query], got shape {tuple(given.shape)}")
    return list(map(int, given.flatten().tolist()))


def to_str_tokens(model: HookedModel, given: str | Ids) -> list[str]:
    """Each token of a text, or of a sequence of ids, as text; as a number where the model has no tokenizer."""
    return list(token_texts(model.tokenizer, ids_of(model, given)))


def to_string(model: HookedModel, given: Ids) -> str:
    """The text of a sequence of ids."""
    tokenizer = tokenizer_of(model, "the text of these ids")
    return str(tokenizer.decode(ids_of(model, given), clean_up_tokenization_spaces=False))
