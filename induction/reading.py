"""One pass over sequences, many scores: each reader sees a layer's attention and head outputs, then they are gone.

Never the attention matrices of all layers at once. Sequences of one length run together up to a budget of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, ClassVar, Generic, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from induction.groups import Group, TokenGroup
from interp.attention.rows import AttentionRows
from interp.checks.reading import off_one
from interp.checks.result import is_precise
from interp.errors import HeadscopeError
from interp.model import HookedModel
from interp.overflow import checked_attention

TOKEN_BUDGET = 4096
Progress = Callable[[int, int], None]


@runtime_checkable
class Units(Protocol):
    """Where finished batches are kept, so that a killed run goes on from there (headscope/store/units.py)."""

    def get(self, key: Mapping[str, Any], /) -> dict[str, Tensor] | None: ...

    def put(self, key: Mapping[str, Any], tensors: Mapping[str, Tensor], /) -> Any: ...


class Reader(Generic[Group]):
    """Base of all scores that are read during a forward pass.

    `start(batch)` once a batch, then for each layer `attention(layer, rows)` and, where `needs_z`, `heads(layer, z)`.
    Values are kept with `keep(name, layer, values)`, [batch head] or [batch head extra]; `items(name)` collects them.
    name: what its stored values are filed under, the class's own where it gives none.
    """

    name: ClassVar[str] = ""
    needs_z = False

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the model and the sequences that determines what is kept."""
        return {"reader": self.name or type(self).__name__}

    def __init__(self, model: HookedModel) -> None:
        self.model = model
        self._batches: list[dict[str, dict[int, Tensor]]] = []
        self._items: list[tuple[int, ...]] = []

    def start(self, batch: Group) -> None:
        """Prepare for a batch, `self.batch` from here on; subclasses extend this."""
        self._batches.append({})
        self._items.append(batch.indices)
        self.batch = batch

    def attention(self, layer: int, rows: AttentionRows) -> None:
        """A layer's attention."""

    def heads(self, layer: int, z: Float[Tensor, "batch query head d_value"]) -> None:
        """A layer's head outputs; comes after the layer's attention."""

    def keep(self, name: str, layer: int, values: Float[Tensor, "batch head *extra"]) -> None:
        self._batches[-1].setdefault(name, {})[layer] = values.detach().float().cpu().contiguous()

    def refuse_broken(self) -> None:
        """Raise for what a pass made that is no finite number, before it is kept; for readers that would not notice."""

    def export(self) -> dict[str, Tensor]:
        """What was kept of the current batch, by name and layer."""
        return {f"{name}/{layer}": value for name, kept in self._batches[-1].items() for layer, value in kept.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take `export` of an earlier run as this batch's."""
        for key, value in tensors.items():
            name, layer = key.rsplit("/", 1)
            self._batches[-1].setdefault(name, {})[int(layer)] = value

    def ragged(self, name: str) -> list[Float[Tensor, "layer head ..."]]:
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
    sequences: Iterable[Group],
    readers: Sequence[Reader[Group]],
    *,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
    units: Units | None = None,
) -> None:
    """Run every sequence once and let all readers see it; `progress(done, total)` counts tokens."""
    groups = list(sequences)
    total = sum(group.tokens.numel() for group in groups)
    done = 0
    batches = [part for group in groups for part in group.batches(token_budget)]
    if (ahead := getattr(units, "ahead", None)) is not None:
        ahead(
            (_key(batch, readers), partial(batch_unit, model, batch, readers), float(batch.tokens.numel()))
            for batch in batches
        )
    with torch.no_grad():
        for batch in batches:
            for reader in readers:
                reader.start(batch)
            key = _key(batch, readers)
            kept = None if units is None else units.get(key)
            if kept is None:
                with _listening(model, batch, readers):
                    model.run(batch.tokens)
                made = _exported(readers)
                if units is not None:
                    units.put(key, made)
            else:
                for number, reader in enumerate(readers):
                    mine = f"{number}/"
                    reader.restore({name.removeprefix(mine): t for name, t in kept.items() if name.startswith(mine)})
            done += batch.tokens.numel()
            if progress is not None:
                progress(done, total)


def batch_unit(model: HookedModel, batch: Any, readers: Sequence[Reader[Any]]) -> dict[str, Tensor]:
    """What the readers keep of a batch; for whoever runs it elsewhere."""
    for reader in readers:
        reader.start(batch)
    with torch.no_grad(), _listening(model, batch, readers):
        model.run(batch.tokens)
    return _exported(readers)


def _exported(readers: Sequence[Reader[Any]]) -> dict[str, Tensor]:
    for reader in readers:
        reader.refuse_broken()
    return {f"{number}/{name}": t for number, reader in enumerate(readers) for name, t in reader.export().items()}


def _key(batch: TokenGroup, readers: Sequence[Reader[Any]]) -> dict[str, Any]:
    """All that determines a batch's values beside the model."""
    return {**batch.key, "readers": [reader.settings for reader in readers]}


@contextmanager
def _listening(model: HookedModel, batch: Any, readers: Sequence[Reader[Any]]) -> Iterator[None]:
    """Hand every layer's attention, then its z, to the readers; a row that is no number ends the run."""
    early: dict[int, Tensor] = {}  # outside the attention interface a module hands out its weights after z is made

    def hear(layer: int, rows: AttentionRows) -> None:
        refuse_other_sums(model, layer, rows)
        for reader in readers:
            reader.attention(layer, rows)
        if layer in early:
            _hand_on(readers, layer, early.pop(layer))

    def hear_z(layer: int, z: Tensor) -> None:
        if model.eager:
            early[layer] = z
        else:
            _hand_on(readers, layer, z)

    with ExitStack() as stack:
        names = [f"sequence {number}" for number in batch.indices]
        stack.enter_context(checked_attention(model, batch.tokens, hear, names=names))
        if any(reader.needs_z for reader in readers):
            for layer in model.attention_layers:
                stack.enter_context(model.edit("z", partial(hear_z, layer), layer=layer))
        yield


def _hand_on(readers: Sequence[Reader[Any]], layer: int, z: Tensor) -> None:
    for reader in readers:
        if reader.needs_z:
            reader.heads(layer, z)


def refuse_other_sums(model: HookedModel, layer: int, rows: AttentionRows) -> None:
    """The running check of what is read: the last row of each sequence and head sums to 1, to less beside a sink."""
    length = rows.shape[2]
    worst = off_one(model, layer, rows.block(length - 1, length).sum(-1))
    if not worst < (1e-3 if is_precise(model) else 2e-2):
        raise HeadscopeError(
            f"the last rows of attention of layer {layer} sum to 1 only within {worst:.2g}: the attention route does "
            "not fit this model; run `headscope doctor` and report the family"
        )


def probabilities(rows: AttentionRows, queries: Tensor, keys: Tensor) -> Float[Tensor, "batch head pair"]:
    """Attention at pairs, checked to lie in [0, 1] (Method 2.1)."""
    seen = rows.at(queries, keys)
    if seen.numel():
        low, high = (float(end) for end in seen.aminmax())
        if not (low >= 0.0 and high <= 1.0 + 1e-4):
            raise HeadscopeError(
                f"attention probabilities outside [0, 1] ({low:.3g} to {high:.3g}): the attention route does not fit "
                "this model; run `headscope doctor` and report the family"
            )
    return seen


class _Enough(Exception):
    """Raised where nothing later in the model is needed."""


def at_block_0(
    model: HookedModel, tokens: Int[Tensor, "batch query"], place: Literal["resid_pre", "resid_post"]
) -> Float[Tensor, "batch query d_model"]:
    """The residual stream in front of or behind block 0; the blocks after it are not run."""
    found: list[Tensor] = []

    def take(value: Tensor) -> None:
        found.append(value.clone())
        raise _Enough

    with model.edit(place, take, layer=0), suppress(_Enough):
        model.run(tokens)
    return found[0]
