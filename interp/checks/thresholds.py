"""What changes beyond a length that the configuration names: a window, a chunk, the k of a sparse mask, a context.

Sixteen tokens do not see what a model does from the 2,049th on. A short pass does where the threshold is lowered: its
copies in configurations and modules are set to 4 for the time of the check, and what the model at rest computes must
change with it. Positions beyond an original context are simply asked for. Small models are run beyond the threshold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from einops import reduce
from jaxtyping import Int
from torch import Tensor

from interp.attention.rows import blocks
from interp.checks.result import LENGTH, Check, relative, tolerance
from interp.inputs import takes_positions
from interp.model import HookedModel

NAME = "the same beyond every threshold"
LOWERED = 4
CHEAP = 2e10  # tokens times weights: below a second on any machine
PAYABLE = 1e12  # the same where nothing cheaper reaches the threshold
_LENGTHS = re.compile(r"index_topk|attention_chunk_size|local_attention|\w*window(_size|_len)?")
_POSITIONS = re.compile(r"original_max_position_embeddings|floor_scale|\w+_n_floor")


@dataclass(frozen=True)
class Threshold:
    """A number of the configuration beyond which a model does something else; by_position: a place, not a length."""

    name: str
    value: int
    by_position: bool


def thresholds(model: HookedModel) -> list[Threshold]:
    """Those that this model can be run beyond, each once."""
    limit = model.max_length or 1 << 62
    found = {(name, value) for name, value in _numbers(model.config.to_dict()) if LENGTH <= value < limit}
    kinds = [(_LENGTHS, False), (_POSITIONS, True)]
    return [
        Threshold(name, value, by_position)
        for name, value in sorted(found)
        for names, by_position in kinds
        if names.fullmatch(name)
    ]


def _numbers(told: Mapping[Any, Any]) -> Iterator[tuple[str, int]]:
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield from _numbers(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield str(name), value


def same_beyond_thresholds(model: HookedModel, tokens: Int[Tensor, "batch query"], plain: Tensor) -> Check:
    """Watched logits and rows beyond each threshold, against the model at rest."""
    worst, told = 0.0, []
    for threshold in thresholds(model):
        difference, how = _beyond(model, threshold, tokens, plain)
        worst = max(worst, difference)
        told.append(f"{threshold.name} {threshold.value} ({how})")
    return Check(NAME, worst < tolerance(model), worst, ", ".join(told) or "the configuration names none")


def _beyond(model: HookedModel, threshold: Threshold, tokens: Tensor, plain: Tensor) -> tuple[float, str]:
    """How far watching is from rest there, and how it was reached; infinite where it was not."""
    if threshold.by_position:
        return _at_positions(model, threshold, tokens)
    length = threshold.value + LENGTH // 2
    reachable = model.max_length is None or length <= model.max_length
    price = length * sum(weight.numel() for weight in model.hf.parameters())
    if not (reachable and price < CHEAP):
        with lowered(model, threshold):
            if relative(model(tokens), plain) > 0:
                return _apart(model, tokens), f"with {LOWERED} in its place"
    if reachable and price < PAYABLE:
        longer = torch.arange(length, device=tokens.device)[None] * tokens[0, 0] % model.vocab_size
        return _apart(model, longer), f"on {length} tokens"
    return float("inf"), f"not reached: lowering it changes nothing, and {length} tokens are too many to run"


def _at_positions(model: HookedModel, threshold: Threshold, tokens: Tensor) -> tuple[float, str]:
    """Half of the positions before the threshold, half behind it."""
    if not takes_positions(model):
        return 0.0, "no positions to be given"
    first = min(threshold.value - LENGTH // 2, (model.max_length or 1 << 62) - tokens.shape[1])
    positions = first + torch.arange(tokens.shape[1], device=tokens.device)[None]
    return _apart(model, tokens, position_ids=positions), f"positions {first} to {first + tokens.shape[1] - 1}"


def _apart(model: HookedModel, tokens: Tensor, **more: Any) -> float:
    """Largest difference of watched logits from those at rest, and of a row's sum beyond 1."""
    inputs = {**model.inputs(tokens), **more}
    above = [0.0]

    def add(layer: int, rows: Any) -> None:
        above.extend(float((reduce(p, "b h q k -> b h q", "sum") - 1).max()) for _, _, p in blocks(rows))

    rest = model.hf(**inputs).logits
    with model.watch_attention(add):
        watched = model.hf(**inputs).logits
    return max(relative(watched, rest), *above)


@contextmanager
def lowered(model: HookedModel, threshold: Threshold) -> Iterator[None]:
    """A threshold's copies in the configurations and the modules, set to `LOWERED` for as long as the context lasts."""
    owners: list[Any] = [model.hf.config, model.config, *model.hf.modules()]
    owners += [owner.config for owner in owners if hasattr(owner, "config")]
    holding = [o for o in {id(o): o for o in owners}.values() if vars(o).get(threshold.name) == threshold.value]
    try:
        for owner in holding:
            setattr(owner, threshold.name, LOWERED)
        yield
    finally:
        for owner in holding:
            setattr(owner, threshold.name, threshold.value)
