"""What a knock-out would cost, before it is run: tokens through blocks, and seconds by a short trial (METHODS 3.2)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablation.gold import gold_documents
from ablation.knock_out import all_removals, chosen_documents
from ablation.likelihood import default_budget
from ablation.removals import Prompts, packed, run_plain, run_removed

if TYPE_CHECKING:
    from interp.model import HookedModel


@dataclass(frozen=True)
class KnockOutEstimate:
    """`forward_passes`: in plain passes over all documents; `seconds`: from one timed batch on this machine."""

    component: str
    documents: int
    removals: int
    tokens: int
    forward_passes: float
    seconds: float


def estimate_knock_out(
    model: HookedModel, task: Any, *, component: str, limit: int | None = None, batch_tokens: int | None = None
) -> KnockOutEstimate:
    """How long `knock_out` with these arguments will take; runs one batch of documents and one removal of it."""
    documents = gold_documents(model, chosen_documents(task, component, limit))
    removals = all_removals(model, component)
    prompts = Prompts.of(documents)
    batches = list(packed(model, prompts.requests, budget=batch_tokens or default_budget(model)))
    tokens = sum(batch.tokens.numel() for batch in batches)
    passes = 1 + sum((model.n_layers - removal.layer) / model.n_layers for removal in removals)
    batch = min(batches, key=lambda batch: abs(batch.tokens.numel() - tokens / len(batches)))
    residuals, _ = run_plain(model, batch)
    middle = min(removals, key=lambda removal: abs(removal.layer - model.n_layers // 2))
    start = time.perf_counter()
    run_removed(model, batch, residuals[middle.layer], [middle])
    took = (time.perf_counter() - start) / batch.tokens.numel() * model.n_layers / (model.n_layers - middle.layer)
    return KnockOutEstimate(component, len(documents), len(removals), tokens, passes, took * tokens * passes)
