"""Composition of two heads by their weights (Elhage et al. 2021, section on composition; METHODS 2.5).

For layer(h1) < layer(h2), Frobenius norms of products over products of norms:
    Q: |W_QK2^T W_OV1|    K: |W_QK2 W_OV1|    V: |W_OV2 W_OV1|
W_QK = W_Q^T W_K with the input norm's and the q/k-norm's gains folded (rotary offset 0), W_OV = W_O W_V with h1's
post-attention norm gain; key-value head by group. Through d_head x d_head cores: no d_model x d_model matrix is made.
The baseline of two random matrices is exactly 1 / sqrt(d_model); what is reported is the ratio to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from induction.circuits import DirectPath
from interp.errors import UsageError
from interp.model import HookedModel
from interp.norms import probe

Kind = Literal["q", "k", "v"]
Head = tuple[int, int]
MOST_HEADS = 1000


@dataclass(frozen=True)
class Composition:
    """Ratios to the random baseline, [kind later earlier] flattened over (layer, head); NaN where not asked for.

    rank: place of each earlier head among all earlier heads of the later one, 1 = strongest.
    """

    kinds: tuple[Kind, ...]
    n_heads: int
    ratio: Float[Tensor, "kind later earlier"]
    rank: Float[Tensor, "kind later earlier"]

    def of(self, earlier: Head, later: Head, kind: Kind = "k") -> float:
        """How many times the baseline `later` composes with `earlier`."""
        return float(self.ratio[self.kinds.index(kind), self._flat(later), self._flat(earlier)])

    def rank_of(self, earlier: Head, later: Head, kind: Kind = "k") -> int:
        return int(self.rank[self.kinds.index(kind), self._flat(later), self._flat(earlier)])

    def _flat(self, head: Head) -> int:
        return head[0] * self.n_heads + head[1]


def composition_scores(
    model: HookedModel,
    *,
    kinds: Sequence[Kind] = ("q", "k", "v"),
    pairs: Iterable[tuple[Head, Head]] | None = None,
) -> Composition:
    """Q-, K- and V-composition of every pair of heads in two layers, or of the (earlier, later) `pairs`.

    Raises UsageError for all pairs of a model with more than 1,000 heads: ask for pairs.
    """
    count = model.n_layers * model.n_heads
    wanted = None if pairs is None else list(pairs)
    if wanted is None and count > MOST_HEADS:
        raise UsageError(f"{count} heads make {count * count // 2} pairs: give the (earlier, later) pairs you need")
    later = None if wanted is None else {head for _, head in wanted}
    ratio = torch.full((len(kinds), count, count), torch.nan)
    with torch.no_grad():
        roots = _Roots(model)
        for layer in model.attention_layers:
            for head in range(model.n_heads):
                if layer > 0 and (later is None or (layer, head) in later):
                    row = layer * model.n_heads + head
                    ratio[:, row, : layer * model.n_heads] = roots.against_earlier(layer, head, kinds)
    ratio = ratio * model.d_model**0.5
    order = torch.sort(ratio.nan_to_num(nan=-torch.inf), dim=-1, descending=True, stable=True).indices
    rank = torch.empty_like(ratio).scatter_(-1, order, torch.arange(1.0, count + 1).expand_as(ratio))
    rank = rank.masked_fill(ratio.isnan(), torch.nan)
    if wanted is not None:
        keep = torch.zeros(count, count, dtype=torch.bool)
        for first, second in wanted:
            if first[0] >= second[0]:
                raise UsageError(f"head {first} is not in an earlier layer than {second}: there is nothing to compose")
            keep[second[0] * model.n_heads + second[1], first[0] * model.n_heads + first[1]] = True
        ratio, rank = (value.masked_fill(~keep, torch.nan) for value in (ratio, rank))
    return Composition(tuple(kinds), model.n_heads, ratio, rank)


class _Roots:
    """Weights of all heads in float32, and square roots of their Gram matrices: |A X| = |R X| with R'R = A'A."""

    def __init__(self, model: HookedModel) -> None:
        path = DirectPath(model)
        shape = (model.n_layers * model.n_heads, model.d_head, model.d_model)
        self.n_heads = model.n_heads
        self.q, self.k = torch.zeros(shape), torch.zeros(shape)
        self.v = torch.zeros(shape[0], model.d_value, model.d_model)
        self.o = torch.zeros(shape[0], model.d_value, model.d_model)
        for layer in model.attention_layers:
            rows = slice(layer * model.n_heads, (layer + 1) * model.n_heads)
            self.q[rows], self.k[rows], self.v[rows] = (_folded(model, layer, name) for name in "qkv")
            output, post = model.w_o(layer).float(), path.post_norm(layer)
            self.o[rows] = output if post is None else post.apply_to_rows(output)
        self.q_gram, self.k_gram = self.q @ self.q.mT, self.k @ self.k.mT
        self.v_gram, self.o_gram = self.v @ self.v.mT, self.o @ self.o.mT
        self.qk_norm = _trace(self.q_gram, self.k_gram)
        self.ov_norm = _trace(self.o_gram, self.v_gram)

    def against_earlier(self, layer: int, head: int, kinds: Sequence[Kind]) -> Float[Tensor, "kind earlier"]:
        """|outer core W_OV1| / (|outer core| |W_OV1|) for every head of the layers before."""
        one, before = layer * self.n_heads + head, slice(0, layer * self.n_heads)
        parts = {  # (what reads the residual stream, Gram matrix of what follows, norm of the whole)
            "q": (self.q[one], self.k_gram[one], self.qk_norm[one]),
            "k": (self.k[one], self.q_gram[one], self.qk_norm[one]),
            "v": (self.v[one], self.o_gram[one], self.ov_norm[one]),
        }
        found = []
        for kind in kinds:
            reads, gram, norm = parts[kind]
            core = reads @ self.o[before].mT  # earlier d_head d_value
            squared = ((gram @ core) * (core @ self.v_gram[before])).sum((-1, -2))  # tr(core' gram core v_gram)
            found.append(squared.clamp_min(0).sqrt() / (norm * self.ov_norm[before]).clamp_min(1e-30))
        return torch.stack(found)


def _trace(left: Float[Tensor, "head a a"], right: Float[Tensor, "head a a"]) -> Float[Tensor, " head"]:
    """Frobenius norm of X'Y from the Gram matrices XX' and YY'."""
    return (left * right.mT).sum((-1, -2)).clamp_min(0).sqrt()


def _folded(model: HookedModel, layer: int, name: str) -> Float[Tensor, "head d_head d_model"]:
    """A projection by query head, the input norm's gain and centring and the q/k-norm's gain folded in."""
    weight = model.w_qkv(layer, name).float()
    norm = model.layout.inner(model.hf, layer, getattr(model.layout, f"{name}_norm", None)) if name in "qk" else None
    if norm is not None:
        width = norm.weight.numel()  # type: ignore[union-attr, operator]  # one head's width, or all heads side by side
        gain = probe(norm, int(width), device=model.device, dtype=model.dtype).gain
        weight = weight * gain.view(-1, weight.shape[1], 1)
    module = model.layout.inner(model.hf, layer, model.layout.ln1)
    if module is not None:
        before = probe(module, model.d_model, device=model.device, dtype=model.dtype)
        weight = weight * before.gain
        weight = weight - weight.mean(-1, keepdim=True) if before.centres else weight
    return weight.repeat_interleave(model.n_heads // weight.shape[0], 0).cpu()
