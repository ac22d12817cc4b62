"""Task-recognition and task-learning heads: who writes into the labels' space, and who towards the right label there?

Yang, Cho & Inoue 2026 (arXiv 2509.24164); Method 3.6. For a document whose labels' first tokens are y_1 .. y_K:
1. U = N W_U[:, labels]: what the labels look like from a head's output, through every norm on the way (Method 2.2).
2. o = z W_O of every head at the prompt's last position. `tr` = ||U (U'U)^+ U'o||, the length of its shadow on the
   labels' span; `tr_share` = tr / ||o||.
3. `tl` = mean over the other labels y' of o · (U_y - U_y') / tr, y being the right one.
4. Null of TR: as many random tokens, each near one of the labels in frequency and in ||U||. Null of TL: which label is
   the right one is permuted over the documents of the task with as many labels, so that a head that writes towards a
   label whatever is right is no higher than its null. Where one place is always right, no draw moves anything: p = 1.
Labels that share their first token, and K >= d_head / 2, are refused: the span would not be the labels'. Check, not
assumption: without the top 3% by TR `mass` must fall, without the top 3% by TL `choice` (`removal_check`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ablation.attribution import refuse_indirect
from ablation.control_sets import control_sets
from ablation.evaluation import Evaluate, evaluate
from ablation.function_vectors import last_z
from ablation.provenance import model_mark
from ablation.replacement import Replacement
from ablation.statistics.by_cluster import by_cluster
from ablation.statistics.intervals import ClusterEstimate, cluster_mean
from ablation.statistics.permutation import RankP, rank_p_value
from interp.architecture import linear_weight
from interp.errors import UsageError
from interp.masks import HeadMask
from interp.norms import LinearNorm, probe
from interp.scores import HeadScores, Null
from interp.shown import one_line

if TYPE_CHECKING:
    from interp.model import HookedModel

DRAWS = 500
NEAR = 200  # tokens near a label in frequency, of which the nearest in length are drawn from
NEAREST = 20
TOP_SHARE = 0.03


@one_line
@dataclass(frozen=True, eq=False)
class LabelHeads:
    """`tr`, `tl` and `tr_share` of every head, one item a document; left_out: a sentence for each document without."""

    tr: HeadScores
    tl: HeadScores
    tr_share: HeadScores
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LabelPieces:
    """One task's documents: scores by item, and the sums over them of the draws of the nulls. Units are made of it.

    The draws of `tl` are less the score itself: one that moves no label ties with it to the last digit.
    """

    items: Mapping[str, Float[Tensor, "item layer head"]]
    null_sums: Mapping[str, Float[Tensor, "draw layer head"]]
    documents: tuple[str, ...]
    clusters: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def label_heads(
    model: HookedModel,
    task: Any,
    *,
    by_frequency: Sequence[int] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> LabelHeads:
    """Score every head on the prompts of a task, with their own demonstrations and right labels.

    by_frequency: token ids, most frequent first, from which TR's null is drawn; unset, tokens are matched by length
    alone, among those that the task's prompts hold. Raises UsageError where no document has labels that can be told
    apart, RefusedModelError for families whose heads do not write to the logits as a sum.
    """
    pieces = label_pieces(model, task, by_frequency=by_frequency, draws=draws, seed=seed, progress=progress)
    told = {"task": getattr(task, "name", ""), "shots": getattr(task, "shots", None)}
    return assembled(model, [pieces], ranked=by_frequency is not None, seed=seed, provenance=told)


def label_pieces(
    model: HookedModel,
    task: Any,
    *,
    by_frequency: Sequence[int] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> LabelPieces:
    """What `label_heads` is made of, of one task."""
    refuse_indirect(model)
    space = _Space.of(model)
    kept, left_out = labelled(model, task)
    if not kept:
        raise UsageError(f"no document has labels to tell apart: {left_out[0] if left_out else 'the task is empty'}")
    pool = _pool(model, [tokens for _, tokens in kept], by_frequency)
    draw = np.random.default_rng(seed)
    places = permuted_places([len(tokens.choices) for _, tokens in kept], [one.gold for one, _ in kept], draw, draws)
    items: dict[str, list[Tensor]] = {"tr": [], "tr_share": [], "tl": []}
    nulls: dict[str, Tensor] = {}
    for number, (document, tokens) in enumerate(kept):
        found, drawn = _document(model, space, document, tokens, pool, draw, places[number], by_frequency is not None)
        for name, value in found.items():
            items[name].append(value)
        for name, value in drawn.items():
            nulls[name] = nulls.get(name, 0) + value
        if progress is not None:
            progress(number + 1, len(kept))
    return LabelPieces(
        items={name: torch.stack(values) for name, values in items.items()},
        null_sums=nulls,
        documents=tuple(tokens.id for _, tokens in kept),
        clusters=tuple(tokens.cluster for _, tokens in kept),
        left_out=left_out,
    )


def labelled(model: HookedModel, task: Any) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
    """(document, tokens) of the documents that can be scored, and a sentence for each other one."""
    kept: list[tuple[Any, Any]] = []
    left_out: list[str] = []
    for document, tokens in zip(list(task.documents), task.token_documents(model), strict=True):
        problem = _problem(tokens, model.d_value)
        if problem is None:
            kept.append((document, tokens))
        else:
            left_out.append(problem)
    return kept, tuple(left_out)


def assembled(
    model: HookedModel,
    pieces: Sequence[LabelPieces],
    *,
    ranked: bool,
    seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> LabelHeads:
    """Scores over all documents of all pieces. ranked: random tokens were drawn near the labels in frequency."""
    told = {"model": model_mark(model), **(provenance or {})}
    nulls = {"tr": "frequency and length" if ranked else "length", "tl": "permuted labels"}
    count = sum(len(part.documents) for part in pieces)
    clusters = [f"{number}|{cluster}" for number, part in enumerate(pieces) for cluster in part.clusters]

    def scored(name: str, kind: str) -> HeadScores:
        table = torch.cat([part.items[name] for part in pieces])
        own = told | ({"null": nulls[name]} if name in nulls else {})
        scores = HeadScores.from_items(name, table, provenance=own, n_kv_heads=model.n_kv_heads, seed=seed)
        scores = by_cluster(scores, clusters, seed=seed)
        if not kind:
            return scores
        null = torch.stack([part.null_sums[name] for part in pieces]).sum(0) / count  # one draw is of the whole mean
        null = null + scores.mean if name == "tl" else null
        return scores.with_nulls(Null.from_draws(kind, scores.mean, null))

    return LabelHeads(
        tr=scored("tr", "random tokens"),
        tl=scored("tl", "permuted labels"),
        tr_share=scored("tr_share", ""),
        left_out=tuple(reason for part in pieces for reason in part.left_out),
    )


def permuted_places(
    counts: Sequence[int], right: Sequence[int], draw: np.random.Generator, draws: int
) -> Int[np.ndarray, "document draw"]:
    """The places of the right labels, permuted over the documents that have as many labels."""
    places = np.repeat(np.array(right)[:, None], draws, axis=1)
    for count in sorted(set(counts)):
        alike = np.flatnonzero(np.array(counts) == count)
        places[alike] = draw.permuted(places[alike], axis=0)
    return places


def _problem(tokens: Any, width: int) -> str | None:
    """Why a document's labels span no space of their own; None if they do."""
    firsts = [choice[0] for choice in tokens.choices]
    if len(set(tokens.contexts)) > 1:
        return f"the choices of {tokens.id} are contexts, not labels"
    if len(firsts) < 2:
        return f"{tokens.id} has {len(firsts)} label, where two or more are compared"
    if len(set(firsts)) < len(firsts):
        return (
            f"two of the {len(firsts)} labels of {tokens.id} begin with the same token, so their first tokens are one"
        )
    if len(firsts) >= width / 2:
        return f"{tokens.id} has {len(firsts)} labels, too many for heads of width {width} (fewer than {width / 2:g})"
    return None


# --- one document ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Space:
    """From a head's result to logits: rows of W_U through the final norm, and each layer's norm behind attention."""

    rows: Float[Tensor, "vocab d_model"]
    final: LinearNorm
    behind: dict[int, LinearNorm]

    @classmethod
    def of(cls, model: HookedModel) -> _Space:
        def norm(module: Any) -> LinearNorm:
            found = probe(module, model.d_model, device=model.device, dtype=model.dtype)
            return LinearNorm(found.gain.double().cpu(), found.centres)

        behind = {layer: model.layout.inner(model.hf, layer, model.layout.ln1_post) for layer in model.attention_layers}
        return cls(
            linear_weight(model.hf.get_submodule(model.layout.unembed)),
            norm(model.hf.get_submodule(str(model.layout.ln_final))),
            {layer: norm(module) for layer, module in behind.items() if module is not None},
        )

    def columns(self, tokens: Int[Tensor, "*many"], layer: int) -> Float[Tensor, "*many d_model"]:
        """U as rows: what each token looks like from a head's result in that layer."""
        rows = self.rows[tokens.to(self.rows.device)].double().cpu()
        flat = self.final.apply_to_columns(rows.reshape(-1, rows.shape[-1]).T)
        if layer in self.behind:
            flat = self.behind[layer].apply_to_columns(flat)
        return flat.T.reshape(rows.shape)


def _document(
    model: HookedModel,
    space: _Space,
    document: Any,
    tokens: Any,
    pool: _Pool,
    draw: np.random.Generator,
    places: Int[np.ndarray, "draw"],
    ranked: bool,
) -> tuple[dict[str, Float[Tensor, "layer head"]], dict[str, Float[Tensor, "draw layer head"]]]:
    """tr, tr_share, tl of every head, and draws of the nulls of tr and tl.

    places: of the label that is right instead, by draw.
    """
    z = last_z(model, tokens.context, name=f"document {tokens.id}").double()
    labels = torch.tensor([choice[0] for choice in tokens.choices])
    shape = (model.n_layers, model.n_heads)
    tr, share, tl = (torch.full(shape, torch.nan) for _ in range(3))
    tr_null, tl_null = (torch.full((len(places), *shape), torch.nan) for _ in range(2))
    others = torch.stack([pool.matched(int(label), draw, len(places), ranked) for label in labels], 1)  # draw label
    stand_in = torch.from_numpy(places)
    for layer in model.attention_layers:
        results = torch.einsum("hd,hdm->hm", z[layer], model.w_o(layer).double().cpu())
        columns = space.columns(labels, layer)
        logits = results @ columns.T
        found = shadow(results, columns)
        tr[layer], share[layer] = found.float(), (found / results.norm(dim=-1).clamp_min(1e-300)).float()
        towards = _towards(logits) / found.clamp_min(1e-300)[:, None]
        tl[layer] = towards[:, document.gold].float()
        tl_null[:, layer] = (towards[:, stand_in] - towards[:, [document.gold]]).T.float()
        tr_null[:, layer] = shadow(results, space.columns(others, layer)).float()
    return {"tr": tr, "tr_share": share, "tl": tl}, {"tr": tr_null, "tl": tl_null}


def shadow(
    results: Float[Tensor, "head d_model"], columns: Float[Tensor, "*many label d_model"]
) -> Float[Tensor, "*many head"]:
    """||U (U'U)^+ U'o||: the length of each result's projection on the span of the columns."""
    product = torch.einsum("hm,...km->...hk", results, columns)
    gram = torch.einsum("...km,...jm->...kj", columns, columns)
    inverse = torch.linalg.pinv(gram, hermitian=True)
    return torch.einsum("...hk,...kj,...hj->...h", product, inverse, product).clamp_min(0).sqrt()


def _towards(logits: Float[Tensor, "head label"]) -> Float[Tensor, "head label"]:
    """Each label's logit less the mean of the others'."""
    count = logits.shape[-1]
    return (logits * count - logits.sum(-1, keepdim=True)) / (count - 1)


# --- tokens to compare with --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Pool:
    """Tokens that stand in for labels, most frequent first, with the length of their unembedding."""

    ids: Int[np.ndarray, "token"]
    place: dict[int, int]
    lengths: Float[np.ndarray, "token"]
    of_label: dict[int, float]

    def matched(self, label: int, draw: np.random.Generator, draws: int, ranked: bool) -> Int[Tensor, " draw"]:
        """Random tokens near a label: of those next in frequency, the ones next in length; never the label itself."""
        near = np.flatnonzero(self.ids != label)
        if ranked and label in self.place:
            order = np.argsort(np.abs(near - self.place[label]), kind="stable")
            near = near[order[:NEAR]]
        gap = np.abs(np.log(self.lengths[near] / self.of_label[label]))
        nearest = near[np.argsort(gap, kind="stable")[:NEAREST]]
        return torch.from_numpy(self.ids[draw.choice(nearest, size=draws)])


def _pool(model: HookedModel, documents: Sequence[Any], by_frequency: Sequence[int] | None) -> _Pool:
    rows = linear_weight(model.hf.get_submodule(model.layout.unembed))
    held = sorted({token for document in documents for token in document.context})
    ids = np.array(held if by_frequency is None else list(by_frequency), dtype=np.int64)
    if len(ids) <= NEAREST:
        raise UsageError(
            f"{len(ids)} tokens are too few to draw random labels from: give by_frequency, or more documents"
        )
    labels = sorted({choice[0] for document in documents for choice in document.choices})
    lengths = rows[torch.from_numpy(ids).to(rows.device)].float().norm(dim=-1).cpu().numpy().astype(float)
    own = rows[torch.tensor(labels, device=rows.device)].float().norm(dim=-1).cpu().tolist()
    places = {int(token): place for place, token in enumerate(ids)}
    return _Pool(ids, places, np.maximum(lengths, 1e-12), dict(zip(labels, own, strict=True)))


# --- what the names promise --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RemovalCheck:
    """What an outcome loses without a score's top heads, beside layer-matched sets; in nats, paired by document."""

    score: str
    outcome: str
    heads: tuple[tuple[int, int], ...]
    drop: ClusterEstimate
    rank: RankP


def removal_check(
    model: HookedModel,
    task: Any,
    scores: LabelHeads,
    *,
    share: float = TOP_SHARE,
    controls: int = 19,
    replacement: Replacement | None = None,
    seed: int = 0,
    evaluate: Evaluate = evaluate,
) -> tuple[RemovalCheck, RemovalCheck]:
    """Remove the top heads by TR and read `mass`, those by TL and read `choice`; `task` must be other documents.

    replacement: what stands in for them; zero without one.
    """
    full = evaluate(model, task)
    found = []
    for score, outcome in ((scores.tr, "mass"), (scores.tl, "choice")):
        exists = score.mean.isfinite().numpy()
        top = tuple((head.layer, head.head) for head in score.top(math.ceil(share * int(exists.sum()))))
        sets = [top, *(one.heads for one in control_sets(top, exists, kind="layer_matched", n=controls, seed=seed))]
        drops = []
        for heads in sets:
            mask = HeadMask.keep_all(model.n_layers, model.n_heads).without(heads)
            removed = evaluate(model, task, heads=mask, replacement=replacement)
            drops.append(full.outcome(outcome).minus(removed.outcome(outcome)))
        means = np.array([drop.mean for drop in drops])
        estimate = cluster_mean(drops[0].values, drops[0].labels)
        found.append(RemovalCheck(score.name, outcome, top, estimate, rank_p_value(float(means[0]), means[1:])))
    return found[0], found[1]
