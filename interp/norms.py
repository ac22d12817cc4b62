"""A norm as a linear map: centring (LayerNorm) and the effective gain, found by probing (Method 2.2).

`.weight` is not the gain in every family (Gemma multiplies by 1 + w), so the module is asked: for x of mean zero and
root mean square 1, (norm(x) - norm(-x)) / 2x is the gain, and a bias cancels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

_SAME_DIRECTION = 0.999
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
    x = _balanced(width)
    plus, minus = _answer(norm, x, device, dtype), _answer(norm, -x, device, dtype)
    gain = (plus - minus) / (2 * x)
    shifted = _answer(norm, x + 3.0, device, dtype)
    centres = bool((shifted - plus).abs().max() < 0.05 * plus.abs().max())
    return LinearNorm(gain.float().to(device), centres)


def is_read_by(norm: nn.Module, unembed: nn.Module, run: Callable[[], object]) -> bool:
    """Whether `unembed` reads what `norm` last put out, up to a positive factor; `run` makes both of them run."""
    seen: dict[str, Tensor] = {}
    with ExitStack() as stack, torch.no_grad():
        stack.callback(norm.register_forward_hook(lambda module, args, out: seen.update(written=out)).remove)
        stack.callback(unembed.register_forward_pre_hook(lambda module, args: seen.update(read=args[0])).remove)
        run()
    if seen.keys() != {"written", "read"} or seen["written"].shape != seen["read"].shape:
        return False
    written, read = (seen[name].double().cpu() for name in ("written", "read"))
    product, sizes = (written * read).sum(-1), written.norm(dim=-1) * read.norm(dim=-1)
    # a padding token's stream may be 0, and has no direction
    return bool((product >= _SAME_DIRECTION * sizes).all() and (product > 0).any())


def _balanced(width: int) -> Float[Tensor, " d_model"]:
    """Numbers of mean 0 and root mean square 1, none of them near 0."""
    x = torch.ones(width, dtype=torch.float64)
    x[1::2] = -1.0
    x = x - x.mean()
    return x / x.square().mean().sqrt()


def _answer(norm: nn.Module, x: Float[Tensor, " d_model"], device: torch.device, dtype: torch.dtype) -> Tensor:
    """The norm's answer, in float64 where its weights can be copied (half precision would round the gain)."""
    if not any(parameter.is_meta for parameter in norm.parameters()):
        norm, dtype = copy.deepcopy(norm).double(), torch.float64
    with torch.no_grad():
        out = norm((x * _PROBE_SCALE).to(device, dtype)[None, None])
    return out.flatten().double().cpu()
