"""Retrieval: does a head look at the very token that has to be taken out of a context? (Wu et al. 2024; Method 2.10)

arXiv 2404.15574, teacher-forced.
1. Prompts with needles (needles.py); the value's tokens g_1..g_T are given, q_t is the query that predicts g_t.
2. Mean over t of 1[argmax_{j >= 1} A[q_t, j] = the place of g_t in the needle]; a repeated token counts once, ties go
   to the smallest j. Variant `soft`: the attention on that place.
3. Over all items; variants `right` and `soft_right`: over the items whose value the model finds likelier than nine
   others. (The paper generates freely and keeps successes only, so that its score has no value where the model fails.)
Null N1: the place of another key's value, in the same pass. A kv group's score is its maximum; .1 names the class.
What a window does not reach is no attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from induction.needles import Needle, NeedleGroup, NeedlePrompts
from induction.null import DRAWS, N1_OTHER, check_draws, wrong_token_null
from induction.reading import TOKEN_BUDGET, Progress, Reader, Units, read
from interp.attention.rows import AttentionRows
from interp.errors import UsageError
from interp.model import HookedModel
from interp.overflow import broken, refuse_broken_effects
from interp.patched_rows import prepare
from interp.scored_paths import ScoredPaths
from interp.scores import HeadScores

NAME = "retrieval"
THRESHOLD = 0.1
Variant = Literal["", "soft", "right", "soft_right"]


class Retrieval(Reader[NeedleGroup]):
    """Keeps both ways to read a place, [batch head place]: the value's own place first, then the other keys'."""

    name = "retrieval"

    def attention(self, layer: int, rows: AttentionRows) -> None:
        needles = self.batch.needles
        places = 1 + len(needles[0].others)
        hard, soft = (torch.zeros(*rows.shape[:2], places) for _ in range(2))
        for query in sorted({query for needle in needles for query in needle.queries}):
            row = rows.block(query, query + 1)[:, :, 0]  # one query at a time: whole rows of long contexts
            best = 1 + row[..., 1:].argmax(-1)
            for item, needle in enumerate(needles):
                wanted = _places_of(needle, query)
                if wanted is not None:
                    keys = torch.tensor(wanted, device=row.device)
                    hard[item] += (best[item, :, None] == keys).cpu() / len(needle.queries)
                    soft[item] += row[item][:, keys].cpu() / len(needle.queries)
        self.keep("hard", layer, hard)
        self.keep("soft", layer, soft)

    def refuse_broken(self) -> None:
        soft = {int(name.removeprefix("soft/")): kept for name, kept in self.export().items() if "soft/" in name}
        for item, (index, tokens) in enumerate(zip(self.batch.indices, self.batch.tokens.tolist(), strict=True)):
            table = torch.full((self.model.n_layers, self.model.n_heads), torch.nan)
            for layer, kept in soft.items():
                table[layer] = kept[item].sum(-1)
            refuse_broken_effects(self.model, f"retrieval on prompt {index}", table, [tokens])


def _places_of(needle: Needle, query: int) -> list[int] | None:
    """Where the token that this query predicts stands, then what stands there for the other keys."""
    if query not in needle.queries:
        return None
    at = needle.queries.index(query)
    return [needle.places[at], *(other[at] for other in needle.others)]


@dataclass(frozen=True, eq=False)
class _Found:
    """The places read and which items were answered rightly."""

    reader: Retrieval
    right: Bool[Tensor, " item"]
    prompts: NeedlePrompts

    def scores(self, variant: Variant, *, draws: int) -> HeadScores:
        """Raises UsageError for `right` where the model is right on no item."""
        kept = self.right if "right" in variant else torch.ones_like(self.right)
        if not bool(kept.any()):
            raise UsageError(f"the model gets none of {len(kept)} items right: there is no score over right ones")
        table = self.reader.items("soft" if "soft" in variant else "hard")[kept]
        scores = HeadScores.from_items(
            NAME, table[..., 0], variant=variant, n_kv_heads=self.reader.model.n_kv_heads, provenance=self._told(kept)
        )
        others = [item.movedim(-1, 0) for item in table[..., 1:]]
        seed = self.prompts.seed
        null = wrong_token_null(scores.mean, others, draws=draws, seed=seed, name=N1_OTHER) if draws else None
        return scores if null is None else scores.with_nulls(null)

    def _told(self, kept: Bool[Tensor, " item"]) -> dict[str, Any]:
        items = [item for item, keep in zip(self.prompts.items, kept.tolist(), strict=True) if keep]
        right = self.right[kept].tolist()
        return {"length": [item.length for item in items], "depth": [item.depth for item in items], "right": right}


def retrieval_score(
    model: HookedModel,
    prompts: NeedlePrompts,
    variant: Variant = "",
    *,
    draws: int = DRAWS,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
    units: Units | None = None,
) -> HeadScores:
    """Share of the value's tokens that a head looks at most when they are due, in [0, 1], one value a head.

    variant: `soft` for the attention there; `right`, `soft_right` over the items that the model gets right. draws: of
    the null; 0 leaves it out. The provenance tells length, depth and right or wrong, item by item.
    """
    check_draws(draws)
    if variant not in get_args(Variant):
        raise UsageError(f"there is no retrieval variant {variant!r}; there are: {', '.join(get_args(Variant))}")
    found = _read(model, prompts, token_budget=token_budget, progress=progress, units=units)
    return found.scores(variant, draws=draws)


def retrieval_scores(
    model: HookedModel,
    prompts: NeedlePrompts,
    *,
    draws: int = DRAWS,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
    units: Units | None = None,
) -> tuple[HeadScores, ...]:
    """All variants from the same passes; without those over right items where the model is right on none."""
    check_draws(draws)
    found = _read(model, prompts, token_budget=token_budget, progress=progress, units=units)
    variants: tuple[Variant, ...] = ("", "soft", "right", "soft_right")
    there = variants if bool(found.right.any()) else variants[:2]
    return tuple(found.scores(variant, draws=draws) for variant in there)


def retrieval_heads(scores: HeadScores, *, threshold: float = THRESHOLD) -> Bool[Tensor, "layer head"]:
    """The class: heads that look at the token due for a tenth of the tokens; `above_null` says whether by chance."""
    if scores.name != NAME or "soft" in scores.variant:
        raise UsageError(f"the class is made of retrieval by the highest attention, not of {scores.title!r}")
    return scores.mean >= threshold


def _read(
    model: HookedModel, prompts: NeedlePrompts, *, token_budget: int, progress: Progress | None, units: Units | None
) -> _Found:
    reader = Retrieval(model)
    total = 2 * sum(group.tokens.numel() for group in prompts)
    half = None if progress is None else lambda done, _: progress(done, total)
    read(model, prompts, [reader], token_budget=token_budget, progress=half, units=units)
    right, done = [], total // 2
    for number, item in enumerate(prompts.items):
        likelihoods = _choices(model, number, item.context, item.choices, units)
        right.append(bool((likelihoods[0] > likelihoods[1:]).all()))
        done += len(item.tokens)
        if progress is not None:
            progress(done, total)
    return _Found(reader, torch.tensor(right), prompts)


def _choices(
    model: HookedModel, number: int, context: tuple[int, ...], choices: tuple[tuple[int, ...], ...], units: Units | None
) -> Float[Tensor, " choice"]:
    """log p of every choice behind the context, which is run once."""
    key = {"score": "retrieval choices", "context": list(context), "choices": [list(choice) for choice in choices]}
    kept = None if units is None else units.get(key)
    if kept is None:
        rows = prepare(model, ScoredPaths.of_choices(context, choices), [len(context) - 1])
        kept = {"log_likelihoods": rows.plain.float()}
        if not bool(rows.plain.isfinite().all()):
            raise broken(model, "the log-likelihood of a value", document=f"retrieval/{number}", tokens=context)
        if units is not None:
            units.put(key, kept)
    return kept["log_likelihoods"]
