"""The attention of every head on one sequence, as 8-bit patterns, for the report and the inspector to show.

One safetensors file: the patterns, and the tokens as JSON in its header. A byte b means an attention of b * scale.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from torch import Tensor

from interp.errors import StoreError, UsageError

FILE = "attention_example.safetensors"
LEVELS = 255
LONGEST = 300  # characters of an error that quotes a file


@dataclass(frozen=True)
class AttentionExample:
    """patterns * scale = attention, lower triangle only; blocks: where each repeat of the block begins."""

    tokens: tuple[str, ...]
    patterns: UInt8[Tensor, "layer head query key"]
    scale: float = 1 / LEVELS
    blocks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        length = len(self.tokens)
        if self.patterns.dtype != torch.uint8:
            raise UsageError(f"patterns are whole numbers of 8 bits, got {self.patterns.dtype}")
        if self.patterns.shape[2:] != (length, length):
            raise UsageError(
                f"{length} tokens need patterns of {length} x {length} positions, got {tuple(self.patterns.shape)}"
            )
        if bool(self.patterns.triu(1).any()):
            raise UsageError("patterns [layer head query key] must be causal; one pays attention to later positions")
        if not 0 < self.scale <= 1 or any(not 0 <= start < length for start in self.blocks):
            raise UsageError(f"scale must lie in (0, 1] and blocks in 0..{length - 1}: {self.scale}, {self.blocks}")

    def encoded(self) -> bytes:
        """As a file holds it."""
        header = {"tokens": json.dumps(self.tokens), "scale": repr(self.scale), "blocks": json.dumps(self.blocks)}
        return in_order(safetensors.torch.save({"patterns": self.patterns.cpu().contiguous()}, metadata=header))


def in_order(content: bytes) -> bytes:
    """The same file with its header sorted: the library writes notes in an order of the moment."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


def quantise(attention: Float[Tensor, "*heads query key"]) -> UInt8[Tensor, "*heads query key"]:
    """Attention in [0, 1] to the nearest of 256 levels; NaN (no such head) to 0."""
    return (attention.nan_to_num(nan=0.0).clamp(0, 1) * LEVELS).round().to(torch.uint8)


def decode_example(content: bytes | None, path: Path) -> AttentionExample | None:
    """The stored example, None where there is none. Raises StoreError for a damaged file."""
    if content is None:
        return None
    try:
        patterns = safetensors.torch.load(content)["patterns"]
        # The loader leaves out the notes of the header: its length is in the first eight bytes.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        tokens, blocks = (tuple(json.loads(header[name])) for name in ("tokens", "blocks"))
        if not all(isinstance(token, str) for token in tokens) or not all(type(start) is int for start in blocks):
            raise ValueError("tokens must be text and blocks whole numbers")
        return AttentionExample(tokens, patterns, scale=float(header["scale"]), blocks=blocks)
    except (SafetensorError, UsageError, KeyError, TypeError, ValueError, RecursionError) as error:
        said = str(error)[:LONGEST]
        raise StoreError(f"'{path}' can't be read ({said}): delete it and run `headscope induction` again.") from error


def byte_patterns(patterns: UInt8[Tensor, "layer head query key"], layer: int, head: int) -> bytes:
    """The lower triangle of one head, row by row: query 0's key 0, then query 1's keys 0 and 1, ..."""
    length = patterns.shape[-1]
    rows, columns = torch.tril_indices(length, length)
    return bytes(patterns[layer, head, rows, columns].numpy())
