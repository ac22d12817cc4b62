"""The mask of an attention layer: None when plainly causal, else which (query, key) entries are allowed.

A mask of numbers adds them to the scores: 0 and very low ones say what is allowed, as booleans do; others (ALiBi's, in
Falcon) are a bias.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor


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
    """Which entries are allowed: boolean masks as they are, added ones wherever they are not very low."""
    return mask if mask.dtype == torch.bool else mask >= torch.finfo(mask.dtype).min / 2


def simplest(mask: Tensor | None) -> Tensor | None:
    """A mask of numbers as a boolean one where it holds no bias."""
    if mask is None or mask.dtype == torch.bool:
        return mask
    allowed = as_bool(mask)
    return mask if bool(((mask != 0) & allowed).any()) else allowed


def before_content(handed: Any, used: Tensor | None) -> Bool[Tensor, "batch_or_one one_or_head query key"] | None:
    """What the mask that a layer was handed allows, where the layer uses a narrower one (sparse attention: the top k).

    Causality, windows and padding are in it, what the layer drops by content is not; None where both are the same.
    """
    if used is None or not isinstance(handed, Tensor) or handed.shape[-2:] != used.shape[-2:]:
        return None
    if handed.dim() != 4 or not (handed.dtype == torch.bool or handed.is_floating_point()):
        return None
    allowed = as_bool(handed)
    return None if torch.equal(allowed, as_bool(used)) else allowed


def is_biased(mask: Tensor | None) -> bool:
    """Whether a mask that went through `simplest` adds something to the scores it allows."""
    return mask is not None and mask.dtype != torch.bool


def bias_rows(mask: Tensor | None, start: int, stop: int, keys: int) -> Float[Tensor, "..."] | None:
    """What is added to the scores of the queries start..stop-1 with the first `keys` keys; None for nothing."""
    if mask is None or not is_biased(mask):
        return None
    return mask[:, :, start:stop, :keys]
