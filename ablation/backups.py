"""Backups: heads that matter once others are gone, and seem to do nothing before.

CoAx (arXiv 2607.01940); McGrath et al. 2023 (arXiv 2307.15771) on self-repair; Method 3.7.
1. f: what the model says at the tokens of the right answer, as a distribution over the vocabulary.
2. backup[c] = KL(f without S || f without S and c) - KL(f || f without c), in nats, the mean over the answer's tokens,
   document by document. Positive: removing c changes more once the set S is gone.
3. Null: the same with layer-matched sets in place of S.
Removed means: z replaced at every position, by its mean (Method 3.3) unless another replacement is given. A head whose
single knock-out shows nothing and whose backup is above null is why the knock-out showed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ablation.control_sets import control_sets
from ablation.gold import gold_documents
from ablation.provenance import told
from ablation.replacement import Placement, Replacement, refuse_evaluated
from ablation.statistics.by_cluster import by_cluster
from interp.errors import UsageError
from interp.masks import HeadMask, listed_heads
from interp.patch_route import find_route
from interp.patched_rows import prepare
from interp.patching import Patch
from interp.prompt_rows import PromptRows
from interp.scored_paths import ScoredPaths
from interp.scores import HeadScores, Null
from interp.shown import one_line

if TYPE_CHECKING:
    from interp.model import HookedModel

Head = tuple[int, int]
DOCUMENTS = 8
CONTROLS = 9


@one_line
@dataclass(frozen=True, eq=False)
class Backups:
    """scores: the backup of every head outside the set, its null drawn from `controls`. alone: KL(f || f without c)."""

    removed: tuple[Head, ...]
    scores: HeadScores
    alone: HeadScores
    controls: tuple[tuple[Head, ...], ...]


def backups(
    model: HookedModel,
    task: Any,
    removed: Sequence[Head] | str | Any,
    *,
    replacement: Replacement | None,
    candidates: Sequence[Head] | str | Any = None,
    limit: int = DOCUMENTS,
    controls: int = CONTROLS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Backups:
    """How much more each head matters once the heads `removed` are gone.

    replacement: `mean_of(model, references)`, or None for zero. candidates: the heads asked about; unset, all others.
    Every head, document and set costs a run of the prompt from the head's block on: name candidates, or few documents,
    on a large model. progress(done, total) counts documents. Raises UsageError for heads that do not exist.
    """
    gone = tuple(dict.fromkeys(listed_heads(removed)))
    candidates = None if candidates is None else listed_heads(candidates)
    exists = np.zeros((model.n_layers, model.n_heads), dtype=bool)
    exists[list(model.attention_layers)] = True
    asked = _candidates(gone, candidates, exists)
    matched = control_sets(gone, exists, kind="layer_matched", n=controls, seed=seed) if controls else []
    sets = [gone, *(one.heads for one in matched)]
    documents = gold_documents(model, task)[:limit]
    refuse_evaluated(replacement, documents)
    alone, rises = [], []
    for number, document in enumerate(documents):
        lone = _divergences(model, document, (), asked, replacement)
        alone.append(lone)
        rises.append(torch.stack([_divergences(model, document, heads, asked, replacement) - lone for heads in sets]))
        if progress is not None:
            progress(number + 1, len(documents))
    found = torch.stack(rises)  # document set layer head
    clusters = [document.cluster for document in documents]
    fields: dict[str, Any] = {"provenance": told(model, task, removed=gone), "n_kv_heads": model.n_kv_heads}
    scores = by_cluster(HeadScores.from_items("backup", found[:, 0], **fields), clusters, seed=seed)
    if matched:
        draws = found[:, 1:].mean(0)
        scores = scores.with_nulls(Null.from_draws("layer-matched sets", scores.mean, draws, partial=True))
    single = by_cluster(HeadScores.from_items("divergence", torch.stack(alone), **fields), clusters, seed=seed)
    return Backups(gone, scores, single, tuple(sets[1:]))


def _candidates(gone: Sequence[Head], candidates: Sequence[Head] | None, exists: np.ndarray) -> list[Head]:
    """The heads asked about, none of the removed ones among them."""
    layers, width = exists.shape
    for layer, head in (*gone, *(candidates or ())):
        if not (0 <= layer < layers and 0 <= head < width and exists[layer, head]):
            raise UsageError(
                f"head {layer}.{head} does not exist: the model has layers 0-{layers - 1}, heads 0-{width - 1}"
            )
    if not gone:
        raise UsageError("no head is removed, so nothing can stand in for one: name at least one head")
    asked = candidates if candidates is not None else [(int(layer), int(head)) for layer, head in np.argwhere(exists)]
    found = [(int(layer), int(head)) for layer, head in asked if (layer, head) not in set(gone)]
    if not found:
        raise UsageError("all candidates are among the removed heads: ask about others")
    return found


def _divergences(
    model: HookedModel, document: Any, gone: Sequence[Head], asked: Sequence[Head], replacement: Replacement | None
) -> Float[Tensor, "layer head"]:
    """KL(f without S || f without S and c) for every c, the mean over the answer's tokens; NaN for heads of S."""
    sequence = (*document.context, *document.target[:-1])
    first = len(document.context) - 1
    targets = [(first + place, token) for place, token in enumerate(document.target)]
    scored = ScoredPaths.of_tokens(sequence, targets)
    reference = None
    if replacement is not None:
        reference = replacement.placed(Placement.whole([document.id], [len(document.context)], len(sequence)))
    open_heads = [head for head in asked if head not in set(gone)]
    patches = [Patch({head: _stand_in(model, reference, head, len(sequence))}) for head in open_heads]
    find_route(model, len(sequence))  # tried before anything is gated
    mask = HeadMask.keep_all(model.n_layers, model.n_heads).without(gone)
    with model.gates(heads=mask, reference=reference) if gone else nullcontext():
        rows = prepare(model, scored, range(len(sequence)))
        found = _kl(rows, patches)
    table = torch.full((model.n_layers, model.n_heads), torch.nan)
    for head, value in zip(open_heads, found.tolist(), strict=True):
        table[head] = value
    return table


def _stand_in(model: HookedModel, reference: Any, head: Head, length: int) -> Float[Tensor, "position d_value"]:
    layer, number = head
    if reference is None:
        return torch.zeros(length, model.d_value)
    like = torch.zeros(1, length, model.n_heads, model.d_value)
    return reference.z(layer, like).expand_as(like)[0, :, number]


def _kl(rows: PromptRows, patches: Sequence[Patch]) -> Float[Tensor, " patch"]:
    """KL of the run as it is from each patched run, the mean over the places."""
    base = rows.run([Patch()], lambda logits: logits.double().log_softmax(-1))[0]

    def read(logits: Tensor) -> Tensor:
        other = logits.double().log_softmax(-1)
        return (base.exp() * (base - other)).sum(-1).mean(-1)

    return rows.run(patches, read).cpu()
