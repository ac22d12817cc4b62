"""Orders of removal: which heads, kv groups or FFNs go first (Method 4).

An order is made once, from the full model, and is nested: what is gone at 10% is gone at 20%.
`own` scores of the evaluated task; another TASK's scores (transfer); `aggregate` over tasks. Controls on the same axes:
`random`; `layer_matched`, an order whose identities are shuffled within each layer, so that every layer loses as many;
`inverse`; `signed`; and `iterative`: remove a step's worth, score what is left again, go on, since removing heads
changes what the others do. Scores of kv groups (`Importance.kv_groups`) make orders that remove whole groups:
percentages are then of groups. `even_over_layers` takes one from every layer before a second from any, so that an
exported model can be made smaller (cutting.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ablation.importance import Importance, importance
from ablation.names import HEADS_PER_GROUP
from ablation.provenance import told
from ablation.statistics.aggregate import tasks_aggregate
from interp.errors import UsageError
from interp.masks import FFNMask, HeadMask, listed_heads
from interp.scores import FFNScores, HeadScores, Ranking
from interp.shown import one_line

if TYPE_CHECKING:
    from interp.model import HookedModel

Scores = HeadScores | FFNScores
RANDOM_ORDERS = 20
ITERATIVE_STEPS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90)


@one_line
@dataclass(frozen=True)
class Order:
    """A ranking by which components are removed, the lowest score first; `seed` tells random ones apart.

    width: heads that are removed together, where the ranking is of kv groups; None where it is not.
    """

    name: str
    ranking: Ranking
    seed: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    width: int | None = None

    @property
    def kind(self) -> str:
        """`head`, `kv_group` or `ffn`."""
        return self.ranking.kind if self.width is None else "kv_group"

    def mask(self, percent: float | int) -> HeadMask | FFNMask:
        """What is left after removing floor(percent n / 100) components: of heads, also where groups go."""
        left = self.ranking.mask(percent)
        return left if self.width is None else HeadMask(left.values.repeat_interleave(self.width, -1))

    def removed(self, percent: float | int) -> int:
        """How many components `percent` removes."""
        return self.ranking.removed(percent)


def by_scores(scores: Scores, *, name: str = "own") -> Order:
    """Ascending by score. `name` is `own`, `signed`, or the task whose scores these are (transfer)."""
    return _order(name, scores.ranking(), scores.provenance)


def inverse(scores: Scores) -> Order:
    """Descending by score: the most important first."""
    ranking = scores.ranking()
    return _order("inverse", replace(ranking, scores=-ranking.scores), scores.provenance)


def aggregate(
    scores: Mapping[str, Scores] | Any, *, without: str | None = None, rule: str = "share", name: str = "aggregate"
) -> Order:
    """The average over tasks of scores divided by their sum (`paper`: of the scores as they are).

    `without` leaves the evaluated task out, as a test of transfer must. The sum is of absolute values: the same for
    `token` and `document`, and `signed` scores are not divided by almost nothing. A task without any score is left out,
    and named in the provenance; a component that one of the others has no score for has none.
    """
    if not isinstance(scores, Mapping):
        raise UsageError(
            f"scores are given by task, for example {{'copa': ..., 'rte': ...}}, got a value of type "
            f"{type(scores).__name__}"
        )
    held = {task: value for task, value in scores.items() if task != without}
    mean, used = aggregate_scores(list(held.values()), rule=rule)
    first = next(iter(held.values()))
    named = {"task": [task for task, one in zip(held, used, strict=True) if one]}
    if left_out := [task for task, one in zip(held, used, strict=True) if not one]:
        named["left_out"] = left_out
    return _order(name, replace(first.ranking(), name=name, scores=mean), {**first.provenance, **named})


def aggregate_scores(scores: Sequence[Scores], *, rule: str = "share") -> tuple[Float[Tensor, "..."], list[bool]]:
    """The table that `aggregate` ranks by (statistics/aggregate.py), and which of the scores are in it."""
    if rule not in ("share", "paper"):
        raise UsageError(f"{rule!r} is no way to aggregate; there are share (of each task's sum) and paper (raw mean)")
    if not scores:
        raise UsageError("an aggregate needs the scores of at least one task besides the one that is evaluated")
    shape = tuple(scores[0].mean.shape)
    if len({(type(one), tuple(one.mean.shape)) for one in scores}) > 1:
        raise UsageError(
            "the scores to aggregate are of different models, or of heads and FFNs: "
            f"{sorted({str(tuple(one.mean.shape)) for one in scores})}"
        )
    tables = np.stack([one.mean.double().numpy().reshape(len(one.mean), -1) for one in scores])
    found = tasks_aggregate(tables, raw=rule == "paper")
    if not found.used.any():
        raise UsageError(
            f"none of the {len(scores)} tasks has a score other than 0: there is nothing to rank by. Were all "
            "components gated off?"
        )
    return torch.from_numpy(found.table).float().view(shape), found.used.tolist()


def random_orders(like: Scores | Order | Ranking, *, n: int = RANDOM_ORDERS, seed: int = 0) -> list[Order]:
    """`n` orders drawn uniformly; order k depends on (seed, k) only."""
    order = like if isinstance(like, Order) else Order("", like) if isinstance(like, Ranking) else by_scores(like)
    return [
        Order("random", _shuffled(order.ranking, seed + k, within_layers=False), seed + k, width=order.width)
        for k in range(n)
    ]


def layer_matched_orders(order: Order | Scores, *, n: int = RANDOM_ORDERS, seed: int = 0) -> list[Order]:
    """`n` copies of an order with identities shuffled within each layer: each layer loses as many, at every step."""
    held = order if isinstance(order, Order) else by_scores(order)
    if held.kind == "ffn":
        raise UsageError("a layer has one FFN, so a layer-matched order of FFNs is the order itself: use random orders")
    return [
        replace(
            held, name="layer_matched", ranking=_shuffled(held.ranking, seed + k, within_layers=True), seed=seed + k
        )
        for k in range(n)
    ]


def even_over_layers(order: Order | Scores) -> Order:
    """One component from every layer, the lowest of each, before a second from any; in a round by score."""
    held = order if isinstance(order, Order) else by_scores(order)
    if held.kind == "ffn":
        raise UsageError("a layer has one FFN: an order of FFNs takes one from every layer as it is")
    scores, places = held.ranking.scores, torch.full_like(held.ranking.scores, torch.nan)
    ranks = scores.nan_to_num(nan=torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
    flat = sorted(held.ranking.order.tolist(), key=lambda place: int(ranks.flatten()[place]))  # by score in a round
    places.view(-1)[flat] = torch.arange(len(flat), dtype=places.dtype)
    return replace(held, name="even", ranking=replace(held.ranking, name="even", scores=places))


def without_groups(model: HookedModel, groups: Iterable[tuple[int, int]]) -> HeadMask:
    """The mask without these kv groups, (layer, group): all heads that read one key and value go together."""
    width = model.n_heads // model.n_kv_heads
    held = listed_heads(groups)
    for layer, group in held:
        if layer not in model.attention_layers or not 0 <= group < model.n_kv_heads:
            raise UsageError(
                f"kv group {layer}.{group} does not exist: the model has layers 0-{model.n_layers - 1} and groups "
                f"0-{model.n_kv_heads - 1}"
            )
    heads = [(layer, group * width + head) for layer, group in held for head in range(width)]
    return HeadMask.keep_all(model.n_layers, model.n_heads).without(heads)


def _order(name: str, ranking: Ranking, provenance: Mapping[str, Any]) -> Order:
    return Order(name, ranking, provenance=provenance, width=provenance.get(HEADS_PER_GROUP))


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


# --- scored again at each step ----------------------------------------------------------------------------------------


def iterative_order(
    model: HookedModel,
    task: Any,
    *,
    component: str,
    percents: Sequence[float | int] = ITERATIVE_STEPS,
    positions: str = "token",
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Order:
    """An order from the importance of the model as it stands at each of the percentages; `options` as in `importance`.

    What would go after the last percentage stands in the order of the last scores. Removed components are gated to 0.
    """
    steps = sorted({float(percent) for percent in percents} - {0.0})
    if component not in ("head", "ffn") or not steps:
        raise UsageError(
            f"an iterative order is of heads or of FFNs, over percentages above 0; got {component!r}, {list(percents)}"
        )
    shape = (model.n_layers, model.n_heads) if component == "head" else (model.n_layers,)
    places = torch.full(shape, -1.0)
    for number, percent in enumerate([*steps, 100.0]):
        left = (places < 0).float()
        with model.gates(heads=left if component == "head" else None, ffns=left if component == "ffn" else None):
            scores = _scores(importance(model, task, **options), component, positions)
        if not number:  # what does not exist; a removed component may have no score later on
            places.masked_fill_(scores.isnan(), torch.nan)
        _remove(places, scores, percent)
        if progress is not None:
            progress(number + 1, len(steps) + 1)
    return in_places(component, places, provenance=told(model, task, positions=positions))


def in_places(component: str, places: Tensor, *, provenance: Mapping[str, Any] | None = None) -> Order:
    """The iterative order whose places are known: component by component, when it goes; NaN where there is none."""
    ranking = Ranking(kind="head" if component == "head" else "ffn", name="iterative", scores=places)
    return Order("iterative", ranking, provenance=provenance or {})


def _scores(found: Importance, component: str, positions: str) -> Tensor:
    return (found.heads(positions=positions) if component == "head" else found.ffns(positions=positions)).mean


def _remove(places: Tensor, scores: Tensor, percent: float) -> None:
    """Number the lowest that are left on from those that are gone, until `percent` of all have a number."""
    flat, count = places.view(-1), int((~places.isnan()).sum())
    gone = int((flat >= 0).sum())
    left = torch.where(flat < 0, scores.flatten(), torch.inf)
    lowest = torch.sort(left, stable=True).indices[: int(percent * count / 100 + 1e-9) - gone]
    flat[lowest] = torch.arange(gone, gone + len(lowest), dtype=flat.dtype)
