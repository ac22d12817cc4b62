"""Text to token ids and back, as a model takes and gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UsageError, quoted
from interp.token_display import token_texts
from interp.tokenizer import read_text, tokenizer_of

if TYPE_CHECKING:
    from interp.model import HookedModel

Tokens = Int[Tensor, "batch query"]
Ids = Sequence[int] | Int[Tensor, "query"] | Tokens | Int[np.ndarray, "query"] | Int[np.ndarray, "batch query"]
# Tokens as a person may give them to a run: a text, or ids [batch query] as a tensor, an array or nested lists.
Given = Tokens | str | Int[np.ndarray, "batch query"] | Sequence[Sequence[int]]
_RUN = (torch.int64, torch.int32)  # what embeddings take


def to_tokens(model: HookedModel, text: str) -> Tokens:
    """A text as the tokenizer reads it, with what it puts in front by itself: [1 query], on the model's device.

    Raises UsageError for a text without tokens, and where the model has no tokenizer.
    """
    ids: list[int] = read_text(tokenizer_of(model, f"the text {quoted(text, longest=40)}"), text, verbose=False)
    if not ids:
        raise UsageError("the text is empty, and the tokenizer puts nothing in front: give at least one token")
    return torch.tensor([ids], device=model.device)


def token_ids(given: Any) -> Tensor:
    """Ids as a tensor, from a tensor, an array or lists of equal length. Raises UsageError for what is no whole number.

    A tensor stays on its device.
    """
    ids = given if isinstance(given, Tensor) else _from_lists(given)
    if ids.dtype in _RUN:
        return ids
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise UsageError(f"token ids are whole numbers, got {ids.dtype}: give a tensor of torch.long, [batch query]")
    return ids.long()


def _from_lists(given: Any) -> Tensor:
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of unlike length, a tensor on another device
        raise UsageError(f"these token ids make no table [batch query]: give rows of equal length ({error})") from error
    if array.size and array.dtype.kind not in "iu":
        raise UsageError(
            f"token ids are whole numbers, got {array.dtype} from a {type(given).__name__}: give a text, or ids "
            "[batch query]"
        )
    return torch.from_numpy(array.astype(np.int64))


def ids_of(model: HookedModel, given: str | Ids) -> list[int]:
    """The ids of one text, or of one sequence that is ids already."""
    if isinstance(given, str):
        return list(map(int, to_tokens(model, given)[0].tolist()))
    ids = token_ids(given)
    if ids.dim() not in (1, 2) or (ids.dim() == 2 and len(ids) != 1):
        raise UsageError(f"one sequence of tokens is wanted, [query] or [1 query], got shape {tuple(ids.shape)}")
    return list(map(int, ids.flatten().tolist()))


def to_str_tokens(model: HookedModel, given: str | Ids) -> list[str]:
    """Each token of a text, or of a sequence of ids, as text; as a number where the model has no tokenizer."""
    return list(token_texts(model.tokenizer, ids_of(model, given)))


def to_string(model: HookedModel, given: Ids) -> str:
    """The text of a sequence of ids."""
    tokenizer = tokenizer_of(model, "the text of these ids")
    return str(tokenizer.decode(ids_of(model, given), clean_up_tokenization_spaces=False))
