"""The iterative order: remove a step's worth of components, score what is left again, go on (Method 4).

Removing heads changes what the others do, so a score of the full model may rank the last ones badly. Each step's scores
are those of the model without what is gone already. The order itself is nested like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ablation.importance import Importance, importance
from ablation.orders import Order
from ablation.provenance import told
from interp.errors import UsageError
from interp.scores import Ranking

if TYPE_CHECKING:
    from interp.model import HookedModel

STEPS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90)


def iterative_order(
    model: HookedModel,
    task: Any,
    *,
    component: str,
    percents: Sequence[float | int] = STEPS,
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
    ranking = Ranking(kind="head" if component == "head" else "ffn", name="iterative", scores=places)
    return Order("iterative", ranking, provenance=told(model, task, positions=positions))


def _scores(found: Importance, component: str, positions: str) -> torch.Tensor:
    return (found.heads(positions=positions) if component == "head" else found.ffns(positions=positions)).mean


def _remove(places: torch.Tensor, scores: torch.Tensor, percent: float) -> None:
    """Number the lowest that are left on from those that are gone, until `percent` of all have a number."""
    flat, count = places.view(-1), int((~places.isnan()).sum())
    gone = int((flat >= 0).sum())
    left = torch.where(flat < 0, scores.flatten(), torch.inf)
    lowest = torch.sort(left, stable=True).indices[: int(percent * count / 100 + 1e-9) - gone]
    flat[lowest] = torch.arange(gone, gone + len(lowest), dtype=flat.dtype)
