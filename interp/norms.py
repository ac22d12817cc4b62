"""A norm as a linear map: centring (LayerNorm) and the effective gain, found by probing (METHODS 2.2).

`.weight` is not the gain in every family (Gemma multiplies by 1 + w), so the module is asked: for x of mean zero and
root mean square 1, (norm(x) - norm(-x)) / 2x is the gain, and a bias cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

_PROBE_SCALE = 1e3  # large enough for the norm's epsilon to vanish


@dataclass(frozen=True)
class LinearNorm:
    """x -> gain * (x - mean(x) if centres); the positive scalar 1 / rms is left out."""

    gain: Float[Tensor, " d_model"]
    centres: bool

    def apply_to_rows(self, rows: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """N x for row vectors x."""
        centred = rows - rows.mean(-1, keepdim=True) if self.centres else rows
        return centred * self.gain

    def apply_to_columns(self, columns: Float[Tensor, "d_model column"]) -> Float[Tensor, "d_model column"]:
        """N^T w for column vectors w, so that (N x) · w = x · (N^T w)."""
        scaled = columns * self.gain[:, None]
        return scaled - scaled.mean(0, keepdim=True) if self.centres else scaled


def probe(norm: nn.Module, width: int, *, device: torch.device, dtype: torch.dtype) -> LinearNorm:
    """Gain and centring of a norm module."""
    x = torch.cos(torch.arange(width, dtype=torch.float64) * 1.7 + 0.3)
    x = torch.where(x.abs() < 0.1, x + 0.5, x)
    x = x - x.mean()
    x = x / x.square().mean().sqrt()
    plus, minus = _answer(norm, x, device, dtype), _answer(norm, -x, device, dtype)
    gain = (plus - minus) / (2 * x)
    shifted = _answer(norm, x + 3.0, device, dtype)
    centres = bool((shifted - plus).abs().max() < 0.05 * plus.abs().max())
    return LinearNorm(gain.float().to(device), centres)


def _answer(norm: nn.Module, x: Float[Tensor, " d_model"], device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.no_grad():
        out = norm((x * _PROBE_SCALE).to(device, dtype)[None, None])
    return out.flatten().double().cpu()


def close_to_unit(gain: Float[Tensor, " d_model"]) -> Bool[Tensor, ""]:
    """Whether the gain is 1 everywhere."""
    return (gain - 1).abs().max() < 1e-6
