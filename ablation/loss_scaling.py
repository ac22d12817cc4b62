"""Gradients in float16: the loss is multiplied so that small ones do not vanish, and the sums are divided again.

Micikevicius et al. 2018, "Mixed precision training", section 3.2 (arXiv 1710.03740).
1. Multiply the loss by a power of two, so that scaling itself rounds nothing.
2. Where a gradient overflows, take a smaller power and run the batch again; it stays for the batches that follow.
3. Divide the sums. What overflows at 1 is the model's own, and is refused by whoever stores it.
Other types have float32's range: the factor is 1. Left out: raising the factor again (nothing is trained here).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from ablation.gate_gradients import GateSums

POWERS = (15, 12, 9, 6, 3, 0)  # 2^16 would lift a slope of 1 beyond 65,504
Ran = TypeVar("Ran")


@dataclass
class LossScaling:
    """The factors still to be tried, for one call's batches."""

    dtype: torch.dtype
    powers: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.powers = list(POWERS) if self.dtype is torch.float16 else [0]

    def run(self, backward: Callable[[float], tuple[GateSums, Ran]]) -> tuple[GateSums, Ran]:
        """`backward(factor)` differentiates that many times the loss; its sums come back as if it were once."""
        while True:
            factor = 2.0 ** self.powers[0]
            sums, found = backward(factor)
            if len(self.powers) == 1 or sums.finite():
                return sums.divided(factor), found
            del self.powers[0]
