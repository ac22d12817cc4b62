"""Which way may this model's patches be run? Found out by trying, against hooks and whole runs.

Not every family that takes a key-value cache or is resumed at a block does it right (windows by index, rotary
embeddings that change with the length, states that are no keys), and not all of them say so. Before its first patches,
and again when prompts get twice as long, a model is patched on a random prompt of that length both ways; the fastest
way that agrees, but for what the dtype rounds away, is taken. The same trial finds out a model on which patches do
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from interp.checks.rest import rounded_away
from interp.errors import SelfCheckError
from interp.patching import Patch
from interp.prompt_rows import PromptRows, Route
from interp.resume import can_resume
from interp.scored_paths import ScoredPaths

if TYPE_CHECKING:
    from interp.model import HookedModel

ROUTES = (
    *(
        Route(True, cached, joining, packed)
        for cached in (True, False)
        for packed in (True, False)
        for joining in (True, False)
    ),
    Route(False),
)
SHORTEST = 32
_KEPT = "_headscope_patch_routes"
_REFUSALS = (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError, NotImplementedError)


def find_route(model: HookedModel, length: int) -> Route:
    """The fastest way that is right for sequences of up to `length` tokens, tried once a model and doubling of length.

    Raises SelfCheckError where a head whose z is replaced by noise leaves the log-probabilities as they were.
    """
    tried = SHORTEST
    while tried < length:
        tried *= 2
    tried = min(tried, model.max_length or tried)
    known: dict[int, Route] = vars(model.hf).setdefault(_KEPT, {})
    if tried not in known:
        known[tried] = _tried(model, tried)
    return known[tried]


def _tried(model: HookedModel, length: int) -> Route:
    scored, patches = _prompt(model, length), _patches(model)
    position = min(place for _, place in scored.places)
    truth = PromptRows.of(model, scored, [position], ROUTES[-1])
    expected = truth.unchecked(patches)
    _refuse_no_ops(model, truth.plain, expected, patches)
    allowed = ROUTES[:-1] if can_resume(model) else ()

    def read(route: Route) -> Tensor:
        rows = PromptRows.of(model, scored, [position], route)
        return torch.cat([rows.plain, rows.unchecked(patches).flatten()])

    whole = torch.cat([truth.plain, expected.flatten()])
    limit = rounded_away(model, partial(read, ROUTES[-1]), whole)
    return next((route for route in allowed if _agrees(partial(read, route), whole, limit)), ROUTES[-1])


def _agrees(read: Callable[[], Tensor], whole: Tensor, limit: float) -> bool:
    try:
        return bool((read() - whole).abs().max() < limit)
    except _REFUSALS:
        return False


def _prompt(model: HookedModel, length: int) -> ScoredPaths:
    """Random tokens, and choices of one to three tokens of which two begin alike."""
    generator = torch.Generator().manual_seed(0)
    *context, a, b, c, d, e = torch.randint(model.vocab_size, (max(length - 2, 1) + 5,), generator=generator).tolist()
    return ScoredPaths.of_choices(context, [(a, b, c), (a, d), (d, e), (e,)])


def _patches(model: HookedModel) -> list[Patch]:
    """Noise for a head in the first, the middle and the last layer that has heads, for an FFN, and for two heads."""
    generator = torch.Generator().manual_seed(1)
    layers = model.attention_layers
    heads = [(layers[place], place % model.n_heads) for place in sorted({0, len(layers) // 2, len(layers) - 1})]
    noise = {head: torch.randn(1, model.d_value, generator=generator) for head in heads}
    patches = [Patch({head: value}) for head, value in noise.items()]
    ffns = model.ffn_layers[len(model.ffn_layers) // 2 :][:1]
    patches += [Patch(ffns={layer: torch.randn(1, model.d_model, generator=generator)}) for layer in ffns]
    return [*patches, Patch(noise)]


def _refuse_no_ops(model: HookedModel, plain: Tensor, patched: Tensor, patches: list[Patch]) -> None:
    """Noise in a component must be seen in what the model says: in one of each kind, since some may write nothing."""
    pairs = list(zip(patches, patched, strict=True))
    for kind in (lambda patch: bool(patch.heads), lambda patch: bool(patch.ffns)):
        tried = [(patch, torch.equal(row, plain)) for patch, row in pairs if kind(patch)]
        if tried and all(silent for _, silent in tried):
            first = tried[0][0]
            names = [f"head {layer}.{head}" for layer, head in first.heads] or [
                f"the FFN of layer {next(iter(first.ffns))}"
            ]
            raise SelfCheckError(
                f"noise patched into {names[0]} of this {model.layout.architecture}, or into others, leaves every "
                "log-probability as it was: patching does nothing here, so no effect of it would mean anything; "
                "`headscope doctor` shows what else fails"
            )
