"""What stands in for a removed component, and where: the rules that every kind of ablation keeps (Method 3.3).

A component with gate m gives m z + (1 - m) z_ref. `zero` has no reference; `mean` and `resample` are made of reference
documents (references.py). Their references speak of absolute positions, and a key-value cache or a packed prompt hides
them: whoever runs the model says with a `Placement` what stands where, and enters the gates with `placed(placement)`.
Ask for `placed` outside of any gates: a resampled document is run when it is first needed.

What is evaluated must not stand in for itself. A replacement says which documents it was `made_of`, and whoever is
given one asks `refuse_evaluated` before anything is run. A `Deferred` says nothing: its maker knows what is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.errors import UsageError
from interp.gating import Reference

POSITIONS = ("all", "later", "last")


@runtime_checkable
class GoldDocument(Protocol):
    """What a reference document must have: ids of the prompt and of the gold continuation."""

    @property
    def id(self) -> str: ...
    @property
    def context(self) -> tuple[int, ...]: ...
    @property
    def target(self) -> tuple[int, ...]: ...


Text = tuple[tuple[int, ...], tuple[int, ...]]  # prompt and answer


@dataclass(frozen=True)
class MadeOf:
    """The documents that a replacement was made of, by id and by text: a copy under another id is the same document."""

    ids: frozenset[str] = frozenset()
    texts: Mapping[Text, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, documents: Sequence[GoldDocument]) -> MadeOf:
        """Of these."""
        texts = {(document.context, document.target): document.id for document in documents}
        return cls(frozenset(document.id for document in documents), texts)

    def twin(self, document: Any) -> str | None:
        """The id of the reference that this document is, or is a copy of; None where it is none."""
        if document.id in self.ids:
            return str(document.id)
        return next((self.texts[text] for text in _texts(document) if text in self.texts), None)


def _texts(document: Any) -> Iterator[Text]:
    """The prompt with each of its answers; of a document without choices, with its own."""
    if hasattr(document, "choices"):
        yield from zip(document.contexts, document.choices, strict=True)
    else:
        yield document.context, document.target


def refuse_evaluated(replacement: Any, documents: Iterable[Any]) -> None:
    """Raises UsageError where some of these documents, or copies of them, are what the replacement was made of."""
    made_of = getattr(replacement, "made_of", None)
    if made_of is None or not made_of.ids:
        return
    twins = {document.id: made_of.twin(document) for document in documents}
    shared = {name: twin for name, twin in twins.items() if twin is not None}
    if shared:
        name = min(shared)
        copy = "" if shared[name] == name else f", a copy of {shared[name]!r}"
        raise UsageError(
            f"{len(shared)} documents are reference and evaluated at once (such as {name!r}{copy}): mean and resample "
            "ablation need disjoint ones, for example the train split"
        )


@dataclass(frozen=True)
class Placement:
    """What the model is about to see: each row's document, absolute positions, and the length of its context."""

    documents: tuple[str, ...]
    positions: Int[Tensor, "batch query"]
    context_lengths: Int[Tensor, " batch"]

    @classmethod
    def whole(cls, documents: Sequence[str], context_lengths: Sequence[int], length: int) -> Placement:
        """Whole sequences from position 0 on, padded on the right if at all."""
        positions = torch.arange(length).expand(len(documents), length)
        return cls(tuple(documents), positions, torch.tensor(list(context_lengths)))

    def repeated(self, times: int) -> Placement:
        """Every row `times` times, one after the other."""
        rows = torch.arange(len(self.documents)).repeat_interleave(times)
        return Placement(
            tuple(self.documents[row] for row in rows.tolist()), self.positions[rows], self.context_lengths[rows]
        )


@runtime_checkable
class Replacement(Protocol):
    """A kind of ablation, ready to be placed."""

    @property
    def name(self) -> str: ...

    def placed(self, placement: Placement) -> Reference:
        """The reference for the rows of this placement."""
        ...


def by_depth(positions: Int[Tensor, "batch query"]) -> Placement:
    """For a replacement that goes by position alone: it does not ask whose rows these are."""
    return Placement(("",) * len(positions), positions, torch.zeros(len(positions), dtype=torch.long))


def by_position(replacement: Replacement | None) -> bool:
    """Whether what stands in at a position is the same in every document: then documents may share a beginning."""
    return replacement is None or bool(getattr(replacement, "by_position", False))


@dataclass(frozen=True)
class Deferred:
    """A replacement that is made when it is first placed: where every evaluation is stored already, it never is.

    `mark` tells it from others of its name in a store of evaluations.
    """

    name: str
    make: Callable[[], Replacement]
    mark: str = ""

    @cached_property
    def made(self) -> Replacement:
        return self.make()

    @property
    def by_position(self) -> bool:
        return by_position(self.made)

    @property
    def shared_key(self) -> str:
        """What tells it from others where work is handed to another process, which makes it there, once."""
        return f"replacement {self.name} {self.mark}"

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "make": self.make, "mark": self.mark}

    def placed(self, placement: Placement) -> Reference:
        return self.made.placed(placement)


@dataclass(frozen=True)
class At:
    """Removal at some positions: `later` spares position 0, where heads and FFNs make the attention sink; `last` is the
    last one of the context, from which the answer is read (Method 3.2, 3.3). Elsewhere the component stays.

    inner: what stands in where it is removed; nothing (zero) if None.
    """

    positions: str
    inner: Replacement | None = None

    def __post_init__(self) -> None:
        if self.positions not in POSITIONS[1:]:
            raise UsageError(
                f"{self.positions!r} are no positions to remove at; there are {', '.join(POSITIONS)} (all without At)"
            )

    @property
    def name(self) -> str:
        return f"{'zero' if self.inner is None else self.inner.name}/{self.positions}"

    @property
    def mark(self) -> str:
        """What tells it from others in a store of evaluations."""
        return f"{getattr(self.inner, 'mark', '')}/{self.positions}"

    @property
    def by_position(self) -> bool:
        return self.positions == "later" and by_position(self.inner)

    @property
    def made_of(self) -> MadeOf | None:
        """What the inner replacement was made of."""
        return getattr(self.inner, "made_of", None)

    def placed(self, placement: Placement) -> Reference:
        first, last = placement.positions == 0, placement.positions == placement.context_lengths[:, None] - 1
        inner = None if self.inner is None else self.inner.placed(placement)
        return Sparing(first if self.positions == "later" else ~last, inner)


@dataclass(frozen=True)
class Sparing:
    """A reference that leaves some positions of some rows as they are."""

    spared: Bool[Tensor, "batch query"]
    inner: Reference | None = None

    def z(self, layer: int, z: Tensor) -> Tensor:
        other = self.inner.z(layer, z) if self.inner is not None else None
        return _spare(z, other, self.spared[:, :, None, None])

    def ffn(self, layer: int, output: Tensor) -> Tensor:
        other = self.inner.ffn(layer, output) if self.inner is not None else None
        return _spare(output, other, self.spared[:, :, None])


def _spare(value: Tensor, other: Tensor | None, spared: Tensor) -> Tensor:
    return torch.where(spared.to(value.device), value, torch.zeros_like(value) if other is None else other.to(value))
