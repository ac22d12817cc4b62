"""Everywhere: a block of query rows at a time in plain PyTorch. Serves everything:
soft-capping, values of another width, a mask that holds a bias."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from interp.attention.mask import allowed_rows, bias_rows
from interp.attention.rows import at_least_float32, block_logits, cap

QUERY_BLOCK = 256


def serves(q: Tensor, v: Tensor, *, softcap: float | None, biased: bool = False) -> bool:
    return True


def attend(
    q: Float[Tensor, "batch head query d_head"],
    k: Float[Tensor, "batch kv_head key d_head"],
    v: Float[Tensor, "batch kv_head key d_value"],
    mask: Tensor | None,
    scale: float,
    *,
    softcap: float | None = None,
) -> tuple[Float[Tensor, "batch head query d_value"], Float[Tensor, "batch head query"]]:
    """Output and log-sum-exp."""
    outputs, sums = [], []
    offset = k.shape[2] - q.shape[2]
    for start in range(0, q.shape[2], QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, q.shape[2])
        keys = stop + offset  # what comes later is out of sight in every causal mask
        logits = cap(block_logits(q[:, :, start:stop], k[:, :, :keys]) * scale, softcap)
        bias = bias_rows(mask, start, stop, keys)
        logits = logits if bias is None else logits + bias
        allowed = allowed_rows(mask, start, stop, keys, offset, q.device)
        logits = logits.masked_fill(~allowed, -torch.inf)
        lse = logits.logsumexp(-1)
        lse = lse.masked_fill(~allowed.any(-1), torch.inf)
        outputs.append(weighted(torch.exp(logits - lse[..., None]), v[:, :, :keys]))
        sums.append(lse)
    return torch.cat(outputs, 2).to(v.dtype), torch.cat(sums, 2)


def weighted(
    probabilities: Float[Tensor, "batch head query key"], v: Float[Tensor, "batch kv_head key d_value"]
) -> Float[Tensor, "batch head query d_value"]:
    """Probabilities times values, value heads shared by their group of query heads."""
    rows = probabilities.shape[2]
    grouped = rearrange(probabilities, "b (kv g) q k -> b kv (g q) k", kv=v.shape[1])
    return rearrange(grouped @ at_least_float32(v), "b kv (g q) d -> b (kv g) q d", q=rows)
