"""Direct logit attribution along the induction path: `successor` and `signed` (Method 2.2).

On repeated sequences, at all queries i of repeats 2..R, S = the L content tokens, numerator at the token x_{i+1} that
follows (cyclic: the last query's target is x_1):
- `successor`: mean over i of rho_i[x_{i+1}] / sum rho_i; chance 1 / L;
- `signed`: mean over i of (logit_i[x_{i+1}] - mean_S) / sd_S (0 if sd = 0), which shows anti-copying as negative;
- `signed_auc`, beside it: 2 AUC - 1 of the target's rank in S.
It does not read attention: direct copying by an induction head = prefix matching AND `successor` above the null.
No direct copying is not no effect: a head may act through later heads.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from induction.circuits import DirectPath, content_columns
from induction.null import DRAWS, check_draws, shift_table, wrong_token_null
from induction.reading import TOKEN_BUDGET, Progress, Reader, read
from induction.sequences import RepeatedSequences, SequenceGroup
from interp.errors import UsageError
from interp.model import HookedModel
from interp.scores import HeadScores

_BLOCK_ELEMENTS = 1 << 20


class DirectEffect(Reader[SequenceGroup]):
    """Reads, for every place k of the block, the mean over queries of the score of the token k places further on."""

    name = "direct effect"
    needs_z = True

    def __init__(self, model: HookedModel) -> None:
        super().__init__(model)
        self.path = DirectPath(model)

    def start(self, batch: SequenceGroup) -> None:
        super().start(batch)
        if batch.repeats < 2:
            raise UsageError("`successor` and `signed` need repeated sequences: make them with repeats >= 2")
        self.columns = content_columns(self.path, batch.tokens[:, 1 : 1 + batch.block])

    def heads(self, layer: int, z: Float[Tensor, "batch query head d_value"]) -> None:
        block = self.batch.block
        places = (torch.arange(block, device=z.device)[:, None] + torch.arange(block, device=z.device)).remainder(block)
        values: dict[str, list[Tensor]] = {}
        for one in range(z.shape[0]):
            queries = z[one, 1 + block :].float().unflatten(0, (self.batch.repeats - 1, block))
            to_logits = self.path.from_heads(layer, self.columns[one])
            for name, value in self._one_sequence(queries, to_logits, places).items():
                values.setdefault(name, []).append(value)
        for name, found in values.items():
            self.keep(name, layer, torch.stack(found))

    def scores(self, variant: str) -> HeadScores:
        table = torch.stack([item if variant == "signed_auc" else item[..., 1] for item in self.ragged(variant)])
        return HeadScores.from_items("copying", table, variant=variant, n_kv_heads=self.model.n_kv_heads)

    def with_null(self, variant: str, *, draws: int, seed: int) -> HeadScores:
        """The score beside N1: the token d places further on than the one that follows (Method 2.7)."""
        scores = self.scores(variant)
        if not draws or variant == "signed_auc":
            return scores
        tables = [shift_table(item, 1) for item in self.ragged(variant)]
        null = wrong_token_null(scores.mean, tables, draws=draws, seed=seed, two_sided=variant == "signed")
        return scores if null is None else scores.with_nulls(null)

    def _one_sequence(
        self,
        z: Float[Tensor, "repeat place head d_value"],
        to_logits: Float[Tensor, "head d_value token"],
        places: Tensor,
    ) -> dict[str, Float[Tensor, "head *place"]]:
        """Tables [head place] summed over queries, a few places of the block at a time."""
        repeats, block, heads, _ = z.shape
        total: dict[str, Tensor] = {}
        step = max(1, _BLOCK_ELEMENTS // (repeats * heads * block))
        for start in range(0, block, step):
            part = z[:, start : start + step]
            logits = torch.einsum("rphd,hdt->hprt", part, to_logits)
            centred = logits - logits.mean(-1, keepdim=True)
            rho = centred.clamp(min=0)
            whole = rho.sum(-1, keepdim=True)
            spread = centred.square().mean(-1, keepdim=True).sqrt()
            index = places[start : start + step]
            ratio = torch.where(whole > 0, rho / whole, 0).sum(2)
            standard = torch.where(spread > 0, centred / spread, 0).sum(2)
            target = logits.gather(-1, index[None, :, None, 1:2].expand(heads, -1, repeats, -1))
            above = (logits < target).float().sum(-1) - (logits > target).float().sum(-1)
            for name, value in (
                ("successor", ratio.gather(-1, index.expand_as(ratio)).sum(1)),
                ("signed", standard.gather(-1, index.expand_as(standard)).sum(1)),
                ("signed_auc", above.sum((1, 2)) / (block - 1)),
            ):
                total[name] = total.get(name, 0) + value
        return {name: value / (repeats * block) for name, value in total.items()}


def direct_effect_score(
    model: HookedModel,
    sequences: RepeatedSequences,
    variant: str,
    *,
    draws: int = DRAWS,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
) -> HeadScores:
    """`successor` (in [0, 1]), `signed` (in standard deviations) or `signed_auc` (in [-1, 1]), one value a head."""
    check_draws(draws)
    reader = DirectEffect(model)
    read(model, sequences, [reader], token_budget=token_budget, progress=progress)
    return reader.with_null(variant, draws=draws, seed=sequences.seed)
