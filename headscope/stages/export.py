"""A run's ranking turned into an ordinary checkpoint without its least important parts (Method 4).

ablation/export.py writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscope.comparison.scored import Shelf
from headscope.stages.cells import check_component
from headscope.stages.removal_orders import Rankings, check_unit
from headscope.store.names import AGGREGATE, PRUNABLE
from headscope.store.run import Run, open_run
from headscope.store.scores import IMPORTANCE
from headscope.store.writer import identity_of
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.orders import Order
    from interp.model import HookedModel


@dataclass(frozen=True)
class Exported:
    """What was written where: how many heads (kv groups) and FFNs are gone, by the ranking of which tasks."""

    folder: Path
    removed_heads: int
    removed_groups: int | None
    removed_ffns: int
    tasks: tuple[str, ...]
    shots: int


def export_pruned(
    model: HookedModel,
    folder: str | Path,
    out: str | Path,
    *,
    component: str = "head",
    percent: int = 30,
    percent_ffns: int | None = None,
    order: str = AGGREGATE,
    shots: int | None = None,
    ranking: str = "token",
    ablation: str = "zero",
    unit: str = "head",
    cut: bool = False,
) -> Exported:
    """Write the model without the `percent` least important heads (FFNs; for `both`, `percent_ffns` of the FFNs too).

    order: `aggregate` over the run's tasks, or one of them. shots: whose scores; the most there are if unset. unit:
    `group` removes whole kv groups; with `cut` evenly over layers, so that projections become smaller (cutting.py).
    Raises UsageError for a ranking that is not stored and for another ablation than zero, StoreError for a run of
    another model.
    """
    from ablation import orders
    from ablation.export import export

    check_component(model, component)
    check_unit(component, unit)
    if cut and unit != "group":
        raise UsageError("projections become smaller by whole key-value groups: --cut belongs to --unit group")
    run = open_run(folder)
    run.manifest.refuse_other(identity_of(model), run.folder)
    at, tasks = chosen_scores(run, order, shots, ranking)
    masks: dict[str, Any] = {"heads": None, "ffns": None}
    counts = {"heads": 0, "ffns": 0}
    for kind, size in sizes(component, percent, percent_ffns).items():
        made = the_order(Rankings(run, kind, tasks, ranking, unit=unit if kind == "head" else "head"), order, at)
        made = orders.even_over_layers(made) if cut else made
        masks[f"{kind}s"], counts[f"{kind}s"] = made.mask(size), made.removed(size)
    written = export(model, masks["heads"], masks["ffns"], out, ablation=ablation, cut=cut)
    groups = counts["heads"] if unit == "group" else None
    heads = counts["heads"] * (model.n_heads // model.n_kv_heads if unit == "group" else 1)
    return Exported(written, heads, groups, counts["ffns"], tasks, at)


def sizes(component: str, percent: int, percent_ffns: int | None) -> dict[str, int]:
    """How much of what goes."""
    if component not in PRUNABLE:
        raise UsageError(f"{component!r} can't be pruned; there are {', '.join(PRUNABLE)} (--component)")
    if component != "both" and percent_ffns is not None:
        raise UsageError("--percent-ffns belongs to --component both; with one component give --percent alone")
    return (
        {"head": percent, "ffn": percent if percent_ffns is None else percent_ffns}
        if component == "both"
        else {component: percent}
    )


def chosen_scores(run: Run, order: str, shots: int | None, ranking: str) -> tuple[int, tuple[str, ...]]:
    """The number of shots and the tasks whose scores rank the components."""
    shelf = Shelf(run)
    there = shelf.shots(IMPORTANCE, ranking)
    if not there:
        raise UsageError(
            f"the run '{run.folder}' holds no {ranking} importance to prune by. First run "
            f"`{run.command('importance')}`."
        )
    at = max(there) if shots is None else shots
    tasks = shelf.tasks(IMPORTANCE, ranking, at)
    if not tasks or order not in (AGGREGATE, *tasks):
        raise UsageError(
            f"the run '{run.folder}' has no ranking {order!r} at {at} shots; there are "
            f"{', '.join((AGGREGATE, *tasks)) if tasks else f'scores at {there} shots'}"
        )
    return at, tasks if order == AGGREGATE else (order,)


def the_order(rankings: Rankings, order: str, shots: int) -> Order:
    """The aggregate over all its tasks, or one task's own order."""
    from ablation import orders

    if order == AGGREGATE:
        return orders.aggregate(rankings.all(shots))
    return orders.by_scores(rankings.scores(order, shots), name=order)
