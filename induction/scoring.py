"""All task-agnostic head scores in two forward passes: one over repeated sequences, one over unrepeated ones.

The unrepeated pass serves previous-token, copying and N2 at once, so nothing is run twice. Natural prompts, where they
are given, are a third pass, for the sink. Each method stays in its own file; here they only share the passes. Retrieval
and concept induction need prompts of their own and are asked for by themselves (retrieval.py, concept.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from induction import copying, direct_effect, positional, prefix_matching, sinks
from induction.classes import InductionHeads, induction_heads
from induction.groups import TokenGroup
from induction.null import DRAWS, check_draws, values_per_sequence
from induction.ov_circuit import ov_copying_score
from induction.reading import TOKEN_BUDGET, Progress, Reader, Units, read
from induction.sequences import SHORTEST, RepeatedSequences, unrepeated_twin
from induction.texts import NaturalPrompts
from induction.wrong_token import WrongToken
from interp.errors import RefusedModelError, UsageError
from interp.model import HookedModel
from interp.scores import FAMILY_LEVEL, HeadScores
from interp.shown import one_line

FEWEST_DRAWS = round(1 / FAMILY_LEVEL) - 1


@one_line
@dataclass(frozen=True)
class InductionScores:
    """Every score, the classes made of them, and what a family could not be scored for (with the reason)."""

    scores: tuple[HeadScores, ...]
    heads: InductionHeads
    refused: dict[str, str]

    def get(self, name: str, variant: str = "") -> HeadScores:
        for scores in self.scores:
            if (scores.name, scores.variant) == (name, variant):
                return scores
        known = ", ".join(f"{scores.name}/{scores.variant}".rstrip("/") for scores in self.scores)
        raise UsageError(f"there is no score {name!r} {variant!r}; there are: {known}")


def induction_scores(
    model: HookedModel,
    repeated: RepeatedSequences,
    unrepeated: RepeatedSequences | None = None,
    *,
    natural: NaturalPrompts | None = None,
    draws: int = DRAWS,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
    units: Units | None = None,
) -> InductionScores:
    """Score every head; `unrepeated` must have the repeated sequences' lengths and is made when it is not given.

    natural: prompts on which the sink is read too (texts.natural_prompts); without them it is told for the repeated
    sequences alone.
    """
    check_draws(draws)
    if draws < FEWEST_DRAWS:
        raise UsageError(f"the classes need nulls: with fewer than {FEWEST_DRAWS} draws no head could be above one")
    _refuse_short_blocks(repeated)
    made = unrepeated_for(model, repeated) if unrepeated is None else unrepeated
    readers = _Readers.of(model, repeated, made, draws)
    passes = readers.passes(repeated, made, natural)
    sizes = [sum(group.tokens.numel() for group in sequences) for sequences, _ in passes]
    for number, (sequences, listening) in enumerate(passes):
        told = _part(progress, sum(sizes[:number]), sum(sizes))
        read(model, sequences, listening, token_budget=token_budget, progress=told, units=units)
    scores = readers.scores(draws=draws, seed=repeated.seed)
    refused = dict(readers.refused)
    for variant in ("", "raw"):
        try:
            scores.append(ov_copying_score(model, variant=variant, seed=repeated.seed, candidates=repeated.candidates))  # type: ignore[arg-type]
        except RefusedModelError as error:
            refused[f"ov_copying {variant}".strip()] = str(error)
    scores.append(readers.sink.scores())
    if natural is not None:
        scores.append(readers.natural_sink.scores(sinks.NATURAL))
    signed = next((found for found in scores if found.variant == "signed"), None)
    return InductionScores(tuple(scores), induction_heads(scores[0], signed), refused)


@dataclass(frozen=True)
class _Readers:
    """Who listens to which pass. `copies` and `effect` are empty where a family has no direct path to the logits."""

    prefix: prefix_matching.PrefixMatching
    duplicate: positional.DuplicateToken
    fold: WrongToken
    position: prefix_matching.PrefixMatching
    position_duplicate: positional.DuplicateToken
    previous: positional.PreviousToken
    sink: sinks.Sink
    natural_sink: sinks.Sink
    copies: list[copying.Copying]
    effect: list[direct_effect.DirectEffect]
    refused: dict[str, str]

    @classmethod
    def of(cls, model: HookedModel, repeated: RepeatedSequences, unrepeated: RepeatedSequences, draws: int) -> _Readers:
        copies, effect, refused = _copying_readers(model, unrepeated, draws)
        return cls(
            prefix=prefix_matching.PrefixMatching(model),
            duplicate=positional.DuplicateToken(model),
            fold=WrongToken(model),
            position=prefix_matching.PrefixMatching(model, like=repeated),
            position_duplicate=positional.DuplicateToken(model, like=repeated),
            previous=positional.PreviousToken(model),
            sink=sinks.Sink(model),
            natural_sink=sinks.Sink(model),
            copies=copies,
            effect=effect,
            refused=refused,
        )

    def passes(
        self, repeated: RepeatedSequences, unrepeated: RepeatedSequences, natural: NaturalPrompts | None
    ) -> list[tuple[Iterable[TokenGroup], list[Reader[Any]]]]:
        """Sequences and who listens while they run."""
        first: list[Reader[Any]] = [self.prefix, self.duplicate, self.fold, self.sink, *self.effect]
        second: list[Reader[Any]] = [self.position, self.position_duplicate, self.previous, *self.copies]
        third: list[tuple[Iterable[TokenGroup], list[Reader[Any]]]]
        third = [] if natural is None else [(natural, [self.natural_sink])]
        return [(repeated, first), (unrepeated, second), *third]

    def scores(self, *, draws: int, seed: int) -> list[HeadScores]:
        """Prefix matching first; all that has nulls beside them."""
        variants: tuple[Literal["", "olsson"], ...] = ("", "olsson")
        prefix = [self.prefix.scores(variant) for variant in variants]
        found = [
            prefix_matching.with_nulls(scores, self.fold, self.position, draws=draws, seed=seed) for scores in prefix
        ]
        for reader in self.copies:
            found += [copying.with_null(reader, name, draws=draws, seed=seed) for name in ("argmax", "attended")]
        for direct in self.effect:
            found += [direct.with_null(name, draws=draws, seed=seed) for name in ("successor", "signed", "signed_auc")]
        found.append(positional.previous_with_null(self.previous, draws=draws, seed=seed))
        duplicate = positional.duplicate_with_nulls(
            self.duplicate, self.fold, self.position_duplicate, draws=draws, seed=seed
        )
        return [*found, duplicate]


def unrepeated_for(model: HookedModel, repeated: RepeatedSequences) -> RepeatedSequences:
    """The unrepeated sequences that all scores of these repeated ones need, before anything is run.

    Raises UsageError where there is no wrong token to compare with, or where the candidates are too few.
    """
    _refuse_short_blocks(repeated)
    return unrepeated_twin(model, repeated)


def _refuse_short_blocks(repeated: RepeatedSequences) -> None:
    if min(group.block for group in repeated) < SHORTEST:
        raise UsageError(
            "a block of 2 tokens has no wrong token to compare with (N1), one of 3 no choice among them: give "
            f"length={SHORTEST} or more"
        )


def _copying_readers(
    model: HookedModel, unrepeated: RepeatedSequences, draws: int
) -> tuple[list[copying.Copying], list[direct_effect.DirectEffect], dict[str, str]]:
    """The readers of direct effects, or the reason why this family has none."""
    try:
        reader = copying.Copying(
            model,
            attended=True,
            null_values=values_per_sequence(len(unrepeated), draws),
            attended_values=values_per_sequence(len(unrepeated), min(draws, copying.ATTENDED_DRAWS)),
            seed=unrepeated.seed,
        )
        return [reader], [direct_effect.DirectEffect(model)], {}
    except RefusedModelError as error:
        return [], [], {"copying": str(error)}


def _part(progress: Progress | None, done: int, total: int) -> Progress | None:
    """Progress of one pass as part of the whole."""
    if progress is None:
        return None
    return lambda here, _: progress(done + here, total)
