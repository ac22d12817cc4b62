"""Runs that remove nothing below a block share what stands below it (Method 3.2, as knock-outs do).

Removing components of block k and later ones changes nothing in front of block k. The first run of some requests
keeps the residual stream in front of that block, forward pass by forward pass; later runs of the same requests start
from it. Sets of induction heads and their layer-matched controls lie in the same later layers of a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp import hooks
from interp.errors import HeadscopeError
from interp.masks import FFNMask, HeadMask
from interp.resume import can_resume, resumed

if TYPE_CHECKING:
    from interp.model import HookedModel

ROOM = 256 << 20  # bytes of one set of requests
NOTHING = 1 << 30


@dataclass
class Below:
    """The residual stream in front of block `layer`, of the requests of one call; room: bytes that it may take."""

    layer: int
    room: int = ROOM
    complete: bool = field(default=False, init=False)
    _held: list[tuple[Tensor, Tensor]] = field(default_factory=list, init=False, repr=False)
    _size: int = field(default=0, init=False, repr=False)

    def serves(self, model: HookedModel, heads: object, ffns: object) -> bool:
        """Whether a run with these masks may use it or fill it."""
        return self._size <= self.room and 0 < self.layer <= first_removed(heads, ffns) and can_resume(model)

    @contextmanager
    def run(self) -> Iterator[None]:
        """Around a whole run: what it kept is complete when it has ended, and not before."""
        if not self.complete:
            self._held.clear()
            self._size = 0
        yield
        if self._size > self.room:
            self._held.clear()
        else:
            self.complete = True

    def around(
        self, model: HookedModel, number: int, tokens: Int[Tensor, "batch query"]
    ) -> AbstractContextManager[None]:
        """Around forward pass `number` of a run: begin at the block, or keep what enters it."""
        if not self.complete:
            return self._keeping(model, tokens) if self._size <= self.room else nullcontext()
        if number >= len(self._held) or not torch.equal(self._held[number][0], tokens):
            raise HeadscopeError(
                "the requests are not those whose residual stream was kept: give them a `Below` of their own"
            )
        return resumed(model, self.layer, self._held[number][1])

    @contextmanager
    def _keeping(self, model: HookedModel, tokens: Int[Tensor, "batch query"]) -> Iterator[None]:
        def keep(point: hooks.Point, residual: Float[Tensor, "batch query d_model"]) -> None:
            self._size += residual.numel() * residual.element_size()
            if self._size <= self.room:
                self._held.append((tokens, residual))
            else:
                self._held.clear()

        with hooks.capture(model, [hooks.Point("resid_pre", self.layer)], keep):
            yield


def first_removed(heads: object, ffns: object) -> int:
    """The first layer in which masks remove anything; `NOTHING` where none does, 0 where that can't be told."""
    firsts = [NOTHING]
    for mask, dimensions in ((heads, 2), (ffns, 1)):
        values = mask.values if isinstance(mask, HeadMask | FFNMask) else mask
        if not isinstance(values, Tensor):
            continue
        if values.dim() != dimensions:  # a mask for each sequence
            return 0
        touched = (values != 1).reshape(len(values), -1).any(1)
        firsts.append(int(touched.int().argmax()) if bool(touched.any()) else NOTHING)
    return min(firsts)
