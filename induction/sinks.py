"""Attention sinks: how much of its attention a head leaves on position 0, whatever stands there (Method 2.9).

The mean of A[i, 0] over content queries i, on the random sequences of Method 1 and on natural prompts, told apart. A
head is *dormant* where both are above .9: it does nothing but rest. No class, a column: it explains why removing a head
may change little, and why others rank as they do. There is no null: nothing is claimed but where attention lies.
What a window does not reach is no attention, as for the duplicate-token score.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from induction.groups import TokenGroup
from induction.reading import TOKEN_BUDGET, Progress, Reader, Units, probabilities, read
from induction.sequences import RepeatedSequences
from induction.texts import NaturalPrompts
from interp.attention.rows import AttentionRows
from interp.errors import UsageError
from interp.model import HookedModel
from interp.scores import HeadScores

NAME, NATURAL = "sink", "natural"
DORMANT = 0.9


class Sink(Reader[Any]):
    """Keeps the mean attention on position 0, on sequences of any kind."""

    name = "sink"

    def start(self, batch: TokenGroup) -> None:
        super().start(batch)
        if batch.tokens.shape[1] < 2:
            raise UsageError("the sink is read at queries behind position 0: sequences need 2 tokens or more")

    def attention(self, layer: int, rows: AttentionRows) -> None:
        queries = torch.arange(1, rows.shape[2], device=self.batch.tokens.device)
        self.keep("sink", layer, probabilities(rows, queries, torch.zeros_like(queries)).mean(-1))

    def scores(self, variant: str = "") -> HeadScores:
        return HeadScores.from_items(NAME, self.items("sink"), variant=variant, n_kv_heads=self.model.n_kv_heads)


def sink_score(
    model: HookedModel,
    sequences: RepeatedSequences | NaturalPrompts,
    *,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
    units: Units | None = None,
) -> HeadScores:
    """Mean attention on position 0, in [0, 1], one value a head; variant `natural` for natural prompts."""
    reader = Sink(model)
    read(model, sequences, [reader], token_budget=token_budget, progress=progress, units=units)
    return reader.scores(NATURAL if isinstance(sequences, NaturalPrompts) else "")


def dormant_heads(
    sequences: HeadScores, natural: HeadScores, *, threshold: float = DORMANT
) -> Bool[Tensor, "layer head"]:
    """Heads that rest on position 0 on random sequences and on natural prompts alike."""
    given = [(scores.name, scores.variant) for scores in (sequences, natural)]
    if given != [(NAME, ""), (NAME, NATURAL)]:
        raise UsageError(f"dormant heads need the sink on random sequences and on natural prompts, got {given}")
    return (sequences.mean > threshold) & (natural.mean > threshold)
