"""Rows of many patches in one sweep over the blocks: each joins where its patch begins, and is changed there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp import hooks
from interp.patching import Patch

if TYPE_CHECKING:
    from interp.model import HookedModel


@dataclass(frozen=True)
class Joining:
    """Rows that start at different blocks: of the patches, in order, `started[block]` run in that block."""

    residuals: Sequence[Float[Tensor, "path query d_model"]]
    started: Sequence[int]

    @contextmanager
    def held(self, model: HookedModel, first: int) -> Iterator[None]:
        """Stand in front of each block from `first` on, before any other hook there."""
        with ExitStack() as stack:
            for layer in range(first, model.n_layers):
                block, join = model.layout.block(model.hf, layer), partial(self._join, layer, layer == first)
                handle = block.register_forward_pre_hook(join, with_kwargs=True, prepend=True)
                stack.callback(handle.remove)
            yield

    def _join(
        self, layer: int, first: bool, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        residual, now = self.residuals[layer], self.started[layer]
        before = 0 if first else self.started[layer - 1]
        hidden = args[0] if args else kwargs["hidden_states"]
        new = residual.to(hidden).repeat(now - before, 1, 1)
        hidden = torch.cat([hidden, new]) if before else new
        total, now = (count * len(residual) for count in (self.started[-1], now))
        args, kwargs = _sliced(args[1:], total, now), _sliced(kwargs, total, now)
        if "hidden_states" in kwargs:
            return args, {**kwargs, "hidden_states": hidden}
        return (hidden, *args), kwargs


def _sliced(value: Any, total: int, now: int) -> Any:
    """Masks and positions of the rows that have started; what is no tensor over rows stays."""
    if isinstance(value, Tensor):
        return value[:now] if value.dim() > 1 and len(value) == total and now < total else value
    if isinstance(value, tuple | list):
        return type(value)(_sliced(part, total, now) for part in value)
    if type(value) is dict:
        return {name: _sliced(part, total, now) for name, part in value.items()}
    return value


def changes_of(patches: Sequence[Patch], positions: list[int], each: int) -> Iterator[tuple[hooks.Point, hooks.Edit]]:
    """The places that patches change, each with all rows' values for it."""
    queries = torch.tensor(positions)
    for layer in sorted({layer for patch in patches for layer in patch.layers}):
        of_heads = [(n, h, v) for n, patch in enumerate(patches) for (at, h), v in patch.heads.items() if at == layer]
        if of_heads:
            rows, heads, values = zip(*of_heads, strict=True)
            change = partial(_put_in, torch.tensor(rows), torch.tensor(heads), torch.stack(values), queries, each)
            yield hooks.Point("z", layer), change
        for name in ("streams", "ffns"):
            new = [(n, getattr(patch, name)[layer]) for n, patch in enumerate(patches) if layer in getattr(patch, name)]
            if new:
                rows, values = zip(*new, strict=True)
                change = partial(_put_in, torch.tensor(rows), None, torch.stack(values), queries, each)
                yield hooks.Point({"streams": "resid_pre", "ffns": "mlp_out"}[name], layer), change


def _put_in(
    patches: Tensor, heads: Tensor | None, values: Tensor, queries: Tensor, each: int, value: Tensor
) -> Float[Tensor, "row query ..."]:
    """`values` [change position width] in all rows of these patches."""
    changed = value.clone().unflatten(0, (-1, each))
    where = [patches[:, None, None], torch.arange(each)[None, :, None], queries[None, None, :]]
    where += [] if heads is None else [heads[:, None, None]]
    changed[tuple(index.to(value.device) for index in where)] = values.to(value)[:, None]
    return changed.flatten(0, 1)
