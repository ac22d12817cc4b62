"""Direct logit attribution: what each part of the model writes straight to a logit difference.

Method 3.4 (`direct`); Elhage et al. 2021; nostalgebraist 2020.
1. The residual stream in front of the final norm is a sum: embedding, z W_O of every head, biases of the output
   projections, and what every FFN adds. Where a norm stands behind attention, heads go through it first.
2. A norm is linear once its scale at this position is known: both norms are taken with the scale that they have here.
3. Each part · N (W_U[answer] - W_U[other]); without another answer, - the mean row of W_U, since softmax ignores what
   all rows share. With the biases of the final norm and of the unembedding the parts add up to the logit difference.
A part says what is written, not what would happen without it: later layers react. Left out: families that normalise
the stream itself (post-LN), and those with a norm over all heads together, where no head has a result of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from einops import einsum, reduce
from jaxtyping import Float
from torch import Tensor, nn

from ablation.patch_effects import DIFFERENCE, HeadEffects
from ablation.prompt_pair import Ids, PromptPair, Text, answer_ids, prompt_ids, words
from ablation.provenance import model_mark
from interp import hooks
from interp.architecture import linear_outputs, linear_weight
from interp.errors import RefusedModelError, UsageError
from interp.norms import LinearNorm, probe
from interp.offload import in_memory
from interp.overflow import refuse_broken_effects
from interp.shown import one_line

if TYPE_CHECKING:
    from interp.model import HookedModel


SAME = {torch.float32: 2e-5, torch.float64: 2e-5}  # of the largest logit; a soft-cap bends them by more
SAME_IN_HALF = 1e-2


@one_line
@dataclass(frozen=True, eq=False)
class DirectAttribution:
    """Parts of logit[answer] - logit[other] at every query position, in float64.

    heads, attention_bias, ffns: by layer; mixers: what layers without heads write instead. embedding: with positions
    and its norm. bias: of the final norm and the unembedding. logit_difference: the model's own; with a soft-cap
    (`softcapped`), the one in front of it. NaN: a layer without heads, or without an FFN.
    """

    tokens: Ids
    answer: int
    other: int | None
    heads: Float[Tensor, "query layer head"]
    attention_bias: Float[Tensor, "query layer"]
    ffns: Float[Tensor, "query layer"]
    mixers: Float[Tensor, "query layer"]
    embedding: Float[Tensor, " query"]
    bias: Float[Tensor, " query"]
    logit_difference: Float[Tensor, " query"]
    softcapped: bool = False

    @cached_property
    def total(self) -> Float[Tensor, " query"]:
        """The sum of the parts."""
        layers = sum(part.nansum(-1) for part in (self.attention_bias, self.ffns, self.mixers))
        return self.heads.nansum((-2, -1)) + layers + self.embedding + self.bias


def direct_attribution(model: HookedModel, text: Text, answer: Text, other: Text | None = None) -> DirectAttribution:
    """What heads, FFNs and embedding write towards `answer` (against `other`) at every position of the text.

    The last position is the one that predicts the answer. Raises UsageError for answers of several tokens,
    RefusedModelError for post-LN families and norms over all heads.
    """
    ids = prompt_ids(model, text, "given")
    return _attributed(
        model, ids, _one_token(model, text, ids, answer), None if other is None else _one_token(model, text, ids, other)
    )


def direct_effects(
    model: HookedModel,
    clean: Text,
    corrupt: Text | None,
    *,
    answer: Text,
    other: Text | Sequence[Text] | None,
    outcome: str | None,
) -> HeadEffects:
    """`direct` of Method 3.4 as patching's scores: heads at the last position of the clean prompt.

    With a corrupt prompt, less what they write there. `by_position` holds every position's own logit difference, where
    both prompts are as long.
    """
    if outcome not in (None, DIFFERENCE):
        raise UsageError(f"method='direct' is about logits: outcome={outcome!r} is no difference of them; leave it out")
    if other is not None and not isinstance(other, str) and any(isinstance(part, str) for part in other):
        raise UsageError("method='direct' compares with one other answer, or with the mean of all tokens without one")
    found = [direct_attribution(model, text, answer, other) for text in (clean, corrupt) if text is not None]  # type: ignore[arg-type]
    if len(found) == 2:
        PromptPair.of(model, clean, corrupt, answer=answer, other=other)  # type: ignore[arg-type]  # the same answers
    first, last = found[0], found[-1]
    effects = first.heads[-1] - last.heads[-1] if len(found) == 2 else first.heads[-1]
    refuse_broken_effects(model, "what is written to the logits", effects, [one.tokens for one in found])
    alike = len(first.tokens) == len(last.tokens)
    by_position = None if not alike else first.heads - last.heads if len(found) == 2 else first.heads
    unknown = torch.full_like(effects, torch.nan).float()
    return HeadEffects(
        name="patching",
        mean=effects.float(),
        std=unknown,
        ci_low=unknown,
        ci_high=unknown,
        n=1,
        variant=f"direct/{DIFFERENCE}",
        per_item=effects[None].float(),
        provenance={"model": model_mark(model), "method": "direct", "outcome": DIFFERENCE},
        n_kv_heads=model.n_kv_heads,
        clean=float(first.logit_difference[-1]),
        corrupt=float(last.logit_difference[-1]) if len(found) == 2 else torch.nan,
        positions=(len(last.tokens) - 1,),
        by_position=None if by_position is None else by_position.float(),
    )


def refuse_indirect(model: HookedModel) -> None:
    """Refuse families in which what a head writes does not reach the logits as a sum."""
    if model.layout.post_norm or not model.unembeds_final_norm:
        raise RefusedModelError(
            f"{model.layout.architecture} does not hand a sum of what its heads write to the final norm (its residual "
            "stream is normalised after every addition, or something stands between norm and unembedding): there is "
            "no direct attribution; patch it exactly"
        )
    model.refuse_inner_norm()


def _one_token(model: HookedModel, text: Text, ids: Ids, answer: Text) -> int:
    found = answer_ids(model, text, ids, answer)
    if len(found) != 1:
        raise UsageError(
            f"direct attribution is about one token; {answer!r} is {len(found)}: {words(model, found)}. Give the "
            "first of them, or patch, which takes answers of several tokens"
        )
    return found[0]


# --- the parts ------------------------------------------------------------------------------------------------------


def _attributed(model: HookedModel, ids: Ids, answer: int, other: int | None) -> DirectAttribution:
    refuse_indirect(model)
    seen = _run(model, ids)
    unembed = model.hf.get_submodule(model.layout.unembed)
    rows, bias = linear_weight(unembed), _bias(unembed)
    against = rows.mean(0) if other is None else rows[other]
    direction = (rows[answer] - against).double().cpu()
    constant = float(bias[answer] - (bias.mean() if other is None else bias[other]))
    limit = SAME.get(model.dtype, SAME_IN_HALF)
    factor = _factor(seen.read[-1:] @ rows.double().cpu().T + bias, seen.logits, limit)
    scale = 1.0 if factor is None else factor
    norm = ScaledNorm.of(model, model.hf.get_submodule(str(model.layout.ln_final)))
    to_logits, norm_bias = norm.towards(seen.final, (direction * scale).expand_as(seen.final))
    return DirectAttribution(
        tokens=ids,
        answer=answer,
        other=other,
        embedding=(seen.cache["resid_pre", 0] * to_logits).sum(-1),
        bias=norm_bias + constant * scale,
        logit_difference=(seen.read @ direction + constant) * scale,
        softcapped=factor is None,
        **_parts(model, seen, to_logits),
    )


def _parts(model: HookedModel, seen: _Seen, to_logits: Float[Tensor, "query d_model"]) -> dict[str, Tensor]:
    """What each layer writes along `to_logits`, by kind."""
    shape = (len(to_logits), model.n_layers)
    found = {name: torch.full(shape, torch.nan).double() for name in ("attention_bias", "ffns", "mixers")}
    heads = torch.full((*shape, model.n_heads), torch.nan).double()
    for layer in range(model.n_layers):
        ffn = seen.cache["mlp_out", layer] if layer in model.ffn_layers else torch.zeros_like(to_logits)
        if layer in model.ffn_layers:
            found["ffns"][:, layer] = (ffn * to_logits).sum(-1)
        if layer in model.attention_layers:
            heads[:, layer], found["attention_bias"][:, layer] = _heads(model, layer, seen, to_logits)
        else:
            written = seen.cache["resid_post", layer] - seen.cache["resid_pre", layer] - ffn
            found["mixers"][:, layer] = (written * to_logits).sum(-1)
    return {"heads": heads, **found}


def _heads(
    model: HookedModel, layer: int, seen: _Seen, to_logits: Float[Tensor, "query d_model"]
) -> tuple[Float[Tensor, "query head"], Float[Tensor, " query"]]:
    """Every head's part, and that of the biases behind them."""
    z, w_o, bias = seen.cache["z", layer], model.w_o(layer).double().cpu(), _bias(model.o_module(layer))
    behind = model.layout.inner(model.hf, layer, model.layout.ln1_post)
    norm_bias = torch.zeros(len(z)).double()
    if behind is not None:
        written = einsum(z, w_o, "query head d, head d m -> query m") + bias
        to_logits, norm_bias = ScaledNorm.of(model, behind).towards(written, to_logits)
    parts = einsum(z, w_o, to_logits, "query head d, head d m, query m -> query head")
    scale = model.layout.residual_scale
    return parts * scale, (reduce(bias * to_logits, "query m -> query", "sum") + norm_bias) * scale


@dataclass(frozen=True)
class ScaledNorm:
    """A norm, linear at the scale that it has at each position."""

    linear: LinearNorm
    module: nn.Module
    like: Tensor

    @classmethod
    def of(cls, model: HookedModel, module: nn.Module) -> ScaledNorm:
        linear = probe(module, model.d_model, device=model.device, dtype=model.dtype)
        on_cpu = LinearNorm(linear.gain.double().cpu(), linear.centres)
        return cls(on_cpu, module, torch.empty(0, dtype=model.dtype, device=model.device))

    def towards(
        self, x: Float[Tensor, "query d_model"], direction: Float[Tensor, "query d_model"]
    ) -> tuple[Float[Tensor, "query d_model"], Float[Tensor, " query"]]:
        """v with norm(x) · direction = x · v + constant, and that constant."""
        columns = self.linear.apply_to_columns(direction.T).T
        constant = (self._answer(x) + self._answer(-x)) / 2
        return columns * self._scale(x)[:, None], (constant * direction).sum(-1)

    def part(
        self, part: Float[Tensor, "query d_model"], whole: Float[Tensor, "query d_model"]
    ) -> Float[Tensor, "query d_model"]:
        """What one part of the norm's input becomes, at the scale that the whole has."""
        return self.linear.apply_to_rows(part) * self._scale(whole)[:, None]

    def _scale(self, x: Float[Tensor, "query d_model"]) -> Float[Tensor, " query"]:
        through, bare = (self._answer(x) - self._answer(-x)) / 2, self.linear.apply_to_rows(x)
        return (through * bare).sum(-1) / (bare * bare).sum(-1).clamp_min(1e-300)

    def _answer(self, x: Float[Tensor, "query d_model"]) -> Float[Tensor, "query d_model"]:
        with torch.no_grad():
            return self.module(x.to(self.like)[None])[0].double().cpu()


# --- the run --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """One run in float64: activations, the stream in front of the final norm, what is unembedded, the last logits."""

    cache: dict[tuple[str, int], Tensor]
    final: Float[Tensor, "query d_model"]
    read: Float[Tensor, "query d_model"]
    logits: Float[Tensor, "one vocab"]


def _run(model: HookedModel, ids: Ids) -> _Seen:
    mixers = [layer for layer in range(model.n_layers) if layer not in model.attention_layers]
    points = [hooks.Point("z", layer) for layer in model.attention_layers]
    points += [hooks.Point("mlp_out", layer) for layer in model.ffn_layers]
    points += [hooks.Point(name, layer) for layer in mixers for name in ("resid_pre", "resid_post")]
    points += [] if 0 in mixers else [hooks.Point("resid_pre", 0)]
    cache: dict[tuple[str, int], Tensor] = {}
    kept: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        kept[name] = args[0][0].double().cpu()
        return (args[0][:, -1:], *args[1:]) if name == "read" else None

    def store(point: hooks.Point, value: Tensor) -> None:
        cache[point.name, point.layer] = value[0].double().cpu()

    modules = {"final": str(model.layout.ln_final), "read": model.layout.unembed}
    with ExitStack() as stack, torch.no_grad():
        for name, module in modules.items():
            handle = model.hf.get_submodule(module).register_forward_pre_hook(partial(keep, name))
            stack.callback(handle.remove)
        stack.enter_context(hooks.capture(model, points, store))
        logits = model.hf(**model.inputs(torch.tensor([ids]))).logits[0].double().cpu()
    return _Seen(cache, kept["final"], kept["read"], logits)


def _factor(read_out: Float[Tensor, "one vocab"], logits: Float[Tensor, "one vocab"], limit: float) -> float | None:
    """By what the model multiplies what it unembeds; None where that is no number (a soft-cap)."""
    factor = float((read_out * logits).sum() / (read_out * read_out).sum())
    apart = float((logits - factor * read_out).abs().max() / logits.abs().max())
    return factor if apart < limit else None


def _bias(module: nn.Module) -> Tensor:
    """The module's bias, or 0."""
    with in_memory(module):
        bias = getattr(module, "bias", None)
        width = linear_outputs(module)
        return torch.zeros(width).double() if bias is None else bias.detach().double().cpu()
