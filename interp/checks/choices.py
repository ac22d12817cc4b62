"""Mixtures of experts: which experts a token is sent to, held as it was while something else changes.

A router's choice jumps where two experts are nearly alike, so that a small step of a gate, or one rounding in bfloat16,
moves the logits by far more than any tolerance. Comparisons that are about something else hold the choice: every `topk`
inside an FFN answers with the places that it gave in the run that was noted, and with the values now at these places.
Left out: routers that choose in another way (PhiMoE's sparse mixer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from interp.model import HookedModel


Place = tuple[int, int, int]  # layer, module of its FFN, call of topk
Noted = dict[Place, Tensor]  # [token, rows of the call a token, k]
_TOPK = (torch.topk, torch.Tensor.topk)


def has_experts(model: HookedModel) -> bool:
    """Whether some FFN has routed experts: modules or weights that are called so, whatever way their router chooses."""
    ffns = (ffn for layer in model.ffn_layers for ffn in model.layout.ffn_modules(model.hf, layer))
    named = (name for ffn in ffns for name, _ in chain(ffn.named_modules(), ffn.named_parameters()))
    return any("expert" in name or "router" in name for name in named)


@contextmanager
def noted(model: HookedModel) -> Iterator[Noted]:
    """The choices of the run inside; of several, the last one's."""
    found: Noted = {}

    def note(call: Place, experts: Tensor) -> None:
        found[call] = experts

    with _calls(model, note):
        yield found


@contextmanager
def held(model: HookedModel, choices: Noted, tokens: Tensor | None = None) -> Iterator[None]:
    """Repeat noted choices in the runs inside.

    tokens: for each token that runs, which noted one it is, -1 for none (it chooses for itself); unset, the same ones.
    """

    def repeat(call: Place, experts: Tensor) -> Tensor | None:
        kept = choices.get(call)
        if kept is None:
            return None
        known = torch.arange(len(kept)) if tokens is None else tokens
        if len(known) != len(experts) or kept.shape[1:] != experts.shape[1:]:
            return None
        known = known.to(experts.device)
        return torch.where((known < 0)[:, None, None], experts, kept[known.clamp_min(0)])

    with _calls(model, repeat):
        yield


@contextmanager
def _calls(model: HookedModel, change: Callable[[Place, Tensor], Tensor | None]) -> Iterator[None]:
    with ExitStack() as stack:
        calls = stack.enter_context(_TopK(change))
        for layer in model.ffn_layers:
            for number, module in enumerate(model.layout.ffn_modules(model.hf, layer)):
                stack.callback(module.register_forward_pre_hook(calls.entering(layer, number), with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(calls.leave, always_call=True).remove)
        yield


class _TopK(TorchFunctionMode):
    """Passes the answer of each `topk` over the last dimension, inside an FFN, through `change`."""

    def __init__(self, change: Callable[[Place, Tensor], Tensor | None]) -> None:
        super().__init__()
        self._change, self._next, self._tokens = change, (-1, 0, 0), 0

    def entering(self, layer: int, number: int) -> Any:
        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = args[0] if args else kwargs["hidden_states"]
            self._next, self._tokens = (layer, number, 0), given.shape[:-1].numel()

        return enter

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._next = (-1, 0, 0)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func not in _TOPK or self._next[0] < 0:
            return found
        scores = args[0] if args else (kwargs or {})["input"]
        if found.indices.shape[:-1] != scores.shape[:-1] or found.indices[..., 0].numel() % self._tokens:
            return found  # over another dimension, or not token by token
        layer, number, call = self._next
        experts = rearrange(found.indices.flatten(0, -2), "(token rest) k -> token rest k", token=self._tokens)
        other = self._change(self._next, experts)
        self._next = (layer, number, call + 1)
        if other is None:
            return found
        other = other.reshape(found.indices.shape)
        return torch.return_types.topk((scores.gather(-1, other), other))
