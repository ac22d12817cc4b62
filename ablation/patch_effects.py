"""What patching asks of a prompt pair, and what comes back: the shared half of its methods (Method 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ablation.outcomes import Choices
from ablation.prompt_pair import PromptPair, Text
from ablation.provenance import model_mark
from ablation.stratified import ExactAgreement
from ablation.tasks.tokens import TokenDocument
from interp.errors import UsageError
from interp.overflow import broken
from interp.patched_rows import prepare
from interp.scored_paths import ScoredPaths
from interp.scores import FFNScores, HeadScores

if TYPE_CHECKING:
    from interp.model import HookedModel

At = str | int | Sequence[int]
WHAT = "the effect of a patch"
DIFFERENCE, LOG_PROBABILITY, CHOICE = "logit_difference", "log_probability", "choice"
_OUTCOMES = {DIFFERENCE: "margin", LOG_PROBABILITY: "sum", CHOICE: "choice"}


@dataclass(frozen=True, eq=False, repr=False)
class _Effects:
    """What patching knows beside its scores.

    clean, corrupt: the outcome of the two prompts as they are. positions: P, in the corrupt prompt. by_position: the
    effect of each of them patched alone ([position layer head], or [position layer] for FFNs), where it was asked for
    or costs nothing. agreement: of an estimate with exact patching. route: how exact patches were run.
    """

    clean: float = float("nan")
    corrupt: float = float("nan")
    positions: tuple[int, ...] = ()
    by_position: Float[Tensor, "position layer ..."] | None = None
    agreement: ExactAgreement | None = None
    route: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class HeadEffects(_Effects, HeadScores):
    """Effects of patching heads, a HeadScores of one item: the prompt pair."""


@dataclass(frozen=True, eq=False, repr=False)
class FFNEffects(_Effects, FFNScores):
    """Effects of patching FFNs."""


@dataclass(frozen=True)
class PatchQuestion:
    """A prompt pair and the outcome that is read: `value` makes it of the answers' log-likelihoods."""

    pair: PromptPair
    outcome: str

    @property
    def prompts(self) -> tuple[tuple[int, ...], ...]:
        """Both prompts with the answer behind them, as tokens."""
        return tuple((*prompt, *self.pair.answers[0]) for prompt in (self.pair.clean, self.pair.corrupt))

    @property
    def scored(self) -> ScoredPaths:
        return ScoredPaths.of_choices(self.pair.corrupt, self.pair.answers)

    def value(self, log_likelihoods: Float[Tensor, "*more choice"]) -> Float[Tensor, "*more"]:
        """The outcome, in nats; differentiable."""
        if self.outcome == LOG_PROBABILITY:
            return log_likelihoods[..., 0]
        context, answers = self.pair.corrupt, self.pair.answers
        document = TokenDocument("prompt", "prompt", "prompt", (context,) * len(answers), answers, 0, 0, 0)
        values = Choices.of([document]).values(_OUTCOMES[self.outcome], log_likelihoods[..., None, :])
        return values[..., 0]


def ask(
    model: HookedModel,
    clean: Text,
    corrupt: Text,
    *,
    answer: Text,
    other: Text | Sequence[Text] | None,
    outcome: str | None,
) -> PatchQuestion:
    """The prompts as tokens, and what is read off them."""
    pair = PromptPair.of(model, clean, corrupt, answer=answer, other=other)
    chosen = outcome or (LOG_PROBABILITY if other is None else DIFFERENCE)
    if chosen not in _OUTCOMES:
        raise UsageError(f"{chosen!r} is no outcome of patching; there are {', '.join(_OUTCOMES)}")
    if chosen != LOG_PROBABILITY and len(pair.answers) < 2:
        raise UsageError(f"outcome={chosen!r} compares answers: give another one with `other`")
    if chosen == DIFFERENCE:
        pair.refuse_unlike_answers(model)
    return PatchQuestion(pair, chosen)


def positions_of(model: HookedModel, pair: PromptPair, at: At, method: str) -> tuple[int, ...]:
    """P, counted from 0 in the corrupt prompt; the clean prompt's are equally far from its end."""
    length = len(pair.corrupt)
    if isinstance(at, str):
        if at not in ("last", "all"):
            raise UsageError(f"at={at!r}: patch at 'last', at 'all', or at positions as numbers")
        places = [length - 1] if at == "last" else list(range(length))
    else:
        places = [at] if isinstance(at, int) else list(at)
    beyond = [place for place in places if not -length <= place < length]
    if beyond or not places:
        raise UsageError(
            f"at={at!r}: the corrupt prompt has {length} tokens, so positions lie between 0 and {length - 1}"
        )
    counted = tuple(dict.fromkeys(place % length for place in places))
    if method != "exact":
        pair.refuse_unlike_lengths(model, f"method={method!r}")
    elif counted != (length - 1,):
        pair.refuse_unlike_lengths(model, "Patching at other positions than the last")
    return counted


def clean_activations(
    model: HookedModel, ids: Sequence[int], positions: Sequence[int], name: str
) -> Float[Tensor, "layer ..."]:
    """z [layer head position d_value], or what FFNs add [layer position d_model], at positions counted from the end.

    Layers without such a place hold zeros, which nothing reads.
    """
    with torch.no_grad():
        _, cache = model.run_with_cache(torch.tensor([list(ids)]), [name])
    places = [point.layer for point in cache]
    example = cache[name, places[0]][0, list(positions)]
    empty = torch.zeros_like(example)
    held = [cache[name, layer][0, list(positions)] if layer in places else empty for layer in range(model.n_layers)]
    values = torch.stack(held)
    return rearrange(values, "l q h d -> l h q d") if name == "z" else values


def effects_of(
    model: HookedModel,
    question: PatchQuestion,
    effects: Float[Tensor, "layer ..."],
    places: tuple[int, ...],
    *,
    method: str,
    corrupt: float,
    each: Tensor | None = None,
    route: str = "",
) -> HeadEffects | FFNEffects:
    of_heads = effects.dim() == 2
    clean = float(_plain(model, question))
    for name, value, tokens in zip(("clean", "corrupt"), (clean, corrupt), question.prompts, strict=True):
        if not isfinite(value):
            raise broken(model, f"the {question.outcome.replace('_', ' ')}", document=name, tokens=tokens)
    unknown = torch.full_like(effects, torch.nan).float()
    fields: dict[str, Any] = {
        "name": "patching",
        "mean": effects.float(),
        "std": unknown,
        "ci_low": unknown,
        "ci_high": unknown,
        "n": 1,
        "variant": f"{method}/{question.outcome}",
        "per_item": effects[None].float(),
        "provenance": {"model": model_mark(model), "method": method, "outcome": question.outcome},
        "clean": clean,
        "corrupt": corrupt,
        "positions": places,
        "by_position": None if each is None else each.float(),
        "route": route,
    }
    return HeadEffects(**fields, n_kv_heads=model.n_kv_heads) if of_heads else FFNEffects(**fields)


def _plain(model: HookedModel, question: PatchQuestion) -> Float[Tensor, ""]:
    """The clean prompt's own outcome."""
    scored = ScoredPaths.of_choices(question.pair.clean, question.pair.answers)
    return question.value(prepare(model, scored, [len(question.pair.clean) - 1]).plain)
