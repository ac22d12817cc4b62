"""One forward pass over a prompt, and what is kept of it: attention rows of every layer, losses, next tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headscope.inspector.prompts import Tokens
from headscope.store.attention_example import AttentionExample
from interp.attention.rows import AttentionRows, FactoredRows, PatternRows, blocks
from interp.errors import UsageError
from interp.overflow import checked_attention, refuse_broken_logits
from interp.token_display import counted

if TYPE_CHECKING:
    from interp.model import HookedModel

KEPT = 64  # most likely next tokens kept at each position


@runtime_checkable
class Attention(Protocol):
    """Something whose attention can be looked at: a pass, or what a run stored."""

    @property
    def tokens(self) -> Tokens: ...

    def pattern(self, layer: int, head: int) -> Float[np.ndarray, "query key"]: ...

    def window(self, layer: int, start: int, stop: int) -> Float[np.ndarray, "head query key"]: ...


@dataclass(frozen=True)
class Predictions:
    """Loss of every token but the first, in nats, and the most likely next tokens at every position, best first."""

    losses: Float[np.ndarray, " predicted"]
    next_ids: Int[np.ndarray, "query rank"]
    next_log_p: Float[np.ndarray, "query rank"]


@dataclass(frozen=True, eq=False)
class PromptPass:
    """A prompt read by the model, whole or with heads and FFNs removed."""

    tokens: Tokens
    rows: dict[int, AttentionRows]
    predicted: Predictions

    def pattern(self, layer: int, head: int) -> Float[np.ndarray, "query key"]:
        """One head's attention, made from the queries and keys that were kept."""
        rows = self._layer(layer)
        length = rows.shape[2]
        pattern = np.zeros((length, length), dtype=np.float32)
        for start, stop, values in blocks(_of_head(rows, head)):
            pattern[start:stop, : values.shape[-1]] = values[0, 0].float().cpu().numpy()
        return pattern

    def window(self, layer: int, start: int, stop: int) -> Float[np.ndarray, "head query key"]:
        """Every head of a layer among the positions start..stop-1."""
        return self._layer(layer).block(start, stop)[0, :, :, start:stop].float().cpu().numpy()

    def reachable(self, layer: int) -> Bool[np.ndarray, "query key"]:
        """Which keys a layer's mask leaves to each query (a sliding window does not reach far back)."""
        rows = self._layer(layer)
        length = rows.shape[2]
        queries, keys = torch.tril_indices(length, length)
        found = np.zeros((length, length), dtype=bool)
        found[queries, keys] = rows.reachable(queries, keys).cpu().numpy()
        return found

    def _layer(self, layer: int) -> AttentionRows:
        if layer not in self.rows:
            raise UsageError(f"layer {layer} has no attention heads, so there is nothing to look at")
        return self.rows[layer]

    @property
    def size(self) -> int:
        """Bytes held."""
        tensors = [value for row in self.rows.values() for value in vars(row).values() if isinstance(value, Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _of_head(rows: AttentionRows, head: int) -> AttentionRows:
    """The rows of one head alone."""
    if isinstance(rows, FactoredRows):
        kv = head // (rows.q.shape[1] // rows.k.shape[1])
        mask = rows.mask if rows.mask is None or rows.mask.shape[1] == 1 else rows.mask[:, head : head + 1]
        q, k, lse = rows.q[:, head : head + 1], rows.k[:, kv : kv + 1], rows.lse[:, head : head + 1]
        return replace(rows, q=q, k=k, lse=lse, mask=mask)
    if isinstance(rows, PatternRows):
        return PatternRows(rows.pattern[:, head : head + 1])
    raise UsageError(f"attention rows of kind {type(rows).__name__} can't be split into heads")


def read_pass(model: HookedModel, tokens: Tokens, tell: Callable[[int, int], None]) -> PromptPass:
    """Run the prompt; gates that are held around this take part.

    Raises HeadscopeError where attention or what the model says is no finite number.
    """
    rows: dict[int, AttentionRows] = {}

    def keep(layer: int, attention: AttentionRows) -> None:
        rows[layer] = attention
        tell(layer + 1, model.n_layers + 1)

    ids = torch.tensor([tokens.ids], device=model.device)
    with torch.no_grad(), checked_attention(model, ids, keep):
        logits = model(ids)[0]
    refuse_broken_logits(model, logits, tokens.ids)
    return PromptPass(tokens, rows, predictions(logits, ids[0].to(logits.device)))


def predictions(logits: Float[Tensor, "query vocab"], ids: Int[Tensor, " query"]) -> Predictions:
    """Losses and next tokens, a few positions at a time: log-probabilities are as large as logits."""
    kept = min(KEPT, logits.shape[-1])
    losses, best = [], []
    for start in range(0, len(ids), 64):
        log_p = logits[start : start + 64].float().log_softmax(-1)
        following = ids[start + 1 : start + 65]
        losses.append(-log_p[: len(following)].gather(1, following[:, None])[:, 0])
        best.append(log_p.topk(kept))
    values, places = (torch.cat([part[k] for part in best]).cpu().numpy() for k in (0, 1))
    return Predictions(torch.cat(losses).cpu().numpy(), places, values)


@dataclass(frozen=True, eq=False)
class StoredAttention:
    """The attention example of a run: every head on one repeated sequence, in 8 bits."""

    tokens: Tokens
    example: AttentionExample

    @classmethod
    def of(cls, example: AttentionExample) -> StoredAttention:
        name = f"The sequence stored with the run, {counted(len(example.tokens), 'token')}"
        ids: Sequence[int] = [-1] * len(example.tokens)
        return cls(Tokens(tuple(ids), example.tokens, name, blocks=example.blocks), example)

    def pattern(self, layer: int, head: int) -> Float[np.ndarray, "query key"]:
        return self.example.patterns[layer, head].float().numpy() * np.float32(self.example.scale)

    def window(self, layer: int, start: int, stop: int) -> Float[np.ndarray, "head query key"]:
        part = self.example.patterns[layer, :, start:stop, start:stop]
        return part.float().numpy() * np.float32(self.example.scale)
