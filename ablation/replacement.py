"""What stands in for a removed component: nothing (`zero`), its mean, or another document's activation (Method 3.3).

A component with gate m gives m z + (1 - m) z_ref. `zero` has no reference. `mean` is taken over the non-padding
positions >= 1 of reference documents; position 0, the attention sink, has a mean of its own. `resample` takes, position
by position, the activation of one other document, chosen by (seed, document id): position 0 from position 0, all others
counted from the end of the context, so that the end meets the end and all choices of a document share one context.
Where the other document is too short it is read round again from position 1.

The references of `mean` and `resample` speak of absolute positions, and a key-value cache or a packed prompt hides
them: whoever runs the model says with a `Placement` what stands where, and enters the gates with `placed(placement)`.
Ask for `placed` outside of any gates: a resampled document is run when it is first needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ablation.names import ABLATIONS
from interp import hooks
from interp.errors import UsageError
from interp.gating import Reference

if TYPE_CHECKING:
    from interp.model import HookedModel

MINIMUM_DOCUMENTS = 64
POSITIONS = ("all", "later", "last")
KEPT_DOCUMENTS = 8  # resampled documents held in memory at once


@runtime_checkable
class GoldDocument(Protocol):
    """What a reference document must have: ids of the prompt and of the gold continuation."""

    @property
    def id(self) -> str: ...
    @property
    def context(self) -> tuple[int, ...]: ...
    @property
    def target(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Placement:
    """What the model is about to see: each row's document, absolute positions, and the length of its context."""

    documents: tuple[str, ...]
    positions: Int[Tensor, "batch query"]
    context_lengths: Int[Tensor, " batch"]

    @classmethod
    def whole(cls, documents: Sequence[str], context_lengths: Sequence[int], length: int) -> Placement:
        """Whole sequences from position 0 on, padded on the right if at all."""
        positions = torch.arange(length).expand(len(documents), length)
        return cls(tuple(documents), positions, torch.tensor(list(context_lengths)))

    def repeated(self, times: int) -> Placement:
        """Every row `times` times, one after the other."""
        rows = torch.arange(len(self.documents)).repeat_interleave(times)
        return Placement(
            tuple(self.documents[row] for row in rows.tolist()), self.positions[rows], self.context_lengths[rows]
        )


@runtime_checkable
class Replacement(Protocol):
    """A kind of ablation, ready to be placed."""

    @property
    def name(self) -> str: ...

    def placed(self, placement: Placement) -> Reference:
        """The reference for the rows of this placement."""
        ...


def by_position(replacement: Replacement | None) -> bool:
    """Whether what stands in at a position is the same in every document: then documents may share a beginning."""
    return replacement is None or bool(getattr(replacement, "by_position", False))


@dataclass(frozen=True)
class Deferred:
    """A replacement that is made when it is first placed: where every evaluation is stored already, it never is.

    `mark` tells it from others of its name in a store of evaluations.
    """

    name: str
    make: Callable[[], Replacement]
    mark: str = ""

    @cached_property
    def made(self) -> Replacement:
        return self.make()

    @property
    def by_position(self) -> bool:
        return by_position(self.made)

    @property
    def shared_key(self) -> str:
        """What tells it from others where work is handed to another process, which makes it there, once."""
        return f"replacement {self.name} {self.mark}"

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "make": self.make, "mark": self.mark}

    def placed(self, placement: Placement) -> Reference:
        return self.made.placed(placement)


def make_replacement(
    model: HookedModel,
    ablation: str,
    references: Iterable[GoldDocument] | None = None,
    *,
    evaluated: Iterable[GoldDocument] = (),
    seed: int = 0,
    minimum: int = MINIMUM_DOCUMENTS,
) -> Replacement | None:
    """The replacement called `zero` (None), `mean` or `resample`, made from reference documents.

    Raises UsageError for fewer than `minimum` of them, and for any that is `evaluated` as well.
    """
    if ablation not in ABLATIONS:
        raise UsageError(f"{ablation!r} is no kind of ablation; the kinds are {', '.join(ABLATIONS)}")
    if ablation == "zero":
        return None
    held = list(references or ())
    if len(held) < minimum:
        raise UsageError(
            f"{ablation} ablation needs at least {minimum} reference documents that are not evaluated, "
            f"got {len(held)}: give more, from the train split for example, or take ablation='zero'"
        )
    shared = {document.id for document in held} & {document.id for document in evaluated}
    if shared:
        raise UsageError(
            f"{len(shared)} documents are reference and evaluated at once (such as {min(shared)!r}): mean "
            "and resample ablation need disjoint ones, for example the train split"
        )
    return mean_of(model, held) if ablation == "mean" else DocumentSamples(model, tuple(held), seed)


# ---- mean -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Means:
    """Mean z and mean FFN contribution of every layer, at position 0 and at all others."""

    z_first: Float[Tensor, "layer head d_value"]
    z_rest: Float[Tensor, "layer head d_value"]
    ffn_first: Float[Tensor, "layer d_model"]
    ffn_rest: Float[Tensor, "layer d_model"]
    n_documents: int
    name: str = "mean"
    by_position: bool = True

    def placed(self, placement: Placement) -> Reference:
        return _PlacedMeans(self, placement.positions == 0)

    def z(self, layer: int, z: Float[Tensor, "batch query head d_value"]) -> Tensor:
        """The reference of whole sequences that start at position 0."""
        return _PlacedMeans(self, _starts(z)).z(layer, z)

    def ffn(self, layer: int, output: Float[Tensor, "batch query d_model"]) -> Tensor:
        """The reference of whole sequences that start at position 0."""
        return _PlacedMeans(self, _starts(output)).ffn(layer, output)


def _starts(value: Tensor) -> Bool[Tensor, "one query"]:
    return (torch.arange(value.shape[1]) == 0)[None]


@dataclass(frozen=True)
class _PlacedMeans:
    means: Means
    first: Bool[Tensor, "batch query"]

    def z(self, layer: int, z: Tensor) -> Tensor:
        return torch.where(
            self.first[:, :, None, None].to(z.device), self.means.z_first[layer].to(z), self.means.z_rest[layer].to(z)
        )

    def ffn(self, layer: int, output: Tensor) -> Tensor:
        means = self.means
        return torch.where(
            self.first[:, :, None].to(output.device),
            means.ffn_first[layer].to(output),
            means.ffn_rest[layer].to(output),
        )


def mean_of(model: HookedModel, documents: Sequence[GoldDocument]) -> Means:
    """Average z and FFN contributions over reference documents, one document at a time, in float64."""
    sums: dict[tuple[str, int], Tensor] = {}
    rest = 0
    for document in documents:
        for point, value in _activations(model, document).items():
            total = torch.stack([value[0].double(), value[1:].double().sum(0)])
            sums[point] = total if point not in sums else sums[point] + total
        rest += len(document.context) + len(document.target) - 1
    divided = {
        point: total / torch.tensor([len(documents), max(rest, 1)]).view(2, *[1] * (total.dim() - 1))
        for point, total in sums.items()
    }
    z, ffn = (_stacked(model, name, divided) for name in ("z", "mlp_out"))
    return Means(z_first=z[0], z_rest=z[1], ffn_first=ffn[0], ffn_rest=ffn[1], n_documents=len(documents))


def _stacked(model: HookedModel, name: str, values: dict[tuple[str, int], Tensor]) -> Float[Tensor, "two layer ..."]:
    """Layers without the component get zeros, which no gate ever reads."""
    shape = (model.n_heads, model.d_value) if name == "z" else (model.d_model,)
    empty = torch.zeros(2, *shape, dtype=torch.float64)
    return torch.stack([values.get((name, layer), empty) for layer in range(model.n_layers)], 1).float()


# ---- resample -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DocumentSamples:
    """Activations of another document: which one is decided by (seed, document id) alone."""

    model: HookedModel
    documents: tuple[GoldDocument, ...]
    seed: int = 0
    name: str = "resample"
    kept: dict[int, dict[tuple[str, int], Tensor]] = field(default_factory=dict, repr=False)

    def chosen(self, document: str) -> int:
        """The place of the document that stands in for this one; never itself where there is another."""
        pool = [place for place, other in enumerate(self.documents) if other.id != document] or [0]
        key = hashlib.sha256(f"{self.seed}|{document}".encode()).digest()
        return pool[int.from_bytes(key[:8], "big") % len(pool)]

    def placed(self, placement: Placement) -> Reference:
        rows = [self.chosen(document) for document in placement.documents]
        index = torch.stack(
            [
                self.aligned(place, placement.positions[row], int(placement.context_lengths[row]))
                for row, place in enumerate(rows)
            ]
        )
        return _PlacedSamples([self.activations(place) for place in rows], index)

    def aligned(self, place: int, positions: Int[Tensor, " query"], context: int) -> Int[Tensor, " query"]:
        """Positions in the standing-in document: equally far from the context's end, read round if too short."""
        other = self.documents[place]
        length = len(other.context) + len(other.target)
        moved = (positions - context + len(other.context) - 1) % max(length - 1, 1) + 1
        return torch.where(positions == 0, 0, moved).clamp_max(length - 1)

    def activations(self, place: int) -> dict[tuple[str, int], Tensor]:
        """z and FFN contributions of a reference document, run once while it is among the last ones needed."""
        found = self.kept.pop(place, None)
        self.kept[place] = _activations(self.model, self.documents[place]) if found is None else found
        while len(self.kept) > KEPT_DOCUMENTS:
            self.kept.pop(next(iter(self.kept)))
        return self.kept[place]


@dataclass(frozen=True)
class _PlacedSamples:
    values: list[dict[tuple[str, int], Tensor]]
    index: Int[Tensor, "batch query"]

    def z(self, layer: int, z: Tensor) -> Tensor:
        return self._gathered("z", layer, z)

    def ffn(self, layer: int, output: Tensor) -> Tensor:
        return self._gathered("mlp_out", layer, output)

    def _gathered(self, name: str, layer: int, value: Tensor) -> Tensor:
        rows = zip(self.values, self.index, strict=True)
        return torch.stack([held[name, layer][index] for held, index in rows]).to(value)


# ---- at some positions only -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class At:
    """Removal at some positions: `later` spares position 0, where heads and FFNs make the attention sink; `last` is the
    last one of the context, from which the answer is read (Method 3.2, 3.3). Elsewhere the component stays.

    inner: what stands in where it is removed; nothing (zero) if None.
    """

    positions: str
    inner: Replacement | None = None

    def __post_init__(self) -> None:
        if self.positions not in POSITIONS[1:]:
            raise UsageError(
                f"{self.positions!r} are no positions to remove at; there are {', '.join(POSITIONS)} (all without At)"
            )

    @property
    def name(self) -> str:
        return f"{'zero' if self.inner is None else self.inner.name}/{self.positions}"

    @property
    def mark(self) -> str:
        """What tells it from others in a store of evaluations."""
        return f"{getattr(self.inner, 'mark', '')}/{self.positions}"

    @property
    def by_position(self) -> bool:
        return self.positions == "later" and by_position(self.inner)

    def placed(self, placement: Placement) -> Reference:
        first, last = placement.positions == 0, placement.positions == placement.context_lengths[:, None] - 1
        inner = None if self.inner is None else self.inner.placed(placement)
        return Sparing(first if self.positions == "later" else ~last, inner)


@dataclass(frozen=True)
class Sparing:
    """A reference that leaves some positions of some rows as they are."""

    spared: Bool[Tensor, "batch query"]
    inner: Reference | None = None

    def z(self, layer: int, z: Tensor) -> Tensor:
        other = self.inner.z(layer, z) if self.inner is not None else None
        return _spare(z, other, self.spared[:, :, None, None])

    def ffn(self, layer: int, output: Tensor) -> Tensor:
        other = self.inner.ffn(layer, output) if self.inner is not None else None
        return _spare(output, other, self.spared[:, :, None])


def _spare(value: Tensor, other: Tensor | None, spared: Tensor) -> Tensor:
    return torch.where(spared.to(value.device), value, torch.zeros_like(value) if other is None else other.to(value))


def _activations(model: HookedModel, document: GoldDocument) -> dict[tuple[str, int], Tensor]:
    """z [position head d_value] and FFN contribution [position d_model] of every layer that has them."""
    found: dict[tuple[str, int], Tensor] = {}
    places = [hooks.Point("z", layer) for layer in model.attention_layers]
    places += [hooks.Point("mlp_out", layer) for layer in model.ffn_layers]

    def store(point: hooks.Point, value: Tensor) -> None:
        found[point.name, point.layer] = value[0].detach().clone().cpu()

    tokens = torch.tensor([[*document.context, *document.target]])
    with torch.no_grad(), hooks.capture(model, places, store):
        model.run(tokens)
    return found
