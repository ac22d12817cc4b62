"""May this model's requests share prefixes? Found out by trying, against the model's own logits.

Trees of tokens go to a model as a four-dimensional mask with position ids, trunks as a plain key-value cache. Most
families take both; ALiBi families, linear attention and index-based windows don't, and not all of them say so. So a few
random requests are scored both ways when a model is first used, and again, once, when requests are longer than a
sliding window. Both ways may differ by what the dtype rounds away. Requests of a model that fails get a row of their
own each: slower, never wrong.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ablation.engine.packing import Batch
from ablation.engine.prefix_plan import MINIMUM_TRUNK, Price, Request
from interp.checks.rest import rounded_away

if TYPE_CHECKING:
    from interp.model import HookedModel

Score = Callable[[Sequence[Request], Price], Tensor]
CONTEXT = 2 * MINIMUM_TRUNK + 8  # long enough for a trunk on a trunk
_KEPT = "_headscope_sharing"
_REFUSALS = (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError, NotImplementedError)


@dataclass(frozen=True)
class Sharing:
    """`longest`: inputs of up to so many tokens may share (None: all; 0: none). `padding`: rows may be padded."""

    longest: int | None
    padding: bool = True

    def allows(self, length: int) -> bool:
        return self.longest is None or length <= self.longest


def find_sharing(model: HookedModel, longest: int, score: Score) -> Sharing:
    """What the model allows for inputs of up to `longest` tokens.

    `score(requests, price)` gives log-likelihoods through shared prefixes, planned by that price.
    """
    if not may_pad(model.config):
        return Sharing(0, padding=False)
    if "position_ids" not in inspect.signature(type(model.hf).forward).parameters or has_local_layers(model.config):
        return Sharing(0)
    window = window_of(model.config)
    if window is None:
        return Sharing(None if passes(model, CONTEXT, score) else 0)
    short = window >= CONTEXT + 8
    if (longest > window or not short) and passes(model, max(CONTEXT, window + 8), score):
        return Sharing(None)
    return Sharing(window if short and passes(model, CONTEXT, score) else 0)


def passes(model: HookedModel, context: int, score: Score) -> bool:
    """Whether shared prefixes give the model's own log-likelihoods behind contexts of that length; tried once."""
    known: dict[int, bool] = vars(model.hf).setdefault(_KEPT, {})
    if context not in known:
        requests = _requests(model, context)
        fits = model.max_length is None or context + 5 <= model.max_length
        known[context] = fits and _agrees(model, requests, score)
    return known[context]


def _agrees(model: HookedModel, requests: Sequence[Request], score: Score) -> bool:
    def plainly() -> Tensor:
        return torch.stack([plain_log_likelihood(model, request) for request in requests])

    truth = plainly()
    limit = rounded_away(model, plainly, truth)
    for price in (Price(keys=1e9, start=1e9), Price(keys=1e9, start=-1e9)):  # all trees, all trunks
        try:
            found = score(requests, price).to(truth)
        except _REFUSALS:
            return False
        if not bool((found - truth).abs().max() < limit):
            return False
    return True


def _requests(model: HookedModel, context: int) -> list[Request]:
    """Two contexts that part halfway, three choices each that part in turn."""
    generator = torch.Generator().manual_seed(0)
    stem, *ends = torch.randint(model.vocab_size, (3, (context + 1) // 2), generator=generator).tolist()
    a, b, c, d, e = torch.randint(model.vocab_size, (5,), generator=generator).tolist()
    choices = ((a, b, c, d), (a, b, e), (c, e, d, b, a))
    return [Request((*stem, *end), choice) for end in ends for choice in choices]


def plain_log_likelihood(model: HookedModel, request: Request) -> Float[Tensor, ""]:
    """One request by itself, from all the logits the model gives."""
    tokens = torch.tensor([request.ids[:-1]])
    with torch.no_grad():
        logits = model(tokens)[0, len(request.context) - 1 :].double()
    wanted = torch.tensor(request.continuation, device=logits.device)
    return logits.log_softmax(-1).gather(1, wanted[:, None]).sum().cpu()


# --- what a configuration says -----------------------------------------------------------------------------------


def window_of(config: Any) -> int | None:
    """The shortest reach of any layer, in tokens; None if all see everything."""
    sliding = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False or "sliding_attention" not in _layer_types(config, sliding):
        sliding = None
    found = [size for size in (sliding, getattr(config, "attention_chunk_size", None)) if isinstance(size, int)]
    return min(found, default=None)


def _layer_types(config: Any, sliding: Any) -> set[str]:
    named = getattr(config, "layer_types", None)
    return set(named) if named else ({"sliding_attention"} if sliding else set())


def has_local_layers(config: Any) -> bool:
    """GPT-Neo: windows by index in the tensor, not by position."""
    return "local" in (getattr(config, "attention_layers", None) or ())


def may_pad(config: Any) -> bool:
    """Whether rows of unequal length may run together; not where the longest one decides on the rotary embedding."""
    return not rotary_types(config) & {"dynamic", "longrope"}


def rotary_types(config: Any) -> set[str]:
    """The kinds of rotary embedding; a configuration may hold one, or one a layer type."""
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [given, *(value for value in given.values() if isinstance(value, dict))]
    return {str(part.get("rope_type", part.get("type"))) for part in nested}


# --- masks in the form a family takes ----------------------------------------------------------------------------


def attention_arguments(model: HookedModel, batch: Batch) -> dict[str, Any]:
    """Position ids and mask of a batch for the Hugging Face model; nothing for plainly causal rows."""
    if batch.visible is None:
        return {}
    everything = additive(batch.visible, model)
    arguments: dict[str, Any] = {"position_ids": batch.positions.to(model.device), "attention_mask": everything}
    window = window_of(model.config)
    if window is not None and int(batch.positions.max()) >= window:
        near = additive(batch.visible & batch.nearer_than(window), model)
        types = set(getattr(model.config, "layer_types", None) or ())
        arguments["attention_mask"] = {"full_attention": everything, "sliding_attention": near} if types else near
    return arguments


def additive(visible: Bool[Tensor, "batch query key"], model: HookedModel) -> Float[Tensor, "batch one query key"]:
    """0 where a key is seen, the lowest number elsewhere."""
    seen = visible.to(model.device)[:, None]
    zeros = torch.zeros(seen.shape, dtype=model.dtype, device=model.device)
    return zeros.masked_fill_(~seen, torch.finfo(model.dtype).min)
