"""The mask of an attention layer: None when plainly causal, else which (query, key) entries are allowed."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import RefusedModelError


def boolean_mask(*args: Any, **kwargs: Any) -> Bool[Tensor, "batch one query key"] | None:
    """Hugging Face's own boolean mask; None lets a kernel use its causal flag.

    Registered beside our attention function: without it padding and windows would be dropped in silence.
    """
    from transformers.masking_utils import sdpa_mask

    return sdpa_mask(*args, **kwargs)


def allowed_rows(
    mask: Tensor | None, start: int, stop: int, keys: int, offset: int = 0, device: torch.device | None = None
) -> Bool[Tensor, "batch_or_one one query key"]:
    """Which of the first `keys` keys the queries start..stop-1 may see; `offset` = keys cached before query 0."""
    if mask is None:
        rows = torch.arange(start + offset, stop + offset, device=device)
        return (torch.arange(keys, device=device) <= rows[:, None])[None, None]
    return as_bool(mask[:, :, start:stop, :keys])


def allowed_pairs(mask: Tensor | None, queries: Tensor, keys: Tensor) -> Bool[Tensor, "..."]:
    """Which of these (query, key) pairs are allowed, as [batch one pair]."""
    if mask is None:
        return (keys <= queries)[None, None]
    return as_bool(mask[:, :, queries, keys])


def additive(allowed: Bool[Tensor, "..."], dtype: torch.dtype) -> Float[Tensor, "..."]:
    """0 where allowed, minus infinity elsewhere."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, -torch.inf)


def as_bool(mask: Tensor) -> Bool[Tensor, "..."]:
    """Boolean masks as they are; additive ones must hold 0 (allowed) and very low numbers, and no bias in between."""
    if mask.dtype == torch.bool:
        return mask
    allowed = mask == 0
    if not bool((allowed | (mask < torch.finfo(mask.dtype).min / 2)).all()):
        raise RefusedModelError("the attention mask of this family holds a bias, which headscope does not read")
    return allowed
