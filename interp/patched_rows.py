"""Patches of one prompt, all of them, exactly: every head for the price of a few passes (Method 3.4).

What is patched is z of a head or the contribution of an FFN, at given positions; what comes out are log-likelihoods of
choices, or log-probabilities of tokens at places of the prompt. prompt_rows.py runs the rows, patch_route.py finds out
which way this model may be run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError
from interp.patch_route import find_route
from interp.patching import Patch
from interp.prompt_rows import PromptRows
from interp.scored_paths import Ids, ScoredPaths

if TYPE_CHECKING:
    from interp.model import HookedModel


def prepare(model: HookedModel, scored: ScoredPaths, positions: Sequence[int]) -> PromptRows:
    """Run the prompt once, ready for any number of patches at `positions`, which all sequences share.

    Raises UsageError for positions that are not there, SelfCheckError for a model on which patches do nothing.
    """
    places = tuple(positions)
    if not places or not 0 <= min(places) <= max(places) < scored.common or len(set(places)) < len(places):
        raise UsageError(
            f"the patched positions must lie, once each, in the {scored.common} tokens that all choices share, got "
            f"{list(places)}"
        )
    longest = max(map(len, scored.sequences))
    if model.max_length is not None and longest > model.max_length:
        raise UsageError(f"{longest} tokens are more than the model's context of {model.max_length}")
    return PromptRows.of(model, scored, places, find_route(model, longest))


def patched_log_likelihoods(
    model: HookedModel,
    context: Ids,
    choices: Sequence[Ids],
    patches: Sequence[Patch],
    *,
    positions: Sequence[int] = (-1,),
) -> tuple[Float[Tensor, " choice"], Float[Tensor, "patch choice"]]:
    """log p(choice | context), in nats, of the model as it is and under each patch at `positions` of the context."""
    rows = prepare(model, ScoredPaths.of_choices(context, choices), _counted(positions, len(context)))
    return rows.plain, rows.run(patches)


def patched_log_probabilities(
    model: HookedModel,
    tokens: Ids,
    targets: Sequence[tuple[int, int]],
    patches: Sequence[Patch],
    *,
    positions: Sequence[int] = (-1,),
) -> tuple[Float[Tensor, " target"], Float[Tensor, "patch target"]]:
    """log p(token | tokens up to position), in nats, for each target (position, token): as it is and patched."""
    rows = prepare(model, ScoredPaths.of_tokens(tokens, targets), _counted(positions, len(tokens)))
    return rows.plain, rows.run(patches)


def every_head(values: Float[Tensor, "layer head position d_value"], layers: Sequence[int]) -> list[Patch]:
    """One patch a head of these layers, layer by layer."""
    return [Patch({(layer, head): values[layer, head]}) for layer in layers for head in range(values.shape[1])]


def every_ffn(values: Float[Tensor, "layer position d_model"], layers: Sequence[int]) -> list[Patch]:
    """One patch an FFN of these layers."""
    return [Patch(ffns={layer: values[layer]}) for layer in layers]


def _counted(positions: Sequence[int], length: int) -> list[int]:
    """Positions from 0 on; a negative one counts from the end."""
    beyond = [place for place in positions if not -length <= place < length]
    if beyond:
        raise UsageError(f"position {beyond[0]} does not exist: the prompt has {length} tokens")
    return [place % length for place in positions]
