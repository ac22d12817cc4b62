"""Mixtures of experts: which experts a token is sent to, held as it was while something else changes.

A router's choice jumps where two experts are nearly alike, so that a small step of a gate, or one rounding in bfloat16,
moves the logits by far more than any tolerance. Comparisons that are about something else hold the choice: every `topk`
inside an FFN answers with the places that it gave in the run that was noted, and with the values now at these places.
Left out: routers that choose in another way (PhiMoE's sparse mixer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from interp.model import HookedModel

Noted = dict[tuple[int, int], Tensor]  # by layer and call, [token, rows of the call a token, k]
_TOPK = (torch.topk, torch.Tensor.topk)


@contextmanager
def noted(model: HookedModel) -> Iterator[Noted]:
    """The choices of the run inside; of several, the last one's."""
    found: Noted = {}

    def note(layer: int, call: int, scores: Tensor, places: Tensor) -> None:
        found[layer, call] = places

    with _calls(model, note):
        yield found


@contextmanager
def held(model: HookedModel, choices: Noted, tokens: Tensor | None = None) -> Iterator[None]:
    """Repeat noted choices in the runs inside.

    tokens: for each token that runs, which noted one it is, -1 for none (it chooses for itself); unset, the same ones.
    """

    def repeat(layer: int, call: int, scores: Tensor, places: Tensor) -> Tensor | None:
        kept = choices.get((layer, call))
        if kept is None:
            return None
        known = torch.arange(len(kept)) if tokens is None else tokens
        if len(known) != len(places) or kept.shape[1:] != places.shape[1:]:
            return None
        known = known.to(places.device)
        return torch.where((known < 0)[:, None, None], places, kept[known.clamp_min(0)])

    with _calls(model, repeat):
        yield


@contextmanager
def _calls(model: HookedModel, change: Callable[[int, int, Tensor, Tensor], Tensor | None]) -> Iterator[None]:
    with ExitStack() as stack:
        calls = stack.enter_context(_TopK(change))
        for layer in model.ffn_layers:
            module = model.layout.inner(model.hf, layer, model.layout.ffn)
            if module is not None:
                stack.callback(module.register_forward_pre_hook(calls.entering(layer), with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(calls.leave, always_call=True).remove)
        yield


class _TopK(TorchFunctionMode):
    """Passes the places of each `topk` over the last dimension, inside an FFN, through `change`."""

    def __init__(self, change: Callable[[int, int, Tensor, Tensor], Tensor | None]) -> None:
        super().__init__()
        self._change, self._layer, self._call, self._tokens = change, -1, 0, 0

    def entering(self, layer: int) -> Any:
        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = args[0] if args else kwargs["hidden_states"]
            self._layer, self._call, self._tokens = layer, 0, given.shape[:-1].numel()

        return enter

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._layer = -1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func not in _TOPK or self._layer < 0:
            return found
        scores = args[0] if args else (kwargs or {})["input"]
        if found.indices.shape[:-1] != scores.shape[:-1] or found.indices[..., 0].numel() % self._tokens:
            return found  # over another dimension, or not token by token
        places = rearrange(found.indices.flatten(0, -2), "(token rest) k -> token rest k", token=self._tokens)
        other = self._change(self._layer, self._call, scores, places)
        self._call += 1
        if other is None:
            return found
        other = other.reshape(found.indices.shape)
        return torch.return_types.topk((scores.gather(-1, other), other))
