"""What stands in for a removed component, made of reference documents: `mean` and `resample` (Method 3.3).

`mean` is taken over the positions >= 1 of the documents; position 0, the attention sink, has a mean of its own. What
documents share is run once and counted once a document. `resample` takes, position by position, the activation of one
other document, chosen by (seed, document id): position 0 from position 0, all others counted from the end of the
context, so that the end meets the end and all choices of a document share one context. Where the other document is too
short it is read round again from position 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ablation.engine.likelihood import check_requests, default_budget
from ablation.engine.packing import Batch
from ablation.engine.prefix_plan import Request
from ablation.engine.removals import packed, target_scores
from ablation.names import ABLATIONS, MINIMUM_DOCUMENTS
from ablation.replacement import GoldDocument, MadeOf, Placement, Replacement, refuse_evaluated
from interp import hooks
from interp.errors import UsageError
from interp.gating import Reference

if TYPE_CHECKING:
    from interp.model import HookedModel

KEPT_DOCUMENTS = 8  # resampled documents held in memory at once


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

    Raises UsageError for fewer than `minimum` of them, and for any that is `evaluated` as well, by its
    id or its text.
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
    samples = DocumentSamples(model, tuple(held), seed)
    refuse_evaluated(samples, evaluated)
    return mean_of(model, held) if ablation == "mean" else samples


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
    made_of: MadeOf = field(default_factory=MadeOf, repr=False, compare=False)

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


def mean_of(
    model: HookedModel, documents: Sequence[GoldDocument], *, progress: Callable[[int, int], None] | None = None
) -> Means:
    """Average z and FFN contributions over reference documents, in float64; progress(done, total) counts them."""
    requests = [Request((*document.context, *document.target), (0,)) for document in documents]
    check_requests(model, requests)
    sums: dict[tuple[str, int], Tensor] = {}
    count, done = torch.zeros(2, dtype=torch.float64), 0
    for batch in packed(model, requests, budget=default_budget(model)):
        passing = _passing(batch)
        weights = torch.stack([passing * (batch.positions == 0), passing * (batch.positions > 0)])
        count += weights.sum((1, 2))

        def add(point: hooks.Point, value: Tensor, weights: Tensor = weights) -> None:
            total = einsum(weights.to(value.device), value.detach().double(), "two b q, b q ... -> two ...").cpu()
            key = (point.name, point.layer)
            sums[key] = total if key not in sums else sums[key] + total

        with hooks.capture(model, _points(model), add):
            target_scores(model, batch)
        done += len(batch.requests)
        if progress is not None:
            progress(done, len(documents))
    divided = {key: total / count.clamp_min(1).view(2, *[1] * (total.dim() - 1)) for key, total in sums.items()}
    z, ffn = (_stacked(model, name, divided) for name in ("z", "mlp_out"))
    told: dict[str, Any] = {"n_documents": len(documents), "made_of": MadeOf.of(documents)}
    return Means(z_first=z[0], z_rest=z[1], ffn_first=ffn[0], ffn_rest=ffn[1], **told)


def _passing(batch: Batch) -> Float[Tensor, "batch query"]:
    """How many documents each token of a batch stands in; each document ends where its one target is scored."""
    passing = torch.zeros(batch.tokens.shape, dtype=torch.float64)
    for row, node in zip(batch.rows[batch.places].tolist(), batch.nodes[batch.places].tolist(), strict=True):
        above = torch.arange(passing.shape[1]) <= node if batch.visible is None else batch.visible[row, node]
        passing[row] += above
    return passing


def _points(model: HookedModel) -> list[hooks.Point]:
    """z and FFN contribution of every layer that has them."""
    heads = [hooks.Point("z", layer) for layer in model.attention_layers]
    return heads + [hooks.Point("mlp_out", layer) for layer in model.ffn_layers]


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

    @cached_property
    def made_of(self) -> MadeOf:
        """The documents that stand in."""
        return MadeOf.of(self.documents)

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


def _activations(model: HookedModel, document: GoldDocument) -> dict[tuple[str, int], Tensor]:
    """z [position head d_value] and FFN contribution [position d_model] of every layer that has them."""
    found: dict[tuple[str, int], Tensor] = {}

    def store(point: hooks.Point, value: Tensor) -> None:
        found[point.name, point.layer] = value[0].detach().clone().cpu()

    tokens = torch.tensor([[*document.context, *document.target]])
    with torch.no_grad(), hooks.capture(model, _points(model), store):
        model.run(tokens)
    return found
