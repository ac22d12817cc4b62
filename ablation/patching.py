"""Patching: what one prompt's answer gains from a head's or an FFN's activation in another prompt.

Method 3.4. Zhang & Nanda 2024 (arXiv 2309.16042) on what to take as outcome and as corrupt prompt.
1. Keep z of every head (or what every FFN adds) on the clean prompt, at the positions P.
2. Put them into the corrupt prompt, one component at a time (interp/patched_rows.py): exact.
3. effect = outcome with the patch - outcome without, in nats. Positive = the clean activation helps the answer.
`attribution` and `ig` are first-order estimates of it (attribution_patching.py), with their agreement with exact
patching of 48 stratified heads beside them; `direct` is what heads write straight to the logits (attribution.py).
Left out: estimates for FFNs, which gradients predict badly (arXiv 2508.21258), and patching of attention patterns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ablation.attribution import direct_effects
from ablation.attribution_patching import estimated
from ablation.names import SAMPLED
from ablation.patch_effects import (
    WHAT,
    At,
    FFNEffects,
    HeadEffects,
    PatchQuestion,
    ask,
    clean_activations,
    effects_of,
    positions_of,
)
from ablation.prompt_pair import Text
from ablation.statistics.correlation import spearman
from ablation.stratified import FEWEST, ExactAgreement, stratified_heads
from interp.errors import UsageError
from interp.overflow import broken_part
from interp.patched_rows import every_ffn, every_head, prepare
from interp.patching import Patch

if TYPE_CHECKING:
    from interp.model import HookedModel

Method = Literal["exact", "attribution", "ig", "direct"]
Component = Literal["head", "ffn"]


def patch(
    model: HookedModel,
    clean: Text,
    corrupt: Text | None,
    *,
    answer: Text,
    other: Text | Sequence[Text] | None = None,
    at: At = "last",
    method: str = "exact",
    component: str = "head",
    outcome: str | None = None,
    by_position: bool = False,
) -> HeadEffects | FFNEffects:
    """Effects of every head (or FFN) of the corrupt prompt taken from the clean one, on its answer, in nats.

    Prompts and answers are text or token ids; `other` is one answer or several that stand against `answer`. at: `last`,
    `all`, a position or several (of both prompts; negative ones from the end). outcome: `logit_difference` (the default
    with another answer), `log_probability` (without one), `choice`. by_position: each position alone as well. method
    `direct`: what heads write straight to the logits at the end of the clean prompt, less what they write at the end of
    the corrupt one, where there is one.

    Raises UsageError for an empty prompt, answers that the tokenizer splits unlike each other, prompts of unlike length
    where positions are compared, and FFNs with a method that is not exact.
    """
    _check_words(method, component)
    if method == "direct":
        return direct_effects(model, clean, corrupt, answer=answer, other=other, outcome=outcome)
    if corrupt is None:
        raise UsageError(f"method={method!r} compares two prompts: give a corrupt one, or method='direct'")
    question = ask(model, clean, corrupt, answer=answer, other=other, outcome=outcome)
    places = positions_of(model, question.pair, at, method)
    if method == "exact":
        return _exact(model, question, places, component, None, by_position)
    estimate = estimated(model, question, places, method=method)
    return with_agreement(model, question, places, estimate)


def _exact(
    model: HookedModel,
    question: PatchQuestion,
    places: tuple[int, ...],
    component: str,
    heads: Sequence[tuple[int, int]] | None,
    by_position: bool,
) -> HeadEffects | FFNEffects:
    from_end = [place - len(question.pair.corrupt) for place in places]
    values = clean_activations(model, question.pair.clean, from_end, "z" if component == "head" else "mlp_out")
    rows = prepare(model, question.scored, places)
    corrupt = question.value(rows.plain)
    patches = _patches(model, values, component, heads)
    effects = _table(model, question, patches, question.value(rows.run(patches)) - corrupt)
    each = None
    if by_position:
        each = torch.stack([_alone(model, question, values, n, places, component, heads) for n in range(len(places))])
    return effects_of(
        model, question, effects, places, method="exact", corrupt=float(corrupt), each=each, route=str(rows.route)
    )


def _alone(
    model: HookedModel,
    question: PatchQuestion,
    values: Tensor,
    number: int,
    places: tuple[int, ...],
    component: str,
    heads: Sequence[tuple[int, int]] | None,
) -> Float[Tensor, "layer ..."]:
    """The effects of one of the positions."""
    rows = prepare(model, question.scored, [places[number]])
    patches = _patches(model, values[..., number : number + 1, :], component, heads)
    return _table(model, question, patches, question.value(rows.run(patches)) - question.value(rows.plain))


def _patches(
    model: HookedModel, values: Tensor, component: str, heads: Sequence[tuple[int, int]] | None
) -> list[Patch]:
    if component == "ffn":
        return every_ffn(values, model.ffn_layers)
    if heads is not None:
        return [Patch({(layer, head): values[layer, head]}) for layer, head in heads]
    return every_head(values, model.attention_layers)


def _table(
    model: HookedModel, question: PatchQuestion, patches: Sequence[Patch], effects: Float[Tensor, " patch"]
) -> Float[Tensor, "layer ..."]:
    """One effect a component, in its place; NaN elsewhere. Raises HeadscopeError for an effect that is no number."""
    of_heads = any(patch.heads for patch in patches)
    table = torch.full((model.n_layers, model.n_heads) if of_heads else (model.n_layers,), torch.nan).double()
    for patch, effect in zip(patches, effects, strict=True):
        place: tuple[int, ...] = next(iter(patch.heads)) if patch.heads else tuple(patch.ffns)
        if not bool(effect.isfinite()):
            raise broken_part(model, WHAT, place, question.prompts)
        table[place] = effect
    return table


# --- estimates beside the truth -----------------------------------------------------------------------------------


def with_agreement(
    model: HookedModel, question: PatchQuestion, places: tuple[int, ...], estimate: HeadEffects
) -> HeadEffects:
    """The estimate with exact effects of 48 heads stratified by it; as it is where a model has too few heads."""
    if int(estimate.mean.isfinite().sum()) < FEWEST:
        return estimate
    heads = stratified_heads(estimate, SAMPLED)
    truth = _exact(model, question, places, "head", heads, False)
    index = tuple(torch.tensor(heads).T)
    score, exact = (scores.mean[index].double().numpy() for scores in (estimate, truth))
    decided = (score != 0) & (exact != 0)
    agreement = ExactAgreement(
        outcome=question.outcome,
        heads=heads,
        score=score,
        exact=exact,
        spearman=spearman(score[None], exact[None]).value,
        sign_agreement=float((np.sign(score) == np.sign(exact))[decided].mean()) if decided.any() else float("nan"),
    )
    return replace(estimate, agreement=agreement, route=truth.route)


def _check_words(method: str, component: str) -> None:
    if method not in get_args(Method) or component not in get_args(Component):
        raise UsageError(
            f"method={method!r}, component={component!r}: the methods are {', '.join(get_args(Method))}, the "
            f"components {', '.join(get_args(Component))}"
        )
    if component == "ffn" and method != "exact":
        raise UsageError(
            f"method={method!r} is for heads only: FFNs are patched exactly, since gradients at their outputs do not "
            "predict what patching them does (arXiv 2508.21258); use method='exact'"
        )
