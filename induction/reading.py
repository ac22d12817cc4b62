"""One pass over sequences, many scores: each reader sees a layer's attention and head outputs, then they are gone.

Never the attention matrices of all layers at once. Sequences of one length run together up to a budget of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from induction.sequences import RepeatedSequences, SequenceGroup
from interp.attention.rows import AttentionRows
from interp.model import HookedModel

TOKEN_BUDGET = 4096
Progress = Callable[[int, int], None]


class Reader:
    """Base of all scores that are read during a forward pass.

    `start(batch)` once a batch, then for each layer `attention(layer, rows)` and, where `needs_z`, `heads(layer, z)`.
    Values are kept with `keep(name, layer, values)`, [batch head] or [batch head extra], and collected by `items(name)`.
    """

    needs_z = False

    def __init__(self, model: HookedModel) -> None:
        self.model = model
        self._batches: list[dict[str, dict[int, Tensor]]] = []
        self._items: list[tuple[int, ...]] = []

    def start(self, batch: SequenceGroup) -> None:
        """Prepare for a batch, `self.batch` from here on; subclasses extend this."""
        self._batches.append({})
        self._items.append(batch.indices)
        self.batch = batch

    def attention(self, layer: int, rows: AttentionRows) -> None:
        """A layer's attention."""

    def heads(self, layer: int, z: Float[Tensor, "batch query head d_value"]) -> None:
        """A layer's head outputs; comes after the layer's attention."""

    def keep(self, name: str, layer: int, values: Float[Tensor, "batch head *extra"]) -> None:
        self._batches[-1].setdefault(name, {})[layer] = values.detach().float().cpu()

    def ragged(self, name: str) -> list[Float[Tensor, "layer head *extra"]]:
        """One tensor a sequence, in the sequences' order; layers without heads are NaN."""
        found: dict[int, Tensor] = {}
        for items, batch in zip(self._items, self._batches, strict=True):
            layers = batch[name]
            example = next(iter(layers.values()))
            missing = torch.full_like(example, torch.nan)
            stacked = torch.stack([layers.get(n, missing) for n in range(self.model.n_layers)], dim=1)
            found |= dict(zip(items, stacked, strict=True))
        return [found[item] for item in sorted(found)]

    def items(self, name: str) -> Float[Tensor, "item layer head *extra"]:
        return torch.stack(self.ragged(name))


def read(
    model: HookedModel,
    sequences: RepeatedSequences,
    readers: Sequence[Reader],
    *,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
) -> None:
    """Run every sequence once and let all readers see it; `progress(done, total)` counts tokens."""
    total = sum(group.tokens.numel() for group in sequences)
    done = 0
    with torch.no_grad():
        for batch in (part for group in sequences for part in group.batches(token_budget)):
            for reader in readers:
                reader.start(batch)
            with _listening(model, readers):
                model.run(batch.tokens)
            done += batch.tokens.numel()
            if progress is not None:
                progress(done, total)


@contextmanager
def _listening(model: HookedModel, readers: Sequence[Reader]) -> Iterator[None]:
    def hear(layer: int, rows: AttentionRows) -> None:
        for reader in readers:
            reader.attention(layer, rows)

    with ExitStack() as stack:
        stack.enter_context(model.watch_attention(hear))
        if any(reader.needs_z for reader in readers):
            for layer in model.attention_layers:
                stack.enter_context(model.edit("z", _z_reader(readers, layer), layer=layer))
        yield


def _z_reader(readers: Sequence[Reader], layer: int) -> Any:
    def hear(z: Tensor) -> None:
        for reader in readers:
            if reader.needs_z:
                reader.heads(layer, z)

    return hear
