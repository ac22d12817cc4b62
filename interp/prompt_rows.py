"""Many patches of one prompt, exactly, for the price of a few passes of it (Method 3.4).

1. One pass of the prompt keeps its keys and values in front of the first changed position, and the residual stream that
   enters each block behind it.
2. Every patch is a row of the changed suffix: a single token where only the last position is patched. Its keys and
   values in front are the prompt's, copied nowhere but inside a layer's attention.
3. One sweep over the blocks serves all rows: a row joins at the first block that its patch changes, with the stored
   residual. What stands below is the prompt's own.
What a family can't take of this is left out for it (patch_route.py tries, against hooks): the cache, the joining, the
resuming. The numbers are the same, and `PromptRows.route` tells which way they came.
Gates that are held around it hold in every row; a patch comes after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from interp import hooks, patching
from interp.patching import Patch
from interp.rechecks import PROMPTS_EVERY, due, nth, refuse_unlike
from interp.resume import passed_over
from interp.row_joining import Joining, changes_of
from interp.scored_paths import RowTokens, ScoredPaths
from interp.shared_keys import new_cache, shared_cache

if TYPE_CHECKING:
    from interp.model import HookedModel

KEY_ELEMENTS = 1 << 25  # keys and values that a layer's attention may copy
ROW_TOKENS = 4096
PATCHED = "patched prompts"
STRIDE = 7  # between the patches that are run again, one a prompt
LOGIT_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class Route:
    """How rows are run; what is False costs time and changes nothing else.

    resumed: from a stored residual on. cached: over the prompt's keys. joining: all layers in one sweep. packed: the
    choices' tokens in one row, told apart by a mask.
    """

    resumed: bool
    cached: bool = False
    joining: bool = False
    packed: bool = False

    def __str__(self) -> str:
        if not self.resumed:
            return "whole runs, one a patch"
        kind = "packed rows" if self.packed else "rows"
        keys = f"{kind} over cached keys" if self.cached else f"{kind} of the whole prompt"
        return f"{keys}, {'all layers in one sweep' if self.joining else 'one sweep a layer'}"


@dataclass(frozen=True, eq=False)
class PromptRows:
    """A prompt that was run, ready for patches: `plain` holds its own outcomes.

    positions: the patched ones, counted from 0. start: the first position that rows run, patched or read. rows: what
    they hold. prefix: keys and values in front. residuals: what enters each block of the rows.
    """

    model: HookedModel
    scored: ScoredPaths
    positions: tuple[int, ...]
    route: Route
    start: int
    rows: RowTokens
    prefix: Any
    residuals: tuple[Float[Tensor, "path query d_model"], ...]
    plain: Float[Tensor, " outcome"]

    @classmethod
    def of(cls, model: HookedModel, scored: ScoredPaths, positions: Sequence[int], route: Route) -> PromptRows:
        """Run the prompt once, for patches at `positions`."""
        start = min([*positions, *(place for _, place in scored.places)]) if route.cached else 0
        rows = scored.tree(start) if route.packed else scored.paths(start)
        with torch.no_grad():
            if not route.resumed:
                plain = scored.summed(_whole_run(model, scored)[None])[0]
                return cls(model, scored, tuple(positions), route, 0, rows, None, (), plain)
            return cls(model, scored, tuple(positions), route, start, rows, *_prompt(model, scored, start, rows))

    def run(
        self, patches: Sequence[Patch], read: Callable[[Tensor], Tensor] | None = None
    ) -> Float[Tensor, "patch ..."]:
        """The outcomes under each patch.

        `read` makes something else of a few patches' logits [patch place vocab] at `scored.places`, a row a patch.
        The running check: of every so-manieth prompt one patch, another each time, is run whole.
        """
        found = self.unchecked(patches, read)
        if len(found) and read is None and self.route.resumed and due(self.model, PATCHED, 1, PROMPTS_EVERY):
            number = nth(self.model, PATCHED) // PROMPTS_EVERY * STRIDE % len(patches)
            if bool(found[number].isfinite().all()):  # what is not is for the caller to refuse, who knows the prompt
                again = self.scored.summed(self._one_by_one([patches[number]]))[0]
                for one, other in zip(found[number].tolist(), again.tolist(), strict=True):
                    refuse_unlike(self.model, "a log-likelihood under a patch", one, other, way="where rows are shared")
        return found

    def unchecked(
        self, patches: Sequence[Patch], read: Callable[[Tensor], Tensor] | None = None
    ) -> Float[Tensor, "patch ..."]:
        """The same without the running check, for routes that are on trial."""
        for patch in patches:
            patching.check(self.model, patch, len(self.positions))
        found: dict[int, Tensor] = {}
        with torch.no_grad():
            for numbers in self._chunks(patches):
                rows = [patches[number] for number in numbers]
                logits = self._sweep(rows) if self.route.resumed else self._one_by_one(rows)
                values = self.scored.summed(logits) if read is None else read(logits)
                found |= dict(zip(numbers, values, strict=True))
        if not found:
            return torch.zeros(0, self.scored.outcomes, dtype=torch.float64)
        return torch.stack([found[number] for number in range(len(patches))])

    def _chunks(self, patches: Sequence[Patch]) -> Iterator[list[int]]:
        """Patches that run together, ordered by the first block that they change; those that change none come first."""
        first = [patch.layers[0] if patch.layers else 0 for patch in patches]
        order = sorted(range(len(patches)), key=lambda number: first[number])
        size, chunk = self._rows_at_once(), list[int]()
        for number in order:
            apart = not self.route.joining and chunk and first[number] != first[chunk[0]]
            if len(chunk) == size or apart:
                yield chunk
                chunk = []
            chunk.append(number)
        if chunk:
            yield chunk

    def _rows_at_once(self) -> int:
        model, (rows, width) = self.model, self.rows.tokens.shape
        keys = rows * (self.start + width) * model.n_kv_heads * (model.d_head + model.d_value)
        logits = len(self.scored.places) * model.vocab_size
        return max(1, min(KEY_ELEMENTS // keys, ROW_TOKENS // (rows * width), LOGIT_ELEMENTS // logits))

    def _one_by_one(self, patches: Sequence[Patch]) -> Float[Tensor, "patch place vocab"]:
        found = []
        for patch in patches:
            with patching.patched(self.model, patch, self.positions):
                found.append(_whole_run(self.model, self.scored))
        return torch.stack(found)

    def _sweep(self, patches: Sequence[Patch]) -> Float[Tensor, "patch place vocab"]:
        """Patches ordered by the first block they change, in one pass over the blocks."""
        model, each, count = self.model, len(self.rows.tokens), len(patches)
        patches = _distinct_size(patches, each, self._other_axes())
        first = [patch.layers[0] if patch.layers else 0 for patch in patches]
        started = [sum(layer <= block for layer in first) for block in range(model.n_layers)]
        positions = [place - self.start for place in self.positions]
        with ExitStack() as stack:
            stack.enter_context(passed_over(model, first[0], touched=True))
            stack.enter_context(Joining(self.residuals, started).held(model, first[0]))
            for point, change in changes_of(patches, positions, each):
                stack.enter_context(hooks.edit(model, point, change))
            tokens = self.rows.tokens.repeat(len(patches), 1)
            found = [self.rows.where[place] for place in self.scored.places]
            places = [(number * each + row, query) for number in range(count) for row, query in found]
            logits = _logits(model, replace(self.rows, tokens=tokens), self.prefix, places)
        return logits.unflatten(0, (count, -1))

    def _other_axes(self) -> set[int]:
        """Lengths of axes that must not be taken for the one over rows."""
        width = self.rows.tokens.shape[1]
        return {1, width, self.start + width, self.model.n_heads, self.model.n_kv_heads}


# --- the prompt --------------------------------------------------------------------------------------------------


def _prompt(
    model: HookedModel, scored: ScoredPaths, start: int, rows: RowTokens
) -> tuple[Any, tuple[Float[Tensor, "path query d_model"], ...], Float[Tensor, " outcome"]]:
    """The keys and values in front of `start`, what enters each block of the rows, and the outcomes.

    A single sequence is run whole and its keys are cut; several stand on the keys of what they share.
    """
    cache, run = new_cache() if start else None, rows
    if start and len(scored.sequences) > 1:
        shared = torch.tensor([scored.sequences[0][:start]], device=model.device)
        model.hf.base_model(input_ids=shared, past_key_values=cache, use_cache=True)
        cache = shared_cache(cache, start)
    elif start:
        run = scored.paths()
    entering: dict[int, Tensor] = {}
    points = [hooks.Point("resid_pre", layer) for layer in range(model.n_layers)]
    with hooks.capture(model, points, lambda point, value: entering.__setitem__(point.layer, value)):
        logits = _logits(model, run, cache, [run.where[place] for place in scored.places])
    width = rows.tokens.shape[1]
    residuals = tuple(entering[layer][:, -width:] for layer in range(model.n_layers))
    prefix = None if cache is None else shared_cache(cache, start)
    return prefix, residuals, scored.summed(logits[None])[0]


def _whole_run(model: HookedModel, scored: ScoredPaths) -> Float[Tensor, "place vocab"]:
    """Logits at the places, every sequence by itself."""
    found: dict[tuple[int, int], Tensor] = {}
    for number, sequence in enumerate(scored.sequences):
        places = [place for path, place in scored.places if path == number]
        row = RowTokens(torch.tensor([sequence]), {})
        logits = _logits(model, row, None, [(0, place) for place in places])
        found |= {(number, place): value for place, value in zip(places, logits, strict=True)}
    return torch.stack([found[place] for place in scored.places])


def _logits(
    model: HookedModel, rows: RowTokens, cache: Any, places: Sequence[tuple[int, int]]
) -> Float[Tensor, "place vocab"]:
    """The model's logits at (row, query) places only."""
    index = torch.tensor(places, device=model.device).T

    def keep(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0]
        return (hidden[tuple(index.to(hidden.device))][None], *args[1:])

    arguments: dict[str, Any] = {"input_ids": rows.tokens.to(model.device), "use_cache": cache is not None}
    if cache is not None:
        arguments["past_key_values"] = cache
    if rows.visible is not None and rows.positions is not None:
        arguments |= _tree_arguments(model, rows.positions, rows.visible)
    handle = model.hf.get_submodule(model.layout.unembed).register_forward_pre_hook(keep)
    try:
        return model.hf(**arguments).logits[0]
    finally:
        handle.remove()


def _tree_arguments(
    model: HookedModel, positions: Int[Tensor, "one query"], visible: Bool[Tensor, "query query"]
) -> dict[str, Tensor]:
    """The mask of a tree that stands on keys which all of it sees, and its positions; 0 is seen."""
    before = int(positions.min())
    unseen = torch.cat([visible.new_zeros(len(visible), before), ~visible], dim=1)
    mask = torch.zeros(unseen.shape, dtype=model.dtype).masked_fill_(unseen, torch.finfo(model.dtype).min)
    return {"position_ids": positions.to(model.device), "attention_mask": mask[None, None].to(model.device)}


def _distinct_size(patches: Sequence[Patch], each: int, sizes: set[int]) -> list[Patch]:
    """The patches, the last one again until rows are told from every other axis by their number."""
    padded = list(patches)
    while len(padded) * each in sizes:
        padded.append(padded[-1])
    return padded
