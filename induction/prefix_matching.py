"""Prefix matching: how much a head attends to what followed an earlier copy of the current token.

Olsson et al. 2022; Method 2.1.
1. Draw distinct random tokens and repeat the block.
2. At every query of a later repeat, read the attention on the successors of all earlier copies of its token.
3. Sum over copies, average over queries: a value in [0, 1] for each head and sequence.
Where the model's window does not reach any successor, the query leaves that layer's mean, and a sequence without such
queries leaves it too; the reachable share of pairs is told, and how many sequences are left.
Variant `olsson` divides by the number of (query, copy) pairs instead. Left out: fuzzy matches (the paper's appendix).
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from induction.bansal_released import released_prefix_matching
from induction.null import DRAWS, check_draws, position_null, wrong_token_null
from induction.reading import TOKEN_BUDGET, Progress, Reader, probabilities, read
from induction.sequences import RepeatedSequences, SequenceGroup, Targets, unrepeated_twin
from induction.wrong_token import WrongToken
from interp.attention.rows import AttentionRows
from interp.errors import UsageError
from interp.model import HookedModel
from interp.scores import HeadScores

Variant = Literal["", "olsson", "bansal_released"]
NAME = "prefix_matching"
REACHABLE, IN_REACH = "reachable share of pairs by layer", "sequences in reach by layer"


class LookBack(Reader[SequenceGroup]):
    """Base of the scores read at earlier copies: on repeated sequences, or at the same entries on others (N2).

    `like` gives the sequences whose targets are read, for those that have none of their own.
    """

    def __init__(self, model: HookedModel, like: RepeatedSequences | None = None) -> None:
        super().__init__(model)
        self._like = None if like is None else {group.length: group for group in like}

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "position_only": self._like is not None}

    def start(self, batch: SequenceGroup) -> None:
        super().start(batch)
        self.targets = self._targets(batch)

    def _targets(self, batch: SequenceGroup) -> Targets:
        model = batch if self._like is None else self._like.get(batch.length)
        if model is None or model.tokens.shape[1] != batch.tokens.shape[1]:
            raise UsageError(
                "The sequences without repeats must be as long as the repeated ones: of these there are none of "
                f"{batch.tokens.shape[1]} tokens for L = {batch.length}. Leave them out to have them made."
            )
        if not len(model.targets.queries):
            raise UsageError("scores of earlier copies need repeated sequences: make them with repeats >= 2")
        return model.targets


class PrefixMatching(LookBack):
    """Keeps both ways to average, and the share of (query, target) pairs within the model's reach."""

    name = "prefix matching"

    def attention(self, layer: int, rows: AttentionRows) -> None:
        queries, keys = self.targets.prefix_pairs
        reach = rows.reachable(queries, keys)
        share = float(reach.float().mean())
        if share < 1:
            queries, keys = queries[reach], keys[reach]
        seen = probabilities(rows, queries, keys)
        total = seen.sum(-1)
        self.keep("reachable", layer, torch.full_like(total, share))
        self.keep("mean", layer, total / len(queries.unique()))
        self.keep("olsson", layer, total / len(queries))

    def scores(self, variant: Variant = "") -> HeadScores:
        items, reachable = self.items(variant or "mean"), self.items("reachable")
        share = reachable.mean((0, 2))
        told = {REACHABLE: share, IN_REACH: (reachable[..., 0] > 0).sum(0)} if bool((share < 1).any()) else {}
        return HeadScores.from_items(
            NAME, items, variant=variant, n_kv_heads=self.model.n_kv_heads, provenance=told, partial=True
        )


def prefix_matching_score(
    model: HookedModel,
    sequences: RepeatedSequences,
    *,
    variant: Variant = "",
    draws: int = DRAWS,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
) -> HeadScores:
    """Attention on look-back targets, in [0, 1], one value a head.

    variant: "" (Method 2.1), `olsson`, or `bansal_released` (bansal_released.py). draws: of each null; 0 leaves the
    nulls out and costs one plain forward pass, otherwise N2 runs unrepeated sequences too.
    Raises UsageError where the sequences do not repeat or the model's context is too short for them.
    """
    check_draws(draws)
    if variant == "bansal_released":
        return released_prefix_matching(model, sequences, token_budget=token_budget, progress=progress)
    reader, fold = PrefixMatching(model), WrongToken(model)
    read(model, sequences, [reader, fold] if draws else [reader], token_budget=token_budget, progress=progress)
    scores = reader.scores(variant)
    if not draws:
        return scores
    position = PrefixMatching(model, like=sequences)
    read(model, unrepeated_twin(model, sequences), [position], token_budget=token_budget, progress=progress)
    return with_nulls(scores, fold, position, draws=draws, seed=sequences.seed)


def with_nulls(scores: HeadScores, fold: WrongToken, position: PrefixMatching, *, draws: int, seed: int) -> HeadScores:
    """The score beside N1 and N2 (Method 2.7)."""
    tables = fold.tables("olsson" if scores.variant == "olsson" else "prefix")
    scored = None if scores.per_item is None else ~scores.per_item.isnan()
    wrong = wrong_token_null(scores.mean, tables, draws=draws, seed=seed, scored=scored)
    elsewhere = position_null(scores.mean, position.items(scores.variant or "mean"), draws=draws, seed=seed)
    return scores.with_nulls(*(null for null in (wrong, elsewhere) if null is not None))
