"""What runs together: sequences of one length, in parts of at most so many tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from jaxtyping import Int
from torch import Tensor


@runtime_checkable
class TokenGroup(Protocol):
    """Sequences of one length. `indices` number them, `key` is all that a reader depends on."""

    @property
    def tokens(self) -> Int[Tensor, "sequence position"]: ...

    @property
    def indices(self) -> tuple[int, ...]: ...

    @property
    def key(self) -> dict[str, Any]: ...

    def batches(self, max_tokens: int) -> Iterator[Self]:
        """The group in parts of at most `max_tokens` tokens each, one sequence at least."""
        ...


Group = TypeVar("Group", bound=TokenGroup)


def slices(tokens: Int[Tensor, "sequence position"], max_tokens: int) -> Iterator[slice]:
    """Which sequences make each part."""
    size = max(1, max_tokens // tokens.shape[1])
    return (slice(start, start + size) for start in range(0, len(tokens), size))
