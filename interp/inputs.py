"""From tokens and a mask to the arguments of the Hugging Face model."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from interp.errors import UsageError
from interp.tokenizing import Given, to_tokens, token_ids
from interp.training import refuse_dropout

if TYPE_CHECKING:
    from interp.model import HookedModel


def arguments(model: HookedModel, given: Given, attention_mask: Any) -> dict[str, Any]:
    """Positions are counted from the first real token: GPT-2 and GPT-Neo are wrong under left padding without them."""
    refuse_dropout(model.hf)
    tokens = read(model, given)
    if attention_mask is not None and not isinstance(attention_mask, Tensor):
        attention_mask = _as_mask(attention_mask)
    refuse(model, tokens, attention_mask)
    found: dict[str, Any] = {"input_ids": tokens.to(model.device), "use_cache": False}
    if attention_mask is not None and not bool(attention_mask.all()):
        mask = attention_mask.to(model.device)
        found["attention_mask"] = mask
        if takes_positions(model):
            found["position_ids"] = (mask.long().cumsum(1) - 1).clamp_min(0)
    return found


def read(model: HookedModel, given: Given) -> Tensor:
    """The ids of a text, or those that are given. Raises UsageError for what is neither."""
    return to_tokens(model, given) if isinstance(given, str) else token_ids(given)


def _as_mask(given: Any) -> Tensor:
    try:
        return torch.tensor(np.asarray(given))
    except (TypeError, ValueError) as error:
        raise UsageError("the attention mask must be a tensor, or an array or lists of equal length") from error


def takes_positions(model: HookedModel) -> bool:
    """Whether the Hugging Face model can be told where each token stands."""
    return "position_ids" in inspect.signature(model.hf.forward).parameters


def refuse(model: HookedModel, tokens: Tensor, attention_mask: Tensor | None) -> None:
    """Refuse what would fail deep inside the model, or run and mean nothing."""
    if tokens.dim() != 2 or 0 in tokens.shape:
        raise UsageError(f"tokens must be [batch query] with at least one of each, got shape {tuple(tokens.shape)}")
    if model.max_length is not None and tokens.shape[1] > model.max_length:
        raise UsageError(f"{tokens.shape[1]} tokens are more than the model's context of {model.max_length}")
    if tokens.device.type == "cpu" and not 0 <= int(tokens.min()) <= int(tokens.max()) < model.vocab_size:
        raise UsageError(
            f"token ids must lie between 0 and {model.vocab_size - 1}, got {int(tokens.min())} to {int(tokens.max())}"
        )
    if attention_mask is None:
        return
    if attention_mask.shape != tokens.shape:
        raise UsageError(
            f"the attention mask must have the tokens' shape {tuple(tokens.shape)}, got {tuple(attention_mask.shape)}"
        )
    if not bool(((attention_mask == 0) | (attention_mask == 1)).all()):
        raise UsageError("the attention mask holds 1 for a real token and 0 for padding, got other values")
