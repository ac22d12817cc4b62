"""Composition of two heads by their weights (Elhage et al. 2021, section on composition; Method 2.5).

For layer(h1) < layer(h2), Frobenius norms of products over products of norms:
    Q: |W_QK2^T W_OV1|    K: |W_QK2 W_OV1|    V: |W_OV2 W_OV1|
W_QK = W_Q^T W_K with the input norm's and the q/k-norm's gains folded (rotary offset 0), W_OV = W_O W_V with h1's
post-attention norm gain; key-value head by group. Through d_head x d_head cores: no d_model x d_model matrix is made.
The baseline of two random matrices is exactly 1 / sqrt(d_model); what is reported is the ratio to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from induction.circuits import DirectPath
from interp.errors import RefusedModelError, UsageError, quoted
from interp.masks import listed_heads
from interp.model import HookedModel
from interp.norms import probe
from interp.shown import one_line

Kind = Literal["q", "k", "v"]
KINDS: tuple[Kind, ...] = ("q", "k", "v")
Head = tuple[int, int]
MOST_HEADS = 1000


@one_line
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
        """How many times the baseline `later` composes with `earlier`; NaN for a pair that was not asked for.

        Raises UsageError for heads and kinds that are not there.
        """
        return float(self.ratio[self._kind(kind), self._flat(later), self._flat(earlier)])

    def rank_of(self, earlier: Head, later: Head, kind: Kind = "k") -> int:
        """The place of `earlier` among all earlier heads. Raises UsageError for a pair that has none."""
        place = float(self.rank[self._kind(kind), self._flat(later), self._flat(earlier)])
        if math.isnan(place):
            raise UsageError(
                f"heads {earlier} and {later} have no rank: the first must stand in an earlier layer than the second, "
                "and the pair must be one that was asked for"
            )
        return int(place)

    def _kind(self, kind: str) -> int:
        if kind not in self.kinds:
            raise UsageError(f"there is no {kind!r}-composition here: the kinds are {', '.join(self.kinds)}")
        return self.kinds.index(kind)

    def _flat(self, head: Head) -> int:
        ((layer, number),) = listed_heads([head])
        layers = self.ratio.shape[-1] // self.n_heads
        if not (0 <= layer < layers and 0 <= number < self.n_heads):
            raise UsageError(
                f"head {layer}.{number} does not exist: there are layers 0-{layers - 1}, heads 0-{self.n_heads - 1}"
            )
        return layer * self.n_heads + number


def composition_scores(
    model: HookedModel, *, kinds: Sequence[Kind] = KINDS, pairs: Iterable[tuple[Head, Head]] | None = None
) -> Composition:
    """Q-, K- and V-composition of every pair of heads in two layers, or of the (earlier, later) `pairs`.

    Raises UsageError for all pairs of a model with more than 1,000 heads: ask for pairs.
    """
    if odd := [kind for kind in kinds if kind not in KINDS]:
        raise UsageError(f"there is no {odd[0]!r}-composition: the kinds are {', '.join(KINDS)}")
    wanted = None if pairs is None else list(map(_pair, pairs))
    rows = _later_heads(model, wanted)
    count = model.n_layers * model.n_heads
    ratio = torch.full((len(kinds), count, count), torch.nan)
    with torch.no_grad():
        path, readers = DirectPath(model), _LaterHeads(model, rows)
        for layer in model.attention_layers:
            writers = _Writers(model, path, layer)
            columns = slice(layer * model.n_heads, (layer + 1) * model.n_heads)
            for later in (group for group in readers.layers if group > layer):
                ratio[:, readers.rows(later), columns] = readers.against(writers, later, kinds)
    rank = torch.full_like(ratio, torch.nan)
    for row in rows:
        rank[:, row] = _places(ratio[:, row])
    if wanted is not None:
        keep = torch.zeros(count, count, dtype=torch.bool)
        for (layer, head), (later, other) in wanted:
            keep[later * model.n_heads + other, layer * model.n_heads + head] = True
        ratio, rank = (value.masked_fill(~keep, torch.nan) for value in (ratio, rank))
    return Composition(tuple(kinds), model.n_heads, ratio * model.d_model**0.5, rank)


def _pair(given: Any) -> tuple[Head, Head]:
    found = listed_heads(given)
    if len(found) != 2:
        raise UsageError(f"{quoted(given)} is no pair of heads: give (earlier, later), for example ((0, 1), (3, 2))")
    return found[0], found[1]


def _later_heads(model: HookedModel, pairs: list[tuple[Head, Head]] | None) -> list[int]:
    """The heads that read, as layer * heads + head."""
    count, heads = model.n_layers * model.n_heads, model.n_heads
    if pairs is None and count > MOST_HEADS:
        raise UsageError(f"{count} heads make {count * count // 2} pairs: give the (earlier, later) pairs you need")
    if pairs is None:
        return [layer * heads + head for layer in model.attention_layers[1:] for head in range(heads)]
    for earlier, later in pairs:
        for layer, head in (earlier, later):
            if layer not in model.attention_layers or not 0 <= head < heads:
                raise UsageError(
                    f"there is no head {layer}.{head}: {len(model.attention_layers)} of the layers "
                    f"0-{model.n_layers - 1} have {heads} heads each"
                )
        if earlier[0] >= later[0]:
            raise UsageError(f"head {earlier} is not in an earlier layer than {later}: there is nothing to compose")
    return sorted({layer * heads + head for _, (layer, head) in pairs})


def _places(ratios: Float[Tensor, "kind earlier"]) -> Float[Tensor, "kind earlier"]:
    """1 for the highest ratio; NaN stays NaN."""
    order = torch.sort(ratios.nan_to_num(nan=-torch.inf), dim=-1, descending=True, stable=True).indices
    places = torch.empty_like(ratios).scatter_(-1, order, torch.arange(1.0, ratios.shape[-1] + 1).expand_as(ratios))
    return places.masked_fill(ratios.isnan(), torch.nan)


class _Writers:
    """What the heads of one layer write: W_O with the post-attention norm, and W_V's Gram matrix.

    Square roots of Gram matrices stand for wide matrices: |A X| = |R X| with R'R = A'A.
    """

    def __init__(self, model: HookedModel, path: DirectPath, layer: int) -> None:
        output, post = model.w_o(layer).float(), path.post_norm(layer)
        self.o = (output if post is None else post.apply_to_rows(output)).cpu()
        v = _folded(model, layer, "v")
        self.v_gram = v @ v.mT
        self.norm = _norm(self.o @ self.o.mT, self.v_gram)


class _LaterHeads:
    """What the later heads read: W_Q, W_K and W_V, with the Gram matrix of what follows each and the whole's norm."""

    def __init__(self, model: HookedModel, rows: list[int]) -> None:
        self.n_heads = model.n_heads
        self._heads: dict[int, list[int]] = {}
        self._parts: dict[int, dict[str, tuple[Tensor, Tensor, Tensor]]] = {}
        for row in rows:
            self._heads.setdefault(row // model.n_heads, []).append(row % model.n_heads)
        for layer, heads in self._heads.items():
            q, k, v = (_folded(model, layer, name)[heads] for name in KINDS)
            o = model.w_o(layer).float().cpu()[heads]
            q_gram, k_gram, o_gram = q @ q.mT, k @ k.mT, o @ o.mT
            qk_norm, ov_norm = _norm(q_gram, k_gram), _norm(o_gram, v @ v.mT)
            self._parts[layer] = {"q": (q, k_gram, qk_norm), "k": (k, q_gram, qk_norm), "v": (v, o_gram, ov_norm)}

    @property
    def layers(self) -> list[int]:
        return list(self._heads)

    def rows(self, layer: int) -> list[int]:
        """The heads of a layer that were asked for, as layer * heads + head."""
        return [layer * self.n_heads + head for head in self._heads[layer]]

    def against(self, writers: _Writers, layer: int, kinds: Sequence[Kind]) -> Float[Tensor, "kind later earlier"]:
        """|outer core W_OV1| / (|outer core| |W_OV1|) for every pair."""
        found = []
        for kind in kinds:
            reads, gram, norm = self._parts[layer][kind]
            core = reads[:, None] @ writers.o.mT  # later earlier a d
            squared = ((gram[:, None] @ core) * (core @ writers.v_gram)).sum((-1, -2))  # tr(core' gram core v_gram)
            found.append(squared.clamp_min(0).sqrt() / (norm[:, None] * writers.norm).clamp_min(1e-30))
        return torch.stack(found)


def _norm(left: Float[Tensor, "head a a"], right: Float[Tensor, "head a a"]) -> Float[Tensor, " head"]:
    """Frobenius norm of X'Y from the Gram matrices XX' and YY'."""
    return (left * right.mT).sum((-1, -2)).clamp_min(0).sqrt()


def _folded(model: HookedModel, layer: int, name: Kind) -> Float[Tensor, "head d_head d_model"]:
    """A projection by query head, the input norm's gain and centring and the q/k-norm's gain folded in."""
    weight = model.w_qkv(layer, name).float()
    norm = None if name == "v" else model.layout.qk_norm(model.hf, layer, name)
    if norm is not None and list(norm.parameters()):
        weight = weight * _gain(model, norm, weight.shape[0], weight.shape[1])
    module = model.layout.inner(model.hf, layer, model.layout.ln1)
    if module is not None:
        before = probe(module, model.d_model, device=model.device, dtype=model.dtype)
        weight = weight * before.gain
        weight = weight - weight.mean(-1, keepdim=True) if before.centres else weight
    return weight.repeat_interleave(model.n_heads // weight.shape[0], 0).cpu()


def _gain(model: HookedModel, norm: nn.Module, heads: int, width: int) -> Float[Tensor, "head_or_one d_head one"]:
    """The gain of a q- or k-norm over one head's width, or over all heads side by side (OLMo 2).

    Refuses a gain of another shape (Cohere) and one norm a head (StableLM): heads side by side would share the first's.
    """
    shapes = {tuple(parameter.shape) for parameter in norm.parameters(recurse=False)}
    if shapes not in ({(width,)}, {(heads * width,)}):
        every = {name: tuple(parameter.shape) for name, parameter in norm.named_parameters()}
        raise RefusedModelError(
            f"{model.layout.architecture} normalises queries and keys with parameters {every}, not with one gain of "
            f"{width} or {heads * width} numbers: composition is not read for it"
        )
    ((size,),) = shapes
    return probe(norm, int(size), device=model.device, dtype=model.dtype).gain.view(-1, width, 1)
