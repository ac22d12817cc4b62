"""What an answer is worth: whether it has the right form, and whether it is the right one.

Method 4. A document has choices k of summed log-likelihood ll_k and T_k tokens, and a gold answer g. In nats:
1. `mass` = logsumexp over k of ll_k: does the model answer in the format? Where choices are free text: fluency.
2. `choice` = ll_g - mass: does it choose? -log K is chance. With several right answers: their logsumexp - mass.
3. `sum` = ll_g = mass + choice: the paper's loss, most of which is format.
4. `margin` = ll_g - the mean of the others. It stands in for `choice` in documents one of whose choices begins
   another one (`nested`): their probabilities overlap.
5. `per_token` = `choice` of ll_k / T_k, for choices of unequal length.
ReCoRD offers another number of names in every document, so its `choice` is told as choice + log K. Where the contexts
differ and not the continuations (WinoGrande) there is no mass. A MultiRC question is the mean over its answers, so that
-log K stays chance. The formulas are written once, on tensors, so that a loss can be made of them (importance.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ablation.statistics.intervals import ClusterEstimate, cluster_mean, cluster_numbers
from interp.errors import HeadscopeError, UsageError
from interp.shown import one_line

OUTCOMES = ("choice", "mass", "sum", "margin", "per_token")
FROM_CHANCE = "em"  # the metric of tasks whose choice is told as choice + log K: ReCoRD


@one_line
@dataclass(frozen=True, eq=False)
class Outcome:
    """One value an item (a document, or a question in MultiRC); items of one cluster are not independent."""

    name: str
    values: Float[np.ndarray, "item"]
    items: tuple[str, ...]
    clusters: tuple[str, ...]

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def labels(self) -> Int[np.ndarray, "item"]:
        """The clusters as numbers from 0 on."""
        return cluster_numbers(self.clusters)

    @property
    def estimate(self) -> ClusterEstimate:
        """The mean with its error by cluster. Raises UsageError with fewer than two clusters."""
        return cluster_mean(self.values, self.labels)

    @property
    def stderr(self) -> float:
        """Standard error of the mean, clusters being the unit; NaN with a single cluster."""
        return self.estimate.stderr if len(set(self.clusters)) > 1 else math.nan

    def minus(self, other: Outcome) -> Outcome:
        """The paired difference. Raises UsageError for another outcome, or other items."""
        if (self.name, self.items) != (other.name, other.items):
            raise UsageError(
                f"{self.name} of {len(self.items)} items and {other.name} of {len(other.items)} can't be paired: they "
                "must be the same outcome of the same documents, in the same order"
            )
        return Outcome(self.name, self.values - other.values, self.items, self.clusters)


@one_line
@dataclass(frozen=True, eq=False)
class Choices:
    """What has to be known of the choices of some documents, beside their log-likelihoods.

    `there` tells real choices from padding. `nested`: a choice begins another one. `apart`: contexts differ. `chance`:
    what is added to `choice`, log K in ReCoRD and 0 elsewhere. `problems`: why a document has no choice to make, a
    sentence each.
    """

    documents: tuple[str, ...]
    units: tuple[str, ...]
    clusters: tuple[str, ...]
    gold: Int[Tensor, " document"]
    there: Bool[Tensor, "document choice"]
    right: Bool[Tensor, "document choice"]
    lengths: Float[Tensor, "document choice"]
    nested: Bool[Tensor, " document"]
    apart: Bool[Tensor, " document"]
    chance: Float[Tensor, " document"]
    problems: tuple[str, ...]

    @classmethod
    def of(
        cls, documents: Iterable[Any], *, right: Sequence[Sequence[int]] | None = None, metric: str = "acc"
    ) -> Choices:
        """From token documents; `right` are each one's right choices (unset, the gold one), `metric` the task's."""
        held = list(documents)
        rights = [(d.gold,) for d in held] if right is None else [tuple(one) for one in right]
        counts = torch.tensor([len(d.choices) for d in held], dtype=torch.long)
        there = torch.arange(int(counts.max()) if held else 0)[None] < counts[:, None]
        is_right, lengths = torch.zeros_like(there), torch.ones(there.shape, dtype=torch.float64)
        for row, (document, places) in enumerate(zip(held, rights, strict=True)):
            is_right[row, list(places)] = True
            lengths[row, : len(document.choices)] = torch.tensor([len(ids) for ids in document.choices]).double()
        offered = counts.double().log() if metric == FROM_CHANCE else torch.zeros(len(held), dtype=torch.float64)
        found = [problem_of(document, places) for document, places in zip(held, rights, strict=True)]
        return cls(
            documents=tuple(d.id for d in held),
            units=tuple(str(getattr(d, "unit", d.id)) for d in held),
            clusters=tuple(str(getattr(d, "cluster", d.id)) for d in held),
            gold=torch.tensor([d.gold for d in held], dtype=torch.long),
            there=there,
            right=is_right,
            lengths=lengths,
            nested=torch.tensor([_is_nested(d) for d in held], dtype=torch.bool),
            apart=torch.tensor([len(set(d.contexts)) > 1 for d in held], dtype=torch.bool),
            chance=offered,
            problems=tuple(filter(None, found)),
        )

    @cached_property
    def items(self) -> tuple[str, ...]:
        """The units, each once, in the order in which they come."""
        return tuple(dict.fromkeys(self.units))

    @cached_property
    def item_clusters(self) -> tuple[str, ...]:
        """The cluster of each item."""
        first = dict(zip(reversed(self.units), reversed(self.clusters), strict=True))
        return tuple(first[item] for item in self.items)

    @property
    def available(self) -> tuple[str, ...]:
        """The outcomes that these documents have."""
        return tuple(name for name in OUTCOMES if self.why_not(name) is None)

    def why_not(self, name: str) -> str | None:
        """Why these documents have no such outcome; None if they have it."""
        if name not in OUTCOMES:
            return f"{name!r} is no outcome; there are {', '.join(OUTCOMES)}"
        if not self.documents:
            return f"there is no document to take {name} of: the task is empty"
        if name == "sum":
            return None
        if self.problems:
            count = f" ({len(self.problems)} of {len(self.documents)} documents are like it)"
            more = count if len(self.problems) > 1 else ""
            return (
                f"{self.problems[0]}, so it has no {name}{more}: leave it out (with_choices does that), or ask for sum"
            )
        if name == "mass" and bool(self.apart.any()):
            place = self.documents[int(self.apart.nonzero()[0, 0])]
            return f"the choices of {place} are contexts, not continuations, so they have no mass: ask for choice"
        return None

    def padded(self, requests: Float[Tensor, "*more request"]) -> Float[Tensor, "*more document choice"]:
        """One value a request (all choices of all documents, in order) as a row a document."""
        counts = self.there.sum(1)
        first = counts.cumsum(0) - counts
        places = first[:, None] + torch.arange(self.there.shape[1])
        return requests[..., places.clamp_max(max(requests.shape[-1] - 1, 0))]

    def values(
        self, name: str, log_likelihoods: Float[Tensor, "*more document choice"]
    ) -> Float[Tensor, "*more document"]:
        """The outcome of every document; what stands in place of missing choices is not looked at.

        Raises UsageError for an outcome that these documents do not have.
        """
        if (reason := self.why_not(name)) is not None:
            raise UsageError(reason)
        ll = log_likelihoods.masked_fill(~self.there, -torch.inf)
        if name == "sum":
            return ll.gather(-1, self.gold.expand(ll.shape[:-1])[..., None])[..., 0]
        if name == "mass":
            return ll.logsumexp(-1)
        if name == "per_token":
            ll = ll / self.lengths.to(ll)
        wrong = self.there & ~self.right
        best = ll.masked_fill(~self.right, -torch.inf).logsumexp(-1)
        margin = best - ll.masked_fill(~wrong, 0.0).sum(-1) / wrong.sum(-1)
        if name == "margin":
            return margin
        return torch.where(self.nested, margin, best - ll.logsumexp(-1) + self.chance.to(ll))

    def by_item(self, values: Float[Tensor, "*more document"]) -> Float[Tensor, "*more item"]:
        """Means over the documents of each item."""
        if len(self.items) == len(self.units):
            return values
        numbers = {item: number for number, item in enumerate(self.items)}
        index = torch.tensor([numbers[unit] for unit in self.units])
        total = values.new_zeros(*values.shape[:-1], len(self.items)).index_add(-1, index, values)
        return total / index.bincount(minlength=len(self.items)).to(values)

    def outcome(self, name: str, requests: Float[np.ndarray, "request"]) -> Outcome:
        """The outcome item by item, from one log-likelihood a request."""
        values = self.by_item(self.values(name, self.padded(torch.from_numpy(requests))))
        if not bool(values.isfinite().all()):
            item = self.items[int((~values.isfinite()).nonzero()[0, 0])]
            raise HeadscopeError(
                f"{name} of {item} is not a finite number: the model's numbers overflow; load it with dtype float32 "
                "and run `headscope doctor`"
            )
        return Outcome(name, values.numpy(), self.items, self.item_clusters)


def problem_of(document: Any, right: Sequence[int]) -> str | None:
    """Why a token document has no choice to make; None if it has one."""
    count = len(document.choices)
    if count < 2:
        return f"{document.id} offers {count} choice{'' if count == 1 else 's'}, where two or more are compared"
    if len(set(zip(document.contexts, document.choices, strict=True))) < count:
        return f"two of the {count} choices of {document.id} are the same text to this model"
    if not 0 < len(set(right)) < count:
        return f"{len(set(right))} of the {count} choices of {document.id} count as right, where some must and some not"
    return None


def with_choices(task: Any, model: Any) -> tuple[Any, tuple[str, ...]]:
    """The task without documents that have no choice to make (whole units of it), and a sentence for each of those."""
    found = {
        tokens.id: problem_of(tokens, document.right)
        for tokens, document in zip(task.token_documents(model), task.documents, strict=True)
    }
    reasons = {name: reason for name, reason in found.items() if reason is not None}
    if not reasons:
        return task, ()
    outside = {document.unit for document in task.documents if document.id in reasons}
    kept = [place for place, document in enumerate(task.documents) if document.unit not in outside]
    return task.select(kept), tuple(reasons.values())


def _is_nested(document: Any) -> bool:
    """Whether a choice begins another one behind the same context: sorted, it stands right in front of such a one."""
    ordered = sorted(set(zip(document.contexts, document.choices, strict=True)))
    return any(a[0] == b[0] and b[1][: len(a[1])] == a[1] for a, b in pairwise(ordered))
