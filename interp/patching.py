"""Patching: other values for heads and FFNs at chosen positions (Method 3.4).

What a patch replaces is what gates remove: z where it enters the output projection, and what an FFN adds to the
residual stream. It stands as long as its context lasts; `patched_rows.py` gives the same numbers for many patches of
one prompt at a small part of the price.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from torch import Tensor

from interp import hooks
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.model import HookedModel

_HELD = "_headscope_patched_by_place"


@dataclass(frozen=True, eq=False)
class Patch:
    """Values that stand in for components: [position d_value] for a (layer, head), [position d_model] for an FFN.

    streams: for the residual stream that enters a block, [position d_model].
    """

    heads: Mapping[tuple[int, int], Tensor] = field(default_factory=dict)
    ffns: Mapping[int, Tensor] = field(default_factory=dict)
    streams: Mapping[int, Tensor] = field(default_factory=dict)

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """The blocks that it changes, ascending."""
        return tuple(sorted({layer for layer, _ in self.heads} | set(self.ffns) | set(self.streams)))


@contextmanager
def patched(model: HookedModel, patch: Patch, positions: Sequence[int] | None = None) -> Iterator[None]:
    """Hold a patch; positions count from 0, or back from the end of the tokens that run; None: all of them.

    Raises UsageError for a head or an FFN that does not exist, and for values of another width or number of positions.
    """
    check(model, patch, None if positions is None else len(positions))
    with ExitStack() as stack:
        if positions is not None:
            stack.enter_context(_by_place(model))
        for layer in patch.layers:
            heads = {head: value for (where, head), value in patch.heads.items() if where == layer}
            if heads:
                stack.enter_context(hooks.edit(model, hooks.Point("z", layer), partial(_heads, heads, positions)))
            for name, values in (("resid_pre", patch.streams), ("mlp_out", patch.ffns)):
                if layer in values:
                    change = partial(_written, values[layer], positions)
                    stack.enter_context(hooks.edit(model, hooks.Point(name, layer), change))
        yield


@contextmanager
def _by_place(model: HookedModel) -> Iterator[None]:
    """Have it known that what runs is changed at places in a row."""
    told = vars(model.hf)
    told[_HELD] = told.get(_HELD, 0) + 1
    try:
        yield
    finally:
        told[_HELD] -= 1


def refuse_by_place(model: HookedModel) -> None:
    """Raises UsageError while a patch at positions is held: documents share rows, or are padded, and would be hit
    elsewhere.
    """
    if vars(model.hf).get(_HELD):
        raise UsageError(
            "a patch at positions is held while documents are scored, which share rows: it would fall on other places "
            "than in a text alone. Run one text under it (model.run), or give documents to ablation.patch"
        )


def check(model: HookedModel, patch: Patch, positions: int | None) -> None:
    """Refuse what the model does not have, and values of another shape."""
    for (layer, head), value in patch.heads.items():
        if layer not in model.attention_layers or not 0 <= head < model.n_heads:
            raise UsageError(
                f"head {layer}.{head} does not exist: the model has heads 0-{model.n_heads - 1} in layers "
                f"{model.attention_layers[0]}-{model.attention_layers[-1]}"
            )
        _check_value(f"head {layer}.{head}", value, model.d_value, positions)
    for layer, value in patch.ffns.items():
        if layer not in model.ffn_layers:
            raise UsageError(f"layer {layer} has no FFN that can be patched")
        _check_value(f"the FFN of layer {layer}", value, model.d_model, positions)
    for layer, value in patch.streams.items():
        if not 0 <= layer < model.n_layers:
            raise UsageError(f"block {layer} does not exist: the model has blocks 0-{model.n_layers - 1}")
        _check_value(f"the stream in front of block {layer}", value, model.d_model, positions)


def _check_value(name: str, value: Tensor, width: int, positions: int | None) -> None:
    if value.dim() != 2 or value.shape[1] != width or positions not in (None, len(value)):
        wanted = f"[{'position' if positions is None else positions}, {width}]"
        raise UsageError(f"the values for {name} must have shape {wanted}, got {list(value.shape)}")


def _heads(values: Mapping[int, Tensor], positions: Sequence[int] | None, z: Tensor) -> Tensor:
    z = z.clone()
    places = _places(positions, z.shape[1])
    for head, value in values.items():
        z[:, places, head] = _fitted(value, len(places), z)
    return z


def _written(value: Tensor, positions: Sequence[int] | None, output: Tensor) -> Tensor:
    output = output.clone()
    places = _places(positions, output.shape[1])
    output[:, places] = _fitted(value, len(places), output)
    return output


def _places(positions: Sequence[int] | None, length: int) -> list[int]:
    wanted = list(range(length)) if positions is None else list(positions)
    beyond = [place for place in wanted if not -length <= place < length]
    if beyond:
        raise UsageError(f"position {beyond[0]} is patched, but only {length} tokens run")
    return [place % length for place in wanted]


def _fitted(value: Tensor, length: int, like: Tensor) -> Tensor:
    if len(value) != length:
        raise UsageError(f"the patch holds values for {len(value)} positions, but {length} run")
    return value.to(like)
