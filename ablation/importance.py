"""Importance of heads and FFNs to a task, by the gradient of their gates.

Bansal et al. 2023, equations 8-9, after Michel et al. 2019; Method 3.1.
1. Loss of a document. Objective `sum`, the paper's: the mean over its T_y gold target tokens of -log p, everything in
   front of them given. Objective `choice`: -choice of outcomes.py, through all of its choices (choice_batches.py).
2. The SUM of the documents' losses is differentiated, so that a score does not depend on the batch.
3. Per document and head, over positions i: `token` sum_i |z·dL/dz|, `document` |sum_i z·dL/dz|, `signed`
   -sum_i z·dL/dz, the first-order rise of the loss when the head is removed. FFNs alike, on what they add. For removal
   by the mean (`.../mean`) z - z_ref takes the place of z.
4. Summed over documents and divided by N: `uniform` sum (length - 1); `paper` the last layer alone by sum T_y, which
   lifts it; `layer_l2` (Michel et al.) uniform, then each layer by its Euclidean norm.

`token` and `document` measure magnitude, of helpful and harmful heads alike; only `signed` says that a head is needed.
`sum` speaks of writing the right text, most of which is format; only `choice` speaks of choosing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ablation.batch_sizes import GRADIENT_TOKENS
from ablation.choice_batches import ChoiceBatch, backward_through_choices, choice_batches
from ablation.engine.sharing import may_pad
from ablation.engine.target_logits import target_log_probabilities
from ablation.evaluation import right_choices
from ablation.gate_gradients import GateSums, NodeSums, gate_sums, post_norm_layers
from ablation.gold import GoldBatch, gold_batches, gold_documents
from ablation.gradient_recheck import recheck_document
from ablation.loss_scaling import LossScaling
from ablation.names import HEADS_PER_GROUP, NORMALISATIONS, OBJECTIVES, POSITIONS
from ablation.outcomes import Choices
from ablation.provenance import told
from ablation.replacement import Replacement, by_depth, by_position, refuse_evaluated
from ablation.statistics.by_cluster import by_cluster
from interp.errors import UsageError
from interp.offload import is_offloaded
from interp.overflow import broken
from interp.patching import refuse_by_place
from interp.rechecks import EVERY, due
from interp.recompute import recompute_blocks
from interp.scores import FFNScores, HeadScores

if TYPE_CHECKING:
    from interp.model import HookedModel

Progress = Callable[[int, int], None]
TENSORS = (
    "head_token",
    "head_plain",
    "group_token",
    "ffn_token",
    "ffn_plain",
    "log_likelihoods",
    "lengths",
    "target_lengths",
)


@dataclass(frozen=True)
class Importance:
    """Every document's unnormalised scores, all variants: what one pass over a task gives.

    `head_plain` and `ffn_plain` are sum_i z·dL/dz: `signed` is their negative, `document` their absolute value. A layer
    without the component is NaN. `log_likelihoods` are the gold continuations', in nats. Documents of one of `clusters`
    are not independent: they are the unit of the scores' intervals. objective: the loss, `sum` or `choice`. ablation:
    the removal whose cost is estimated, `zero` or `mean`.
    """

    head_token: Float[Tensor, "item layer head"]
    head_plain: Float[Tensor, "item layer head"]
    group_token: Float[Tensor, "item layer kv_head"]
    ffn_token: Float[Tensor, "item layer"]
    ffn_plain: Float[Tensor, "item layer"]
    log_likelihoods: Float[Tensor, " item"]
    lengths: Int[Tensor, " item"]
    target_lengths: Int[Tensor, " item"]
    documents: tuple[str, ...]
    clusters: tuple[str, ...] = ()
    objective: str = "sum"
    ablation: str = "zero"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def assembled(
        cls,
        pieces: Sequence[Mapping[str, Tensor]],
        *,
        documents: Sequence[str],
        clusters: Sequence[str] = (),
        objective: str = "sum",
        ablation: str = "zero",
        provenance: Mapping[str, Any] | None = None,
    ) -> Importance:
        """From what `pieces` gave of some documents, then of others, in the order of all `documents`.

        Raises UsageError where the pieces are not of so many documents.
        """
        joined: dict[str, Any] = {name: torch.cat([piece[name] for piece in pieces]) for name in TENSORS}
        if len(joined["lengths"]) != len(documents):
            raise UsageError(
                f"{len(pieces)} pieces hold the importance of {len(joined['lengths'])} documents, but {len(documents)} "
                "are named: give the pieces of these documents, in their order"
            )
        told = {"objective": objective, "ablation": ablation, **(provenance or {})}
        named: dict[str, Any] = {"documents": tuple(documents), "clusters": tuple(clusters)}
        return cls(**joined, **named, objective=objective, ablation=ablation, provenance=told)

    def pieces(self) -> dict[str, Tensor]:
        """All tensors by name, to be stored and put together again by `assembled`."""
        return {name: getattr(self, name) for name in TENSORS}

    def heads(self, *, positions: str = "token", normalise: str = "uniform") -> HeadScores:
        """Scores of the heads; `per_item` averages to `mean`, and its ratios between documents are the raw ones'."""
        raw = _variant(self.head_token, self.head_plain, positions)
        items = normalised(raw, self.lengths, self.target_lengths, normalise)
        scores = HeadScores.from_items(
            "importance",
            items,
            variant=self.variant(positions, normalise),
            provenance=self.provenance,
            n_kv_heads=self.group_token.shape[-1],
        )
        return by_cluster(scores, self.clusters or self.documents)

    def variant(self, positions: str, normalise: str = "uniform") -> str:
        """What tells these scores from others."""
        return variant_of(positions, objective=self.objective, ablation=self.ablation, normalise=normalise)

    def kv_groups(self, *, positions: str = "token", normalise: str = "uniform") -> HeadScores:
        """Scores of the kv groups' joint gates, [layer kv_head]: heads are summed before any absolute value (Method 0).

        Orders made of them remove whole groups (orders.py).
        """
        groups, heads = self.group_token.shape[-1], self.head_plain.shape[-1]
        plain = self.head_plain.unflatten(-1, (groups, -1)).sum(-1)
        raw = _variant(self.group_token, plain, positions)
        scores = HeadScores.from_items(
            "importance",
            normalised(raw, self.lengths, self.target_lengths, normalise),
            variant=self.variant(positions, normalise),
            provenance={**self.provenance, HEADS_PER_GROUP: heads // groups},
            n_kv_heads=groups,
        )
        return by_cluster(scores, self.clusters or self.documents)

    def group_heads(self, *, positions: str = "token") -> HeadScores:
        """The kv groups' scores, each at all of its heads: in the shape of a table of heads, without items."""
        scores = self.kv_groups(positions=positions)
        width = self.head_plain.shape[-1] // self.group_token.shape[-1]
        spread = {name: getattr(scores, name).repeat_interleave(width, -1) for name in HeadScores.SUMMARY}
        return replace(scores, **spread, per_item=None, provenance=self.provenance)

    def ffns(self, *, positions: str = "token", normalise: str = "uniform") -> FFNScores:
        """Scores of the FFNs."""
        _refuse_layer_l2(normalise)
        raw = _variant(self.ffn_token, self.ffn_plain, positions)
        items = normalised(raw[..., None], self.lengths, self.target_lengths, normalise)[..., 0]
        scores = FFNScores.from_items(
            "importance", items, variant=self.variant(positions, normalise), provenance=self.provenance
        )
        return by_cluster(scores, self.clusters or self.documents)


def variant_of(positions: str, *, objective: str = "sum", ablation: str = "zero", normalise: str = "uniform") -> str:
    """`signed`, `signed/choice/mean`, `token/paper`: what is usual goes without saying."""
    named = ((objective, "sum"), (ablation, "zero"), (normalise, "uniform"))
    return "/".join([positions, *(name for name, usual in named if name != usual)])


def head_importance(
    model: HookedModel, task: Any, *, positions: str = "token", normalise: str = "uniform", **options: Any
) -> HeadScores:
    """Importance of every head to a task (or to a sequence of token documents); `options` as in `importance`."""
    _check(positions, normalise)
    return importance(model, task, **options).heads(positions=positions, normalise=normalise)


def ffn_importance(
    model: HookedModel, task: Any, *, positions: str = "token", normalise: str = "uniform", **options: Any
) -> FFNScores:
    """Importance of every FFN to a task (or to a sequence of token documents); `options` as in `importance`."""
    _check(positions, normalise)
    _refuse_layer_l2(normalise)
    return importance(model, task, **options).ffns(positions=positions, normalise=normalise)


def importance(
    model: HookedModel,
    task: Any,
    *,
    objective: str = "sum",
    replacement: Replacement | None = None,
    batch_tokens: int = GRADIENT_TOKENS,
    frozen_norm: bool = False,
    recompute: bool | None = None,
    progress: Progress | None = None,
) -> Importance:
    """All variants for heads and FFNs in one forward and one backward pass over the documents.

    objective: the loss, `sum` (the paper's) or `choice`, which runs all choices of a document behind one prompt.
    replacement: what stands in for what is removed, a mean (references.py); unset, nothing.
    batch_tokens: tokens run together; changes speed and memory, not the scores. frozen_norm: hold fixed the scale of a
    norm behind the heads (gate_gradients.py). recompute: run every block again on the way back instead of remembering
    it; unset, where the weights are offloaded. progress(done, total) is called after every batch, in documents.
    Gates that are held around the call apply: the scores are those of the gated model. Raises UsageError for documents
    without a choice to make, and HeadscopeError where a gradient is no finite number.
    """
    if objective not in OBJECTIVES:
        raise UsageError(f"{objective!r} is no objective; there are {', '.join(OBJECTIVES)}")
    if replacement is not None and not by_position(replacement):
        raise UsageError(
            f"importance by gradient estimates removal by zero or by the mean, not by {replacement.name}: knock the "
            "heads out (ablation.knock_out)"
        )
    refuse_by_place(model)
    documents = gold_documents(model, task)
    refuse_evaluated(replacement, documents)
    found = _empty(model, len(documents))
    remade = is_offloaded(model.hf) if recompute is None else recompute
    way = _Way(replacement, tokens=batch_tokens, frozen_norm=frozen_norm, recompute=remade)
    batches = _by_sum(model, documents, way) if objective == "sum" else _by_choice(model, task, documents, way)
    again, done = due(model, "gradients", len(documents), EVERY), 0
    for places, sums, log_likelihoods in batches:
        _store(model, found, documents, places, sums, log_likelihoods)
        done += len(places)
        if progress is not None:
            progress(done, len(documents))
    for place in again:
        _recheck(model, task, documents, place, found, objective, way)
    ablation = "zero" if replacement is None else replacement.name
    return _finished(model, task, documents, found, objective=objective, ablation=ablation, frozen_norm=frozen_norm)


@dataclass(frozen=True)
class _Way:
    """How documents are run and differentiated."""

    replacement: Replacement | None
    tokens: int
    frozen_norm: bool
    recompute: bool


Scored = tuple[tuple[int, ...], GateSums, Float[Tensor, " document"]]


def _by_sum(model: HookedModel, documents: Sequence[Any], way: _Way) -> Iterator[Scored]:
    """Some documents' places, their gradients of the mean -log p a gold token, and their gold log-likelihoods."""
    scaling = LossScaling(model.dtype)
    for batch in gold_batches(documents, tokens=way.tokens, padding=may_pad(model.config)):

        def backward(factor: float, batch: GoldBatch = batch) -> tuple[GateSums, Tensor]:
            blocks = recompute_blocks(model) if way.recompute else nullcontext()
            with gate_sums(model, frozen_norm=way.frozen_norm) as sums, blocks:
                if way.replacement is not None:
                    positions = torch.arange(batch.tokens.shape[1]).expand(batch.tokens.shape)
                    sums.reference = way.replacement.placed(by_depth(positions))
                losses = document_losses(model, batch)
                (factor * losses.sum()).backward()
            return sums, losses.detach()

        sums, losses = scaling.run(backward)
        yield batch.places, sums, -losses.float().cpu() * batch.target_lengths


def _by_choice(model: HookedModel, task: Any, documents: Sequence[Any], way: _Way) -> Iterator[Scored]:
    """The same with gradients of -choice."""
    rights = [right_choices(document) for document in getattr(task, "documents", documents)]
    metric = getattr(task, "metric", "acc")
    scaling = LossScaling(model.dtype)
    for batch in choice_batches(model, documents, rights=rights, metric=metric, tokens=way.tokens):

        def backward(factor: float, batch: ChoiceBatch = batch) -> tuple[GateSums, Tensor]:
            sums = NodeSums(model.n_kv_heads, owners=batch.owners)
            how: dict[str, Any] = {"replacement": way.replacement, "recompute": way.recompute, "factor": factor}
            with gate_sums(model, frozen_norm=way.frozen_norm, into=sums):
                found = backward_through_choices(model, batch, sums, **how)
            sums.finish()
            return sums, found

        sums, found = scaling.run(backward)
        yield batch.places, sums, batch.choices.values("sum", batch.choices.padded(found)).float()


def document_losses(model: HookedModel, batch: GoldBatch) -> Float[Tensor, " batch"]:
    """-(1/T_y) sum_j log p(y_j | x, y_<j) of every document of a batch."""
    log_p = target_log_probabilities(
        model, batch.tokens, rows=batch.rows, positions=batch.positions, targets=batch.targets
    )
    rows, counts = batch.rows.to(log_p.device), batch.target_lengths.to(log_p.device)
    return log_p.new_zeros(len(batch.places)).index_add(0, rows, -log_p) / counts


def normalised(
    raw: Float[Tensor, "item layer component"],
    lengths: Int[Tensor, " item"],
    target_lengths: Int[Tensor, " item"],
    normalise: str,
) -> Float[Tensor, "item layer component"]:
    """Per-document scores scaled so that their mean over documents is IS[l,h] = sum_docs s / N_l."""
    if normalise not in NORMALISATIONS:
        raise UsageError(f"{normalise!r} is no normalisation; there are {', '.join(NORMALISATIONS)}")
    divisors = torch.full((raw.shape[1],), float((lengths - 1).sum()))
    if normalise == "paper":
        divisors[-1] = float(target_lengths.sum())
    items = raw * (len(raw) / divisors)[None, :, None].to(raw)
    if normalise == "layer_l2":
        items = items / items.mean(0).norm(dim=-1)[None, :, None]
    return items


def _variant(token: Tensor, plain: Tensor, positions: str) -> Tensor:
    if positions not in POSITIONS:
        raise UsageError(f"{positions!r} is no way to sum over positions; there are {', '.join(POSITIONS)}")
    return token if positions == "token" else plain.abs() if positions == "document" else -plain


def _check(positions: str, normalise: str) -> None:
    """Before the model runs."""
    one = torch.ones(1, 1, 1)
    _variant(one, one, positions)
    normalised(one, torch.tensor([2]), torch.tensor([1]), normalise)


def _refuse_layer_l2(normalise: str) -> None:
    if normalise == "layer_l2":
        raise UsageError(
            "normalise='layer_l2' compares the heads of one layer; a layer has one FFN, whose score "
            "it would make 1: take 'uniform' or 'paper'"
        )


def _empty(model: HookedModel, items: int) -> dict[str, Tensor]:
    shapes = {
        "head_token": (model.n_heads,),
        "head_plain": (model.n_heads,),
        "group_token": (model.n_kv_heads,),
        "ffn_token": (),
        "ffn_plain": (),
        "log_likelihoods": None,
    }
    layers = {name: () if shape is None else (model.n_layers, *shape) for name, shape in shapes.items()}
    return {name: torch.full((items, *shape), torch.nan) for name, shape in layers.items()}


def _store(
    model: HookedModel,
    found: dict[str, Tensor],
    documents: Sequence[Any],
    chosen: tuple[int, ...],
    sums: GateSums,
    log_likelihoods: Float[Tensor, " document"],
) -> None:
    """Raises HeadscopeError, which says where, for what is no finite number: NaN means that there is no such head."""
    places = torch.tensor(chosen)
    if not bool(log_likelihoods.isfinite().all()):
        document = documents[chosen[int((~log_likelihoods.isfinite()).nonzero()[0])]]
        ids = (*document.context, *document.target)[:-1]
        raise broken(model, "the log-likelihood", document=document.id, tokens=ids)
    found["log_likelihoods"][places] = log_likelihoods
    for name in ("head_token", "head_plain", "group_token", "ffn_token", "ffn_plain"):
        for layer, value in getattr(sums, name).items():
            found[name][places, layer] = value.float().cpu()
            if not bool(value.isfinite().all()):
                row, *head = (~value.isfinite()).nonzero()[0].tolist()
                what = f"head {layer}.{head[0]}" if name.startswith("head") else f"layer {layer}"
                raise broken(model, f"the gate gradient of {what}", document=documents[chosen[row]].id)


def _recheck(
    model: HookedModel,
    task: Any,
    documents: Sequence[Any],
    place: int,
    found: Mapping[str, Tensor],
    objective: str,
    way: _Way,
) -> None:
    """The running check of one document (gradient_recheck.py)."""
    choices = None
    if objective == "choice":
        right = right_choices(getattr(task, "documents", documents)[place])
        choices = Choices.of([documents[place]], right=[right], metric=getattr(task, "metric", "acc"))
    recheck_document(
        model,
        documents[place],
        float(found["log_likelihoods"][place]),
        found["head_plain"][place],
        choices=choices,
        replacement=way.replacement,
        frozen_norm=way.frozen_norm,
    )


def _finished(
    model: HookedModel,
    task: Any,
    documents: list[Any],
    found: dict[str, Tensor],
    *,
    objective: str,
    ablation: str,
    frozen_norm: bool,
) -> Importance:
    counts = torch.tensor([len(document.target) for document in documents])
    return Importance(
        **found,
        lengths=torch.tensor([len(document.context) for document in documents]) + counts,
        target_lengths=counts,
        documents=tuple(document.id for document in documents),
        clusters=tuple(str(getattr(document, "cluster", document.id)) for document in documents),
        objective=objective,
        ablation=ablation,
        provenance=told(model, task, objective=objective, ablation=ablation, **facts(model, frozen_norm=frozen_norm)),
    )


def facts(model: HookedModel, *, frozen_norm: bool) -> dict[str, Any]:
    """What has to be known of this family's scores (Method 3.1)."""
    found: dict[str, Any] = {"frozen_norm": frozen_norm}
    if behind := post_norm_layers(model):
        found["post_norm"] = (
            f"{len(behind)} layers have a norm behind the heads: scaling them together does nothing, so plain signed "
            "scores sum to 0 over a layer and `document` is bounded; frozen_norm=True holds the norm's scale fixed"
        )
    return found
