"""Masks over heads and FFNs: 1 keeps, 0 removes, between interpolates (Method 3.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError, quoted
from interp.whole import whole


@dataclass(frozen=True)
class HeadMask:
    """A gate value for every head."""

    values: Float[Tensor, "layer head"]

    def __post_init__(self) -> None:
        _refuse_no_tensor(self)

    @classmethod
    def keep_all(cls, n_layers: int, n_heads: int) -> HeadMask:
        return cls(torch.ones(n_layers, n_heads))

    def without(self, heads: Iterable[Any] | Any) -> HeadMask:
        """A copy with these heads removed: (layer, head) pairs, rows of `scores.top()`, or text ("18.6,17.3")."""
        values = self.values.clone()
        layers, width = values.shape
        for layer, head in listed_heads(heads):
            if not (0 <= layer < layers and 0 <= head < width):
                raise UsageError(
                    f"head {layer}.{head} does not exist: the model has layers 0-{layers - 1}, heads 0-{width - 1}"
                )
            values[layer, head] = 0.0
        return HeadMask(values)

    def removed(self) -> list[tuple[int, int]]:
        return [(int(layer), int(head)) for layer, head in (self.values == 0).nonzero()]

    def __repr__(self) -> str:
        layers, heads = self.values.shape
        return f"<HeadMask {layers} x {heads}: {_told([f'{layer}.{head}' for layer, head in self.removed()])}>"


@dataclass(frozen=True)
class FFNMask:
    """A gate value for every FFN."""

    values: Float[Tensor, " layer"]

    def __post_init__(self) -> None:
        _refuse_no_tensor(self)

    @classmethod
    def keep_all(cls, n_layers: int) -> FFNMask:
        return cls(torch.ones(n_layers))

    def without(self, layers: Iterable[int] | Any) -> FFNMask:
        """A copy with the FFNs of these layers removed."""
        values = self.values.clone()
        for layer in listed_layers(layers):
            if not 0 <= layer < len(values):
                raise UsageError(f"FFN {layer} does not exist: the model has layers 0-{len(values) - 1}")
            values[layer] = 0.0
        return FFNMask(values)

    def removed(self) -> list[int]:
        return [int(layer) for layer in (self.values == 0).nonzero().flatten()]

    def __repr__(self) -> str:
        return f"<FFNMask {len(self.values)}: {_told(list(map(str, self.removed())))}>"


# What is removed, wherever heads or FFNs are: a mask, or a list of what goes, [(18, 6), (17, 3)], "18.6,17.3", [3, 4].
# A mask is a HeadMask or FFNMask, or a tensor or numpy array of floats or booleans, [*batch layer head] or
# [*batch layer]. Any: what is none of these is answered with a sentence.
Heads = HeadMask | Tensor | Sequence[Any] | str | Any
FFNs = FFNMask | Tensor | Sequence[int] | Any


def head_mask(given: Heads | None, n_layers: int, n_heads: int) -> HeadMask | Tensor | None:
    """A list of heads as the mask that removes them; a mask as it is."""
    if given is None or isinstance(given, HeadMask):
        return given
    if isinstance(given, Tensor | np.ndarray):
        return _gate_values(given, "heads")
    return HeadMask.keep_all(n_layers, n_heads).without(given)


def ffn_mask(given: FFNs | None, n_layers: int) -> FFNMask | Tensor | None:
    """A list of layers as the mask that removes their FFNs; a mask as it is."""
    if given is None or isinstance(given, FFNMask):
        return given
    if isinstance(given, Tensor | np.ndarray):
        return _gate_values(given, "ffns")
    return FFNMask.keep_all(n_layers).without(given)


def listed_heads(given: Any) -> list[tuple[int, int]]:
    """Pairs (layer, head), from a list of heads or from text. Raises UsageError for what is neither."""
    if isinstance(given, str):
        return parse_heads(given)
    if isinstance(given, Mapping) or hasattr(given, "top") or not isinstance(given, Iterable):
        raise UsageError(
            f"a value of type {type(given).__name__} is no list of heads: give pairs, for example [(18, 6), (17, 3)] "
            "or scores.top(10), or '18.6,17.3', or a mask"
        )
    return list(map(_place, given))


def listed_layers(given: Any) -> list[int]:
    """The numbers of layers in a list of them. Raises UsageError for anything else, booleans and floats included."""
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise UsageError(
            f"{quoted(given)} ({type(given).__name__}) is no list of layers: give numbers, for example [3, 4]"
        )
    return list(map(_layer, given))


def parse_heads(text: str) -> list[tuple[int, int]]:
    """Heads as people write them: `18.6,17.3` (or `L18H6`) -> [(18, 6), (17, 3)]."""
    heads = []
    for part in filter(None, re.split(r"[\s,;]+", text.strip())):
        match = re.fullmatch(r"L?([0-9]{1,9})[.H]([0-9]{1,9})", part, flags=re.IGNORECASE)
        if match is None:
            raise UsageError(f"{quoted(part)} is not a head: write layer.head, for example 18.6, separated by commas")
        heads.append((int(match[1]), int(match[2])))
    return heads


def heads_in(text: str, n_layers: int, n_heads: int) -> list[tuple[int, int]]:
    """Heads of a model of this size, with ranges and whole layers: `18.*`, `17.0-3`, `0-2.*`, `18.6`; each once.

    Raises UsageError for what is no list of heads, and for heads that are not there.
    """
    found: dict[tuple[int, int], None] = {}
    for part in filter(None, re.split(r"[\s,;]+", text.strip())):
        match = re.fullmatch(rf"L?({_RANGE})[.H]({_RANGE})", part, flags=re.IGNORECASE)
        if match is None:
            raise UsageError(
                f"{quoted(part)} is not a head: write layer.head, for example 18.6, a range of them (17.0-3) or a "
                "whole layer (18.*), with commas between"
            )
        layers, heads = _numbers(match[1], n_layers, "layers"), _numbers(match[2], n_heads, "heads")
        if len(found) < n_layers * n_heads:  # a long list of `*.*` is read, and costs nothing
            found |= dict.fromkeys((layer, head) for layer in layers for head in heads)
    return list(found)


def layers_in(text: str, n_layers: int) -> list[int]:
    """Layers, with ranges: `0-3,7`, or `*` for all; each once. Raises UsageError for others."""
    found: dict[int, None] = {}
    for part in filter(None, re.split(r"[\s,;]+", text.strip())):
        if re.fullmatch(_RANGE, part) is None:
            raise UsageError(f"{quoted(part)} is not a layer: write a number, or a range as 0-3, with commas between")
        found |= dict.fromkeys(_numbers(part, n_layers, "layers"))
    return list(found)


_RANGE = r"[0-9]{1,9}(?:-[0-9]{1,9})?|\*"


def _numbers(part: str, size: int, name: str) -> range:
    """The numbers that `3`, `0-3` or `*` stand for."""
    first, _, last = ("0", "", str(size - 1)) if part == "*" else part.partition("-")
    low, high = int(first), int(last or first)
    if low > high:
        raise UsageError(f"{part} runs backwards: write the lower number first")
    if high >= size:
        raise UsageError(f"{part} does not exist: the model has {name} 0-{size - 1}")
    return range(low, high + 1)


def _place(head: Any) -> tuple[int, int]:
    """(layer, head) of a pair, of a row of `scores.top()`, or of "18.6"."""
    if isinstance(head, str) and len(found := parse_heads(head)) == 1:
        return found[0]
    pair = isinstance(head, Sequence) and not isinstance(head, str) and len(head) in (2, 3)
    layer, number = (whole(head[0]), whole(head[1])) if pair else (None, None)
    if layer is None or number is None or (len(head) == 3 and whole(head[2]) is not None):  # [1, 0, 1]
        raise UsageError(f"{quoted(head)} is not a head: write a pair, for example [(18, 6), (17, 3)], or '18.6,17.3'")
    return layer, number


def _layer(given: Any) -> int:
    layer = whole(given)
    if layer is None:
        raise UsageError(
            f"{quoted(given)} ({type(given).__name__}) is no layer: give whole numbers, for example [3, 4], or a mask "
            "as a tensor of floats"
        )
    return layer


def _gate_values(given: Tensor | np.ndarray, what: str) -> Tensor:
    """A mask that is given as numbers. Integers are refused: they may as well be numbers of layers or heads."""
    values = given if isinstance(given, Tensor) else _from_array(given, what)
    if not values.is_floating_point() and values.dtype != torch.bool:
        raise _no_mask(what, values.dtype)
    if values.is_meta:
        raise UsageError(f"the mask over {what} lies on meta, where it has no values: give one on the CPU")
    return values


def _from_array(given: np.ndarray, what: str) -> Tensor:
    if given.dtype.kind not in "fb":
        raise _no_mask(what, given.dtype)
    if not bool(((given >= 0) & (given <= 1)).all()):
        raise UsageError(f"the mask over {what} holds values outside of 0 to 1: 1 keeps, 0 removes")
    return torch.tensor(given if given.dtype.kind == "b" else given.astype(np.float64))


def _no_mask(what: str, dtype: object) -> UsageError:
    return UsageError(
        f"{what}= of {dtype} can't be read: a mask holds floats or booleans, 1 keeps and 0 removes; what is to be "
        "removed is a list, which .tolist() makes"
    )


def _refuse_no_tensor(mask: HeadMask | FFNMask) -> None:
    if not isinstance(mask.values, Tensor) or mask.values.is_complex() or mask.values.is_meta:
        told = f"{type(mask.values).__name__} {getattr(mask.values, 'dtype', '')} {getattr(mask.values, 'device', '')}"
        raise UsageError(
            f"a {type(mask).__name__} holds a tensor of floats, got {told.strip()}: give torch.tensor(...)"
        )


def _told(removed: list[str], longest: int = 6) -> str:
    more = f" and {len(removed) - longest} more" if len(removed) > longest else ""
    return f"without {', '.join(removed[:longest])}{more}" if removed else "nothing is removed"
