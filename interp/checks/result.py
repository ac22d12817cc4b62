"""What a check answers, and how differences are measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import HeadscopeError

if TYPE_CHECKING:
    from interp.model import HookedModel

LENGTH = 16


@dataclass(frozen=True)
class Check:
    """One thing that must hold: its name, whether it did, the largest difference, and what was looked at."""

    name: str
    passed: bool
    difference: float
    detail: str


def short_input(model: HookedModel) -> Int[Tensor, "batch query"]:
    """16 token ids spread over the vocabulary."""
    length = min(LENGTH, model.max_length or LENGTH)
    if length < 4:
        raise HeadscopeError(f"a context of {length} tokens is too short to check anything")
    step = max(1, model.vocab_size // (length + 1))
    return (torch.arange(1, length + 1) * step).remainder(model.vocab_size)[None].to(model.device)


def relative(a: Tensor, b: Tensor) -> float:
    """Largest difference, in units of the spread of the second; infinite where either is not finite."""
    spread = b.double().std().clamp_min(1e-12)
    difference = float((a.double() - b.double()).abs().max() / spread)
    return difference if math.isfinite(difference) else math.inf


def is_precise(model: HookedModel) -> bool:
    """Whether the model computes in float32 or better."""
    return model.dtype in (torch.float32, torch.float64)


def tolerance(model: HookedModel) -> float:
    return 1e-3 if is_precise(model) else 0.2


@contextmanager
def changed(weights: Iterable[Tensor], change: Callable[[], object]) -> Iterator[None]:
    """Change weights in place and put them back, whatever happens."""
    kept = [(weight, weight.detach().clone()) for weight in weights]
    try:
        change()
        yield
    finally:
        for weight, values in kept:
            weight.data.copy_(values)
