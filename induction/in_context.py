"""In-context learning of the whole model (Olsson et al. 2022; Method 2.6).

Natural text: mean loss at tokens 490-510 minus tokens 40-60, in nats; negative = the model learns in context.
Repeat score: mean loss of the tokens predicted from queries that have an earlier copy, minus the loss on repeat 1. The
first token of repeat 2 belongs to neither: it can't be known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from induction.reading import Progress, Units
from induction.sequences import RepeatedSequences, SequenceGroup
from interp.errors import UsageError
from interp.model import HookedModel
from interp.shown import one_line
from interp.tokenizer import read_text

EARLY, LATE, NEEDED = (40, 60), (490, 510), 512
TOKEN_BUDGET = 1024  # of logits held at once


@one_line
@dataclass(frozen=True)
class InContextLearning:
    """Differences of loss in nats; NaN where a part was not measured, and `skipped` says why.

    natural, repeat: means over texts and over sequences; per_text, per_sequence: what they are means of.
    """

    natural: float
    repeat: float
    per_text: Float[Tensor, " text"]
    per_sequence: Float[Tensor, " sequence"]
    skipped: str = ""


def in_context_learning_score(
    model: HookedModel,
    sequences: RepeatedSequences | None = None,
    *,
    texts: Iterable[str] | None = None,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
    units: Units | None = None,
) -> InContextLearning:
    """How much the model's loss falls with context, on texts of 512 tokens or more and on repeated random tokens.

    progress, units: of the repeated sequences (reading.py).
    """
    if sequences is None and texts is None:
        raise UsageError("give repeated sequences, texts, or both: there is nothing to measure")
    if texts is not None and model.tokenizer is None:
        raise UsageError("texts need a tokenizer, and this model has none: give repeated sequences instead")
    skipped, per_text = "", torch.zeros(0)
    if texts is None:
        skipped = "no natural text was given"
    elif model.max_length is not None and model.max_length < NEEDED:
        skipped = f"the model's context of {model.max_length} tokens is under {NEEDED}"
    else:
        per_text, skipped = _natural(model, list(texts))
    per_sequence = torch.zeros(0)
    if sequences is not None:
        per_sequence = repeat_scores(model, sequences, token_budget=token_budget, progress=progress, units=units)
    return InContextLearning(_mean(per_text), _mean(per_sequence), per_text, per_sequence, skipped)


def repeat_scores(
    model: HookedModel,
    sequences: RepeatedSequences,
    *,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
    units: Units | None = None,
) -> Float[Tensor, " sequence"]:
    """Loss with an earlier copy in sight minus loss on repeat 1, one value a sequence."""
    found: dict[int, Tensor] = {}
    done, total = 0, sum(group.tokens.numel() for group in sequences)
    batches = [part for group in sequences for part in group.batches(token_budget)]
    if (ahead := getattr(units, "ahead", None)) is not None:
        ahead((_key(batch), partial(batch_loss, model, batch), float(batch.tokens.numel())) for batch in batches)
    for batch in batches:
        key = _key(batch)
        kept = None if units is None else units.get(key)
        if kept is None:
            kept = batch_loss(model, batch)
            if units is not None:
                units.put(key, kept)
        found |= dict(zip(batch.indices, kept["loss"], strict=True))
        done += batch.tokens.numel()
        if progress is not None:
            progress(done, total)
    return torch.stack([found[index] for index in sorted(found)])


def _key(batch: SequenceGroup) -> dict[str, Any]:
    return {"score": "repeat loss", "tokens": batch.tokens.tolist(), "repeats": batch.repeats}


def batch_loss(model: HookedModel, batch: SequenceGroup) -> dict[str, Tensor]:
    """A batch's unit."""
    with torch.no_grad():
        return {"loss": _repeat_scores(model, batch)}


def _repeat_scores(model: HookedModel, batch: SequenceGroup) -> Float[Tensor, " sequence"]:
    queries = batch.targets.query_positions
    if not len(queries):
        raise UsageError("the repeat score needs repeated sequences: make them with repeats >= 2")
    losses = token_losses(model, batch.tokens)
    again = losses[:, queries[queries < losses.shape[1]]].mean(1)
    return (again - losses[:, : batch.block].mean(1)).cpu()


def token_losses(model: HookedModel, tokens: Int[Tensor, "batch query"]) -> Float[Tensor, "batch query-1"]:
    """Loss of the token predicted from each position but the last, in nats."""
    losses = []
    for logits, row in zip(model(tokens), tokens, strict=True):  # a row at a time: logits are large
        following = row[1:].to(logits.device)
        losses.append(torch.nn.functional.cross_entropy(logits[:-1].float(), following, reduction="none"))
    return torch.stack(losses)


def _natural(model: HookedModel, texts: Sequence[str]) -> tuple[Float[Tensor, " text"], str]:
    rows = [read_text(model.tokenizer, text)[:NEEDED] for text in texts]
    rows = [row for row in rows if len(row) == NEEDED]
    if not rows:
        return torch.zeros(0), f"none of the {len(texts)} texts has {NEEDED} tokens"
    with torch.no_grad():
        # loss at token t is predicted from t - 1
        losses = torch.cat([token_losses(model, torch.tensor([row], device=model.device)) for row in rows])
    early, late = (losses[:, a - 1 : b].mean(1) for a, b in (EARLY, LATE))
    left_out = len(texts) - len(rows)
    return (late - early).cpu(), f"{left_out} texts have fewer than {NEEDED} tokens" if left_out else ""


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else float(np.nan)
