"""CUDA: flex_attention, which can return its log-sum-exp (on the CPU only uncompiled: that is how it is tested)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attention.mask import allowed_rows


def serves(q: Tensor, v: Tensor, *, softcap: float | None, biased: bool = False) -> bool:
    return not biased and softcap is None and q.shape[-1] == v.shape[-1]


def attend(
    q: Float[Tensor, "batch head query d_head"],
    k: Float[Tensor, "batch kv_head key d_head"],
    v: Float[Tensor, "batch kv_head key d_value"],
    mask: Tensor | None,
    scale: float,
    **_: Any,
) -> tuple[Float[Tensor, "batch head query d_value"], Float[Tensor, "batch head query"]]:
    """Output and log-sum-exp."""
    from torch.nn.attention.flex_attention import AuxRequest, create_block_mask

    length, device = q.shape[2], q.device.type
    if mask is None:
        blocks = create_block_mask(lambda b, h, i, j: i >= j, None, None, length, length, device=device)
        empty = None
    else:
        allowed = allowed_rows(mask, 0, length, k.shape[2]).expand(q.shape[0], -1, -1, -1)
        size = (q.shape[0], None, length, k.shape[2])
        blocks = create_block_mask(lambda b, h, i, j: allowed[b, 0, i, j], *size, device=device)
        empty = ~allowed.any(-1)
    output, aux = _kernel(device)(
        q, k, v, block_mask=blocks, scale=scale, enable_gqa=q.shape[1] != k.shape[1], return_aux=AuxRequest(lse=True)
    )
    lse = aux.lse
    if empty is not None:
        output, lse = output.masked_fill(empty[..., None], 0.0), lse.masked_fill(empty, torch.inf)
    return output, lse


@lru_cache
def _kernel(device: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if device == "cuda" else flex_attention
