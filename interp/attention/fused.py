"""CPU: torch's flash kernel returns the row-wise log-sum-exp beside the output."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attention.mask import additive, allowed_rows, bias_rows

MASKED_BLOCK = 256


def serves(q: Tensor, v: Tensor, *, softcap: float | None, biased: bool = False) -> bool:
    return q.device.type == "cpu" and softcap is None and q.shape[-1] == v.shape[-1]


def attend(
    q: Float[Tensor, "batch head query d_head"],
    k: Float[Tensor, "batch kv_head key d_head"],
    v: Float[Tensor, "batch kv_head key d_head"],
    mask: Tensor | None,
    scale: float,
    **_: Any,
) -> tuple[Float[Tensor, "batch head query d_head"], Float[Tensor, "batch head query"]]:
    """Output and log-sum-exp; plainly causal in one call, any other mask in blocks of rows (memory stays linear)."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    if mask is None:
        output, lse = kernel(q, k, v, 0.0, True, scale=scale)
        return output, lse
    outputs, sums = [], []
    for start in range(0, q.shape[2], MASKED_BLOCK):
        rows = q[:, :, start : start + MASKED_BLOCK]
        stop = start + rows.shape[2]  # keys from here on are out of sight in every causal mask
        allowed = allowed_rows(mask, start, stop, stop)
        added, bias = additive(allowed, q.dtype), bias_rows(mask, start, stop, stop)
        added = added if bias is None else added + bias
        output, lse = kernel(rows, k[:, :, :stop], v[:, :, :stop], 0.0, False, attn_mask=added, scale=scale)
        empty = ~allowed.any(-1)  # the kernel answers nonsense for a row that may see nothing
        outputs.append(output.masked_fill(empty[..., None], 0.0))
        sums.append(lse.masked_fill(empty, torch.inf))
    return torch.cat(outputs, 2), torch.cat(sums, 2)
