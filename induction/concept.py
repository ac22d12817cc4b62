"""Token and concept induction, causal: does a head bring back the next token, or the name that it begins?

Feucht et al. 2025, arXiv 2504.03022; Method 2.11. Prompts of entities.py: at position -2 ends the second r, behind
which the entity comes back; at position -1 stands its first token.
1. Run the clean prompt and keep z of every head at position -2; run the corrupt prompt.
2. Put one head's clean z in at position -2 of the corrupt prompt, one head at a time, and read
   the first token: d log p(e_1 | position -2), and the second: d log p(e_2 | position -1), in nats.
3. *Concept induction* is the second token with names, *token induction* the first with random tokens. The claim is that
   heads split, so the other two cells of the 2 x 2 (kind of entity by token) are told beside them.
Null: z from a clean prompt with another entity, into the same corrupt prompt, item by item.
Price: four rows of clean prompts, two passes, and L x H rows of two tokens over the cached prefix, twice (the null).
Departure: the released code has one model's BOS and line break for every model, and its first script reads position -1
for both kinds.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from induction.entities import KINDS, EntityPrompt, EntityPrompts
from induction.null import DRAWS, OTHER_ENTITY, check_draws, swapped_null
from induction.reading import Progress, Units
from interp.errors import UsageError
from interp.model import HookedModel
from interp.overflow import refuse_broken_effects
from interp.patched_rows import every_head, prepare
from interp.scored_paths import ScoredPaths
from interp.scores import HeadScores

CONCEPT, TOKEN = "concept_induction", "token_induction"
# Which cell of (kind of entity, token read) each is, and what it is called among the scores.
CELLS: dict[str, tuple[int, int, str, str]] = {
    "concept": (0, 1, CONCEPT, ""),
    "token": (1, 0, TOKEN, ""),
    "names_first": (0, 0, CONCEPT, "first_token"),
    "random_second": (1, 1, TOKEN, "second_token"),
}


def concept_score(
    model: HookedModel,
    prompts: EntityPrompts,
    variant: str = "concept",
    *,
    draws: int = DRAWS,
    progress: Progress | None = None,
    units: Units | None = None,
) -> HeadScores:
    """What a head's output at the end of r adds to the log-probability of an entity's token, in nats, one value a head.

    variant: `concept` (names, second token), `token` (random tokens, first token), and the other two cells,
    `names_first` and `random_second`. draws: of the null; 0 leaves it out. progress: in prompts.
    """
    check_draws(draws)
    if variant not in CELLS:
        raise UsageError(f"there is no variant {variant!r} of concept induction; there are: {', '.join(CELLS)}")
    effects = patching_effects(model, prompts, progress=progress, units=units)
    return _cell(model, prompts, effects, variant, draws=draws)


def concept_scores(
    model: HookedModel,
    prompts: EntityPrompts,
    *,
    draws: int = DRAWS,
    progress: Progress | None = None,
    units: Units | None = None,
) -> tuple[HeadScores, ...]:
    """The whole 2 x 2 from the same runs: `concept_induction`, `token_induction`, and each with the other token."""
    check_draws(draws)
    effects = patching_effects(model, prompts, progress=progress, units=units)
    return tuple(_cell(model, prompts, effects, variant, draws=draws) for variant in CELLS)


def _cell(
    model: HookedModel,
    prompts: EntityPrompts,
    effects: Float[Tensor, "item kind source read layer head"],
    variant: str,
    *,
    draws: int,
) -> HeadScores:
    kind, read, name, suffix = CELLS[variant]
    own, other = effects[:, kind, 0, read], effects[:, kind, 1, read]
    told = {"names usable": prompts.usable, "separator": prompts.separator}
    scores = HeadScores.from_items(name, own, variant=suffix, n_kv_heads=model.n_kv_heads, provenance=told)
    if not draws:
        return scores
    return scores.with_nulls(swapped_null(own, other, draws=draws, seed=prompts.seed, name=OTHER_ENTITY))


def patching_effects(
    model: HookedModel, prompts: EntityPrompts, *, progress: Progress | None = None, units: Units | None = None
) -> Float[Tensor, "item kind source read layer head"]:
    """Every head's effect, in nats: kind names or random, source own or another entity, read e_1 or e_2."""
    if (ahead := getattr(units, "ahead", None)) is not None:
        ahead((_key(prompt), partial(_unit, model, prompt, n), 1.0) for n, prompt in enumerate(prompts.prompts))
    found = []
    for number, prompt in enumerate(prompts.prompts):
        key = _key(prompt)
        kept = None if units is None else units.get(key)
        if kept is None:
            kept = _unit(model, prompt, number)
            if units is not None:
                units.put(key, kept)
        found.append(kept["effects"])
        if progress is not None:
            progress(number + 1, len(prompts))
    return torch.stack(found)


def _key(prompt: EntityPrompt) -> dict[str, Any]:
    """Of the unit that holds one prompt's effects."""
    runs = [[prompt.clean(kind), prompt.clean_other(kind), prompt.corrupt(kind)] for kind in range(len(KINDS))]
    return {"score": "concept induction", "prompts": runs, "entities": prompt.entities}


def _unit(model: HookedModel, prompt: EntityPrompt, number: int) -> dict[str, Tensor]:
    effects = _effects(model, prompt)
    for kind, name in enumerate(KINDS):
        runs = [prompt.corrupt(kind), prompt.clean(kind), prompt.clean_other(kind)]
        lowest = effects[kind].flatten(0, 1).sum(0)
        refuse_broken_effects(model, f"the effect on {name} prompt {number}", lowest, runs)
    return {"effects": effects}


def _effects(model: HookedModel, prompt: EntityPrompt) -> Float[Tensor, "kind source read layer head"]:
    clean = [source(kind) for kind in range(len(KINDS)) for source in (prompt.clean, prompt.clean_other)]
    z = z_at(model, torch.tensor(clean, device=model.device), -2)  # kind and source, layer, head
    found = torch.full((len(KINDS), 2, 2, model.n_layers, model.n_heads), torch.nan)
    layers = list(model.attention_layers)
    for kind in range(len(KINDS)):
        tokens, entity = prompt.corrupt(kind), prompt.entities[kind]
        end = len(tokens)
        rows = prepare(model, ScoredPaths.of_tokens(tokens, [(end - 2, entity[0]), (end - 1, entity[1])]), [end - 2])
        patches = [patch for own in z[2 * kind : 2 * kind + 2] for patch in every_head(own[:, :, None], layers)]
        effects = (rows.run(patches) - rows.plain).float()
        found[kind][:, :, layers] = rearrange(
            effects, "(source layer head) read -> source read layer head", source=2, layer=len(layers)
        )
    return found


def z_at(
    model: HookedModel, tokens: Int[Tensor, "batch query"], position: int
) -> Float[Tensor, "batch layer head d_value"]:
    """What every head hands to its output projection at one position; NaN in layers without heads."""
    shape = (len(tokens), model.n_layers, model.n_heads, model.d_value)
    found = torch.full(shape, torch.nan, dtype=model.dtype, device=model.device)

    def keep(layer: int, z: Tensor) -> None:
        found[:, layer] = z[:, position]

    with torch.no_grad(), ExitStack() as stack:
        for layer in model.attention_layers:
            stack.enter_context(model.edit("z", partial(keep, layer), layer=layer))
        model.run(tokens)
    return found
