"""What the code released with Bansal et al. (2023) computes, for comparison only (Method 2.1 and 2.2).

Prefix matching: it also credits the token after BOS when the query's position is a multiple of L (too high by up to
1 / L). Copying departs from the paper's text throughout:
1. every layer is fed the raw token + position embedding through its own first norm, never the residual stream;
2. the OV circuit is applied to the query token's own value (attention never multiplies it), b_O added to every head;
3. no final norm; probabilities in place of logits (the softmax's normaliser cancels in the ratio);
4. i = 1..4L, and S_i and j* include BOS.
Only for multi-head attention with learned absolute positions and pre-LN (OPT, GPT-2); anything else is refused.
"""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from induction.reading import TOKEN_BUDGET, Progress, Reader, at_block_0, probabilities, read
from induction.sequences import RepeatedSequences, SequenceGroup
from interp.architecture import linear_weight
from interp.attention.rows import AttentionRows
from interp.errors import RefusedModelError, UsageError
from interp.model import HookedModel
from interp.scores import HeadScores

VARIANT = "bansal_released"
_ARCHITECTURES = ("OPTForCausalLM", "GPT2LMHeadModel")


class _ReleasedPrefix(Reader[SequenceGroup]):
    name = "released prefix matching"

    def start(self, batch: SequenceGroup) -> None:
        super().start(batch)
        if batch.repeats < 2:
            raise UsageError("prefix matching needs repeated sequences: make them with repeats >= 2")
        self.queries, self.keys = released_pairs(batch.block, batch.repeats)

    def attention(self, layer: int, rows: AttentionRows) -> None:
        queries, keys = (part.to(self.batch.tokens.device) for part in (self.queries, self.keys))
        count = (self.batch.repeats - 1) * self.batch.block
        self.keep("mean", layer, probabilities(rows, queries, keys).sum(-1) / count)


def released_pairs(length: int, repeats: int) -> tuple[Int[Tensor, " pair"], Int[Tensor, " pair"]]:
    """(query, key): from each position i > L back in steps of L down to 0, BOS included, the position after."""
    pairs = [(i, p + 1) for i in range(length + 1, repeats * length + 1) for p in range(i - length, -1, -length)]
    both = torch.tensor(pairs)
    return both[:, 0], both[:, 1]


def released_prefix_matching(
    model: HookedModel,
    sequences: RepeatedSequences,
    *,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
) -> HeadScores:
    """Prefix matching by the released code's loop."""
    refuse_other_shapes(model)
    reader = _ReleasedPrefix(model)
    read(model, sequences, [reader], token_budget=token_budget, progress=progress)
    return HeadScores.from_items("prefix_matching", reader.items("mean"), variant=VARIANT, n_kv_heads=model.n_kv_heads)


def released_copying(
    model: HookedModel,
    sequences: RepeatedSequences,
    *,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
) -> HeadScores:
    """Copying by the released code's formulas, on sequences without repeats."""
    refuse_other_shapes(model)
    if sequences.repeats != 1:
        raise UsageError("copying is scored on sequences without repeats: make them with repeats=1")
    found: dict[int, Tensor] = {}
    done, total = 0, sum(group.tokens.numel() for group in sequences)
    with torch.no_grad():
        for group in sequences:
            for index, tokens in zip(group.indices, group.tokens, strict=True):
                embedded = at_block_0(model, tokens[None], "resid_pre")[0]  # token + position embedding
                layers = [released_layer(model, layer, embedded, tokens) for layer in range(model.n_layers)]
                found[index] = torch.stack(layers).cpu()
                done += tokens.numel()
                if progress is not None:
                    progress(done, total)
    items = torch.stack([found[index] for index in sorted(found)])
    return HeadScores.from_items("copying", items, variant=VARIANT, n_kv_heads=model.n_kv_heads)


def released_layer(
    model: HookedModel, layer: int, embedded: Float[Tensor, "token d_model"], tokens: Int[Tensor, " token"]
) -> Float[Tensor, " head"]:
    """One layer's heads on one sequence: [head]."""
    x = model.layout.block(model.hf, layer).get_submodule(str(model.layout.ln1))(embedded)
    projections = model.layout.projections(model.hf, layer)
    q, k, v = (
        rearrange(torch.nn.functional.linear(x, *projections[name]), "t (h d) -> h t d", h=model.n_heads)
        for name in "qkv"
    )
    scores = (q @ k.mT).float() * model.d_head**-0.5
    past = torch.ones(len(tokens), len(tokens), dtype=torch.bool, device=tokens.device).tril()
    best = scores.masked_fill(~past, -torch.inf).argmax(-1)
    unembed = linear_weight(model.hf.get_submodule(model.layout.unembed))[tokens].float()
    to_logits = einsum(model.w_o(layer).float(), unembed, "head d m, token m -> head d token")
    bias = model.o_module(layer).bias
    shared = unembed @ bias.float() if isinstance(bias, Tensor) else 0.0
    return _ratio(v.float() @ to_logits + shared, past, best)


def _ratio(
    logits: Float[Tensor, "head query token"], past: Bool[Tensor, "query token"], best: Int[Tensor, "head query"]
) -> Float[Tensor, " head"]:
    """Mean over i >= 1 of the raised probability of x_j* over all raised probability in S_i."""
    weights = torch.softmax(logits.double().masked_fill(~past, -torch.inf), -1)
    mean = 1 / past.sum(-1, keepdim=True)
    raised = (weights - mean).clamp(min=0).masked_fill(~past, 0)
    whole = raised.sum(-1)
    at_best = raised.gather(-1, best[..., None])[..., 0]
    return torch.where(whole > 0, at_best / whole, 0)[:, 1:].mean(-1).float()


def refuse_other_shapes(model: HookedModel) -> None:
    if model.layout.architecture not in _ARCHITECTURES or model.layout.post_norm or model.n_kv_heads != model.n_heads:
        raise RefusedModelError(
            f"`{VARIANT}` exists for OPT and GPT-2 shapes only (multi-head attention, learned absolute positions, "
            f"pre-LN), not for {model.layout.architecture}"
        )
