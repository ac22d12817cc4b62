"""Prefix matching: how much a head attends to what followed an earlier copy of the current token.

Olsson et al. 2022; METHODS 2.1.
1. Draw distinct random tokens and repeat the block.
2. At every query of a later repeat, read the attention on the successors of all earlier copies of its token.
3. Sum over copies, average over queries: a value in [0, 1] for each head and sequence.
Where the model's window does not reach any successor, the query leaves that layer's mean; the reachable share is told.
Variant `olsson` divides by the number of (query, copy) pairs instead. Left out: fuzzy matches (the paper's appendix).
"""

from __future__ import annotations

from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from induction.null import DRAWS, WrongToken, position_null, unrepeated_twin, wrong_token_null
from induction.reading import TOKEN_BUDGET, Progress, Reader, read
from induction.sequences import RepeatedSequences, SequenceGroup
from interp.attention.rows import AttentionRows
from interp.errors import HeadscopeError, UsageError
from interp.model import HookedModel
from interp.scores import HeadScores

Variant = Literal["", "olsson", "bansal_released"]
NAME = "prefix_matching"


class PrefixMatching(Reader):
    """Reads the look-back targets of repeated sequences, or the same entries on sequences without repeats (N2).

    `like` gives the group whose targets are read, for sequences that have none of their own.
    """

    def __init__(self, model: HookedModel, like: RepeatedSequences | None = None) -> None:
        super().__init__(model)
        self._like = {} if like is None else {group.length: group for group in like}

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "position_only": bool(self._like)}

    def start(self, batch: SequenceGroup) -> None:
        super().start(batch)
        targets = self._like.get(batch.length, batch).targets
        self.queries, self.keys = targets.prefix_pairs
        if not len(self.queries):
            raise UsageError("prefix matching needs repeated sequences: make them with repeats >= 2")

    def attention(self, layer: int, rows: AttentionRows) -> None:
        reach = rows.reachable(self.queries, self.keys)
        queries, keys = self.queries[reach], self.keys[reach]
        seen = probabilities(rows, queries, keys)
        self.keep("reachable", layer, reach.float().mean().expand(seen.shape[:2]))
        self.keep("mean", layer, seen.sum(-1) / len(queries.unique()))
        self.keep("olsson", layer, seen.mean(-1))

    def scores(self, variant: Variant = "") -> HeadScores:
        share = self.items("reachable").mean((0, 2))
        told = {"reachable share of pairs by layer": share} if bool((share < 1).any()) else {}
        return HeadScores.from_items(
            NAME, self.items(variant or "mean"), variant=variant, n_kv_heads=self.model.n_kv_heads, provenance=told
        )


def probabilities(rows: AttentionRows, queries: Tensor, keys: Tensor) -> Float[Tensor, "batch head pair"]:
    """Attention at pairs, checked to lie in [0, 1] (METHODS 2.1)."""
    seen = rows.at(queries, keys)
    if seen.numel() and not (float(seen.min()) >= 0.0 and float(seen.max()) <= 1.0 + 1e-4):
        raise HeadscopeError(
            f"attention probabilities outside [0, 1] ({float(seen.min()):.3g} to {float(seen.max()):.3g}): the "
            "attention route does not fit this model; run `headscope doctor` and report the family"
        )
    return seen


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

    variant: "" (METHODS 2.1), `olsson`, or `bansal_released` (bansal_released.py). draws: of each null; 0 leaves the
    nulls out and costs one plain forward pass, otherwise N2 runs unrepeated sequences too.
    Raises UsageError where the sequences do not repeat or the model's context is too short for them.
    """
    if variant == "bansal_released":
        from induction.bansal_released import released_prefix_matching

        return released_prefix_matching(model, sequences, token_budget=token_budget, progress=progress)
    reader, fold = PrefixMatching(model), WrongToken(model)
    read(model, sequences, [reader, fold] if draws else [reader], token_budget=token_budget, progress=progress)
    scores = reader.scores(variant)
    if not draws:
        return scores
    position = PrefixMatching(model, like=sequences)
    read(model, unrepeated_twin(model, sequences), [position], token_budget=token_budget, progress=progress)
    return with_nulls(scores, fold, position, draws=draws, seed=sequences.seed)


def with_nulls(
    scores: HeadScores, fold: WrongToken, position: PrefixMatching, *, draws: int, seed: int
) -> HeadScores:
    """The score beside N1 and N2 (METHODS 2.7)."""
    scale = 1.0
    if scores.variant == "olsson":
        repeats = fold.batch.repeats
        scale = 2.0 / repeats  # queries L, pairs R L / 2
    tables = [table * scale for table in fold.tables(first=1)]
    wrong = wrong_token_null(scores.mean, tables, draws=draws, seed=seed)
    elsewhere = position_null(scores.mean, position.items(scores.variant or "mean"), draws=draws, seed=seed)
    return scores.with_nulls(*(null for null in (wrong, elsewhere) if null is not None))


