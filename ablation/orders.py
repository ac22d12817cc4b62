"""Orders of removal: which heads or FFNs go first (METHODS 4).

An order is made once, from the full model, and is nested: what is gone at 10% is gone at 20%.
`own` scores of the evaluated task; another TASK's scores (transfer); `aggregate` over tasks. Controls on the same axes:
`random`; `layer_matched`, an order whose identities are shuffled within each layer, so that every layer loses as many;
`inverse`; `signed`; and `iterative` (iterative.py), scored again at each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError
from interp.masks import FFNMask, HeadMask
from interp.scores import FFNScores, HeadScores, Ranking

Scores = HeadScores | FFNScores
Rule = Literal["share", "paper"]
RANDOM_ORDERS = 20
ORDERS = ("own", "TASK", "aggregate", "random", "layer_matched", "inverse", "signed", "iterative")


@dataclass(frozen=True)
class Order:
    """A ranking by which components are removed, the lowest score first; `seed` tells random ones apart."""

    name: str
    ranking: Ranking
    seed: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """`head` or `ffn`."""
        return self.ranking.kind

    def mask(self, percent: float | int) -> HeadMask | FFNMask:
        """What is left after removing floor(percent n / 100) components."""
        return self.ranking.mask(percent)

    def removed(self, percent: float | int) -> int:
        """How many components `percent` removes."""
        return self.ranking.removed(percent)


def by_scores(scores: Scores, *, name: str = "own") -> Order:
    """Ascending by score. `name` is `own`, `signed`, or the task whose scores these are (transfer)."""
    return Order(name, scores.ranking(), provenance=scores.provenance)


def inverse(scores: Scores) -> Order:
    """Descending by score: the most important first."""
    ranking = scores.ranking()
    return Order("inverse", replace(ranking, scores=-ranking.scores), provenance=scores.provenance)


def aggregate(
    scores: Mapping[str, Scores], *, without: str | None = None, rule: str = "share", name: str = "aggregate"
) -> Order:
    """The average over tasks of scores divided by their sum (`paper`: of the scores as they are).

    `without` leaves the evaluated task out, as a test of transfer must. The sum is of absolute values: the same for
    `token` and `document`, and `signed` scores are not divided by almost nothing.
    """
    held = [value for task, value in scores.items() if task != without]
    mean = aggregate_scores(held, rule=rule)
    first = held[0]
    ranking = replace(first.ranking(), name=name, scores=mean)
    return Order(name, ranking, provenance={**first.provenance, "task": [t for t in scores if t != without]})


def aggregate_scores(scores: Sequence[Scores], *, rule: str = "share") -> Float[Tensor, "..."]:
    """The average over tasks that `aggregate` ranks by."""
    if rule not in ("share", "paper"):
        raise UsageError(f"{rule!r} is no way to aggregate; there are share (of each task's sum) and paper (raw mean)")
    if not scores:
        raise UsageError("an aggregate needs the scores of at least one task besides the one that is evaluated")
    if len({(type(one), tuple(one.mean.shape)) for one in scores}) > 1:
        raise UsageError(
            "the scores to aggregate are of different models, or of heads and FFNs: "
            f"{sorted({str(tuple(one.mean.shape)) for one in scores})}"
        )
    means = [one.mean.double() for one in scores]
    if rule == "share":
        means = [mean / (mean.nan_to_num().abs().sum() or 1.0) for mean in means]
    return torch.stack(means).mean(0).float()


def random_orders(like: Scores | Ranking, *, n: int = RANDOM_ORDERS, seed: int = 0) -> list[Order]:
    """`n` orders drawn uniformly; order k depends on (seed, k) only."""
    ranking = _ranking(like)
    return [Order("random", _shuffled(ranking, seed + k, within_layers=False), seed + k) for k in range(n)]


def layer_matched_orders(order: Order | Scores, *, n: int = RANDOM_ORDERS, seed: int = 0) -> list[Order]:
    """`n` copies of an order with identities shuffled within each layer: each layer loses as many, at every step."""
    ranking = order.ranking if isinstance(order, Order) else order.ranking()
    if ranking.kind == "ffn":
        raise UsageError("a layer has one FFN, so a layer-matched order of FFNs is the order itself: use random orders")
    return [
        Order("layer_matched", _shuffled(ranking, seed + k, within_layers=True), seed + k, order.provenance)
        for k in range(n)
    ]


def _ranking(like: Scores | Ranking) -> Ranking:
    return like if isinstance(like, Ranking) else like.ranking()


def _shuffled(ranking: Ranking, seed: int, *, within_layers: bool) -> Ranking:
    """Scores dealt out anew among components that exist, all over or within each layer."""
    draw = torch.Generator().manual_seed(seed)
    scores = ranking.scores.clone()
    groups = scores if within_layers else scores.view(1, -1)
    for row in groups:
        there = (~row.isnan()).nonzero().flatten()
        values = row[there] if within_layers else torch.arange(len(there), dtype=row.dtype)
        row[there] = values[torch.randperm(len(there), generator=draw)]
    return replace(ranking, name="layer_matched" if within_layers else "random", scores=scores)
