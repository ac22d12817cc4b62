"""All task-agnostic head scores in two forward passes: one over repeated sequences, one over unrepeated ones.

The unrepeated pass serves previous-token, copying and N2 at once, so nothing is run twice. Each method stays in its own
file; here they only share the passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from induction import copying, direct_effect, positional, prefix_matching
from induction.classes import InductionHeads, induction_heads
from induction.null import DRAWS, values_per_sequence
from induction.ov_circuit import ov_copying_score
from induction.reading import TOKEN_BUDGET, Progress, Reader, Units, read
from induction.sequences import RepeatedSequences, unrepeated_twin
from induction.wrong_token import WrongToken
from interp.errors import RefusedModelError, UsageError
from interp.model import HookedModel
from interp.scores import FAMILY_LEVEL, HeadScores

FEWEST_DRAWS = round(1 / FAMILY_LEVEL) - 1


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
    draws: int = DRAWS,
    token_budget: int = TOKEN_BUDGET,
    progress: Progress | None = None,
    units: Units | None = None,
) -> InductionScores:
    """Score every head; `unrepeated` must have the repeated sequences' lengths and is made when it is not given."""
    if draws < FEWEST_DRAWS:
        raise UsageError(f"the classes need nulls: with fewer than {FEWEST_DRAWS} draws no head could be above one")
    _refuse_short_blocks(repeated)
    made = unrepeated_for(model, repeated) if unrepeated is None else unrepeated
    seed = repeated.seed
    prefix, duplicate, fold = (
        prefix_matching.PrefixMatching(model),
        positional.DuplicateToken(model),
        WrongToken(model),
    )
    position = prefix_matching.PrefixMatching(model, like=repeated)
    position_duplicate = positional.DuplicateToken(model, like=repeated)
    previous = positional.PreviousToken(model)
    copies, effect, refused = _copying_readers(model, made, draws)

    total = sum(group.tokens.numel() for sequences in (repeated, made) for group in sequences)
    half = sum(group.tokens.numel() for group in repeated)
    first: Sequence[Reader] = [prefix, duplicate, fold, *effect]
    second: Sequence[Reader] = [position, position_duplicate, previous, *copies]
    read(model, repeated, first, token_budget=token_budget, progress=_part(progress, 0, total), units=units)
    read(model, made, second, token_budget=token_budget, progress=_part(progress, half, total), units=units)

    scores = [
        prefix_matching.with_nulls(prefix.scores(variant), fold, position, draws=draws, seed=seed)  # type: ignore[arg-type]
        for variant in ("", "olsson")
    ]
    for reader in copies:
        scores += [copying.with_null(reader, name, draws=draws, seed=seed) for name in ("argmax", "attended")]
    for direct in effect:
        scores += [direct.with_null(name, draws=draws, seed=seed) for name in ("successor", "signed", "signed_auc")]
    scores.append(positional.previous_with_null(previous, draws=draws, seed=seed))
    scores.append(positional.duplicate_with_nulls(duplicate, fold, position_duplicate, draws=draws, seed=seed))
    for variant in ("", "raw"):
        try:
            scores.append(ov_copying_score(model, variant=variant, seed=seed, candidates=repeated.candidates))  # type: ignore[arg-type]
        except RefusedModelError as error:
            refused[f"ov_copying {variant}".strip()] = str(error)
    signed = next((found for found in scores if found.variant == "signed"), None)
    return InductionScores(tuple(scores), induction_heads(scores[0], signed), refused)


def unrepeated_for(model: HookedModel, repeated: RepeatedSequences) -> RepeatedSequences:
    """The unrepeated sequences that all scores of these repeated ones need, before anything is run.

    Raises UsageError where there is no wrong token to compare with, or where the candidates are too few.
    """
    _refuse_short_blocks(repeated)
    return unrepeated_twin(model, repeated)


def _refuse_short_blocks(repeated: RepeatedSequences) -> None:
    if min(group.block for group in repeated) < 3:
        raise UsageError("a block of 2 tokens has no wrong token to compare with (N1): give length=3 or more")


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
