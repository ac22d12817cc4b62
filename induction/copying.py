"""Copying: does a head raise the logit of the token it attends to? (Bansal et al. 2023, section 4.2; Method 2.2)

On an unrepeated sequence, at query i, over the content tokens S_i up to i:
1. logit_i[t] = the head's direct effect on the logit of t (circuits.py), rho_i = ReLU(logit_i - mean over S_i).
2. `argmax`: mean over i of rho_i[x_j*] / sum rho_i, j* the content position of highest attention, ties to the smallest.
3. `attended`: the numerator is sum_j A[i, j] rho_i[x_j] over content j, not renormalised.
0 where the denominator is 0; the first content query is skipped. `successor` and `signed` are in direct_effect.py.
Null: every token j* is replaced by a random one of S_i, the same replacement wherever it is attended in a draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from induction.bansal_released import released_copying
from induction.circuits import DirectPath, content_columns
from induction.direct_effect import direct_effect_score
from induction.null import DRAWS, check_draws, recombined_null, values_per_sequence
from induction.reading import TOKEN_BUDGET, Progress, Reader, read
from induction.sequences import RepeatedSequences, SequenceGroup
from interp.attention.rows import AttentionRows
from interp.errors import UsageError
from interp.model import HookedModel
from interp.scores import HeadScores

Variant = Literal["argmax", "attended", "successor", "signed", "bansal_released"]
NAME = "copying"
ATTENDED_DRAWS = 200  # a draw of `attended` reads the whole matrix again
_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class _Content:
    """A batch's content tokens: their columns, and the random places of the null, one a token and draw."""

    columns: Float[Tensor, "batch d_model token"]
    places: Float[Tensor, "batch token draw"]


class Copying(Reader[SequenceGroup]):
    """Reads `argmax` and, if asked, `attended` on unrepeated sequences; `null_values` random draws of each sequence."""

    name = "copying"
    needs_z = True

    def __init__(
        self,
        model: HookedModel,
        *,
        attended: bool = False,
        null_values: int = 0,
        attended_values: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(model)
        self.path = DirectPath(model)
        self.attended, self.null_values, self.attended_values = attended, null_values, attended_values
        self.seed = seed
        self._chances: dict[int, float] = {}

    @property
    def settings(self) -> dict[str, Any]:
        drawn = {"null_values": self.null_values, "attended_values": self.attended_values, "seed": self.seed}
        return {**super().settings, "attended": self.attended, **drawn}

    def start(self, batch: SequenceGroup) -> None:
        super().start(batch)
        if batch.repeats != 1:
            raise UsageError("copying is scored on sequences without repeats: make them with repeats=1")
        tokens = batch.tokens[:, 1:]
        places = [self._places(index, tokens.shape[1]) for index in batch.indices]
        chance = float((1 / torch.arange(2.0, batch.tokens.shape[1])).mean())  # mean over queries of 1 / |S_i|
        self._chances |= dict.fromkeys(batch.indices, chance)
        self.content = _Content(content_columns(self.path, tokens), torch.stack(places).to(tokens.device))

    def attention(self, layer: int, rows: AttentionRows) -> None:
        self.rows = rows

    def heads(self, layer: int, z: Float[Tensor, "batch query head d_value"]) -> None:
        """Means over the queries, in blocks of queries against the tokens so far."""
        to_logits = self.path.from_heads(layer, self.content.columns)  # batch head d_value token
        count = to_logits.shape[-1]
        queries = z[:, 1:].float().transpose(1, 2)  # batch head token d_value, content only
        running = to_logits.cumsum(-1) / torch.arange(1, count + 1, device=z.device)
        mean = (queries * running.mT).sum(-1)
        total: dict[str, Tensor] = {}
        step = max(16, _BLOCK_ELEMENTS // (z.shape[0] * z.shape[2] * count))
        for start in range(1, count, step):
            stop = min(start + step, count)
            rho = (queries[:, :, start:stop] @ to_logits[..., :stop]).sub_(mean[:, :, start:stop, None]).clamp_(min=0)
            rho[..., start:].tril_()
            pattern = self.rows.block(1 + start, 1 + stop)[..., 1:]
            for name, value in self._block(rho, pattern, start).items():
                total[name] = total.get(name, 0) + value
        del self.rows
        for name, value in total.items():
            self.keep(name, layer, value / (count - 1))

    def scores(self, variant: str = "argmax") -> HeadScores:
        beside = {name: self.items(name).mean(0) for name in ("on_content", "on_itself")}
        told = {
            "mean attention on content": beside["on_content"],
            "share of j* = i": beside["on_itself"],
            "chance": sum(self._chances.values()) / len(self._chances),
        }
        return HeadScores.from_items(
            NAME, self.items(variant), variant=variant, n_kv_heads=self.model.n_kv_heads, provenance=told
        )

    def _block(
        self, rho: Float[Tensor, "batch head query token"], pattern: Float[Tensor, "batch head query token"], start: int
    ) -> dict[str, Float[Tensor, "batch head *draw"]]:
        """The block's sums over queries; query q of it is content token start + q, S_i has start + q + 1 tokens."""
        size = torch.arange(start + 1, start + 1 + rho.shape[2], device=rho.device)
        whole, on_content = rho.sum(-1), pattern.sum(-1)
        inverse = torch.where(whole > 0, 1 / whole, 0)
        share = (whole > 0) / size  # of the sum rho, in any one token on average
        best = pattern.argmax(-1)
        found = {
            "argmax": (rho.gather(-1, best[..., None])[..., 0] * inverse).sum(-1),
            "argmax_expected": share.sum(-1),
            "attended_expected": (share * on_content).sum(-1),
            "on_content": on_content.sum(-1),
            "on_itself": (best == size - 1).float().sum(-1),
        }
        if self.null_values:
            sequence = torch.arange(len(rho), device=rho.device)[:, None, None]
            chosen = _replaced(self.content.places[..., : self.null_values][sequence, best], size[:, None])
            found["argmax_null"] = (rho.gather(-1, chosen) * inverse[..., None]).sum(2)
        if self.attended:
            found["attended"] = ((pattern * rho).sum(-1) * inverse).sum(-1)
        if self.attended_values:
            found["attended_null"] = self._attended_null(rho, pattern * inverse[..., None], size)
        return found

    def _attended_null(
        self,
        rho: Float[Tensor, "batch head query token"],
        weights: Float[Tensor, "batch head query token"],
        size: Int[Tensor, " query"],
    ) -> Float[Tensor, "batch head draw"]:
        """Every draw replaces each token alike for all heads, which therefore lie side by side here."""
        batch, _, queries, tokens = rho.shape
        values = rearrange(rho, "b h q t -> (b q t) h").contiguous()
        weights = rearrange(weights, "b h q t -> b (q t) h").contiguous()
        row = torch.arange(batch * queries, device=rho.device).view(batch, queries, 1) * tokens
        found = []
        for draw in range(self.attended_values):
            chosen = row + _replaced(self.content.places[:, None, :tokens, draw], size[:, None])
            found.append(values.index_select(0, chosen.flatten()).view_as(weights).mul_(weights).sum(1))
        return torch.stack(found, -1)

    def _places(self, index: int, count: int) -> Float[Tensor, "token draw"]:
        """u ~ U(0, 1), one a token and draw, from a stream of this sequence's own."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        return torch.rand(count, max(self.null_values, self.attended_values), generator=generator)


def _replaced(places: Float[Tensor, "*shape"], size: Tensor) -> Int[Tensor, "..."]:
    """floor(u |S_i|): a random token of S_i."""
    return torch.minimum((places * size).long(), size - 1)


def copying_score(
    model: HookedModel,
    sequences: RepeatedSequences,
    variant: Variant = "argmax",
    *,
    draws: int = DRAWS,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
) -> HeadScores:
    """How far a head writes what it attends to, one value a head; [0, 1] but for `signed`.

    variant: `argmax`, `attended`, `bansal_released` on sequences made with repeats=1; `successor`, `signed` on repeated
    ones. draws: of the null; 0 leaves it out. Raises UsageError for the wrong kind of sequences, RefusedModelError for
    families without a direct path from heads to logits (post-LN).
    """
    check_draws(draws)
    options = {"token_budget": token_budget, "progress": progress}
    if variant in ("successor", "signed"):
        return direct_effect_score(model, sequences, variant, draws=draws, **options)  # type: ignore[arg-type]
    if variant == "bansal_released":
        return released_copying(model, sequences, **options)  # type: ignore[arg-type]
    if variant not in ("argmax", "attended"):
        raise UsageError(f"there is no copying variant {variant!r}; there are: {', '.join(get_args(Variant))}")
    attended = variant == "attended"
    values = {"null_values": values_per_sequence(len(sequences), draws) if draws and not attended else 0}
    if draws and attended:
        values["attended_values"] = values_per_sequence(len(sequences), min(draws, ATTENDED_DRAWS))
    reader = Copying(model, attended=attended, seed=sequences.seed, **values)
    read(model, sequences, [reader], **options)  # type: ignore[arg-type]
    return with_null(reader, variant, draws=draws, seed=sequences.seed)


def with_null(reader: Copying, variant: str, *, draws: int, seed: int) -> HeadScores:
    """The score beside its null: another token of S_i in the attended one's place (Method 2.7)."""
    scores = reader.scores(variant)
    if not draws:
        return scores
    values, expected = reader.items(f"{variant}_null"), reader.items(f"{variant}_expected")
    return scores.with_nulls(recombined_null(scores.mean, values, expected=expected, draws=draws, seed=seed))
