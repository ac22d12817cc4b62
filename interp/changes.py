"""Fitting a change of an activation to the module it stands at: its shape there, and torch's hook signatures.

A change takes the activation in its documented shape and gives another one, or None to leave it as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor | None]


def in_heads(change: Change, heads: int) -> Change:
    """For modules that see the heads side by side."""
    return partial(_in_heads, change, heads)


def scaled(change: Change, scale: float) -> Change:
    """Granite adds its FFN's output times a constant: show what is added."""
    return change if scale == 1.0 else partial(_scaled, change, scale)


def without_gate(change: Change) -> Change:
    """Qwen3-Next's q projection also makes a gate, behind the query of each head: leave it alone."""
    return partial(_without_gate, change)


def at_input(change: Change) -> Any:
    """A forward pre-hook, with or without keyword arguments, that changes the module's first argument."""
    return partial(_at_input, change)


def at_output(change: Change) -> Any:
    """A forward hook that changes the module's output, or the first part of it."""
    return partial(_at_output, change)


def unflattened(block: nn.Module, module: nn.Module, change: Change, *, after: bool) -> list[Any]:
    """OPT runs its FFN on [batch * query, d_model]: note the block's shape on the way in and give it back."""
    seen: dict[str, tuple[int, ...]] = {}
    shaped = partial(_unflattened, change, seen)
    register = module.register_forward_hook if after else module.register_forward_pre_hook
    hook = at_output(shaped) if after else at_input(shaped)
    return [block.register_forward_pre_hook(partial(_note_shape, seen), with_kwargs=True), register(hook)]


def summed(first: nn.Module, last: nn.Module, change: Change) -> list[Any]:
    """For what is the sum of two modules' outputs: the first gives 0 in place of its own, the last the changed sum."""
    seen: dict[str, Tensor] = {}
    hold, finish = partial(_hold, seen), partial(_finish, change, seen)
    return [first.register_forward_hook(hold), last.register_forward_hook(finish)]


def is_ours(hook: Any) -> bool:
    """Whether a hook on a module was made here."""
    return getattr(hook, "func", None) in (_at_input, _at_output, _note_shape, _hold, _finish)


def _in_heads(change: Change, heads: int, value: Tensor) -> Tensor | None:
    changed = change(rearrange(value, "... q (h d) -> ... q h d", h=heads))
    return None if changed is None else rearrange(changed, "... q h d -> ... q (h d)")


def _scaled(change: Change, scale: float, value: Tensor) -> Tensor | None:
    changed = change(value * scale)
    return None if changed is None else changed / scale


def _without_gate(change: Change, value: Tensor) -> Tensor | None:
    query, gate = value.chunk(2, dim=-1)
    changed = change(query)
    return None if changed is None else torch.cat((changed, gate), dim=-1)


def _at_input(change: Change, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
    named = not args
    changed = change((kwargs or {})["hidden_states"] if named else args[0])
    if changed is None:
        return None
    if kwargs is None:
        return (changed, *args[1:])
    return (args, {**kwargs, "hidden_states": changed}) if named else ((changed, *args[1:]), kwargs)


def _at_output(change: Change, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    several = isinstance(output, (tuple, list))
    changed = change(output[0] if several else output)
    if changed is None:
        return None
    return type(output)((changed, *output[1:])) if several else changed


def _note_shape(seen: dict[str, Any], block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    seen["shape"] = (args[0] if args else kwargs["hidden_states"]).shape[:2]


def _unflattened(change: Change, seen: dict[str, Any], value: Tensor) -> Tensor | None:
    changed = change(value.reshape(*seen["shape"], value.shape[-1]))
    return None if changed is None else changed.reshape(value.shape)


def _hold(seen: dict[str, Tensor], module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    several = isinstance(output, (tuple, list))
    seen["output"] = output[0] if several else output
    nothing = torch.zeros_like(seen["output"])
    return type(output)((nothing, *output[1:])) if several else nothing


def _finish(
    change: Change, seen: dict[str, Tensor], module: nn.Module, args: tuple[Any, ...], output: Tensor
) -> Tensor:
    total = seen.pop("output") + output
    changed = change(total)
    return total if changed is None else changed
