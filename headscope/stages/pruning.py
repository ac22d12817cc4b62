"""The pruning stage: tasks evaluated on validation documents as heads and FFNs are removed in several orders.

METHODS 4. Ranked on train, evaluated on validation. The rows of `metrics` have two metrics: `acc`, by which every
task's own metric is meant (exact match in ReCoRD, whole questions in MultiRC), and `log_likelihood`, the gold
continuation's mean in nats. Their summaries (pruning_summary.py) go into `comparisons`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from headscope.comparison.pruning_task import ACC, Curve, summary_rows, with_demonstrations_joined
from headscope.comparison.pruning_tasks import stale, together_rows
from headscope.stages.cells import Cell, Progress, TaskChoice, Tell, by_task_and_shots, cut_prompts, fingerprints
from headscope.stages.evaluation import Ablated, Evaluator, ablated, check_ablation, check_references
from headscope.stages.removal_orders import Rankings, check_orders, iterative
from headscope.store.comparisons import Row, frame
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.writer import identity_of, open_stage
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.orders import Order
    from ablation.pruning import Pruning
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

SPLIT = "validation"
COMPONENTS = ("head", "ffn", "both")
PERCENTS = tuple(range(0, 100, 10))
GRID = (tuple(range(0, 80, 10)), tuple(range(0, 60, 10)))
DRAWS = 20


@dataclass(frozen=True)
class PruneChoice:
    """What is removed, in which orders, how much of it, and what stands in for it.

    percents: of heads or of FFNs. grid: of heads and of FFNs, for `both`. draws: of random and layer-matched orders.
    ranking: the head score of an own order (`token`, `document`, `signed`); ffn_ranking: `importance` or `knock_out`.
    """

    component: str = "head"
    orders: tuple[str, ...] = ("own",)
    ablation: str = "zero"
    percents: tuple[int, ...] = PERCENTS
    grid: tuple[tuple[int, ...], tuple[int, ...]] = GRID
    draws: int = DRAWS
    ranking: str = "token"
    ffn_ranking: str = "importance"

    def __post_init__(self) -> None:
        if self.component not in COMPONENTS:
            raise UsageError(f"{self.component!r} can't be pruned; there are {', '.join(COMPONENTS)} (--component)")
        if self.draws < 1:
            raise UsageError(f"random orders are drawn {self.draws} times; expected 1 or more (--draws)")
        for percents in (self.percents, *self.grid):
            if len(percents) < 2 or percents[0] != 0 or list(percents) != sorted({*percents}) or percents[-1] >= 100:
                raise UsageError(
                    f"percentages must begin with 0 (the full model), ascend and stay below 100; got {list(percents)}"
                )
        if self.component == "both" and self.orders != ("own",):
            raise UsageError("the joint grid of heads and FFNs is pruned in their own orders: leave out --order")
        check_ablation(self.ablation)

    def stage(self, choice: TaskChoice) -> Stage:
        """The manifest's entry; heads, FFNs and the grid have a protocol each."""
        check_orders(self.orders, choice.names, self.component)
        protocol = {**choice.protocol, "ranking": self.ranking, "ffn_ranking": self.ffn_ranking}
        sizes = [list(part) for part in self.grid] if self.component == "both" else list(self.percents)
        options = {
            "shots": list(choice.shots),
            "orders": list(self.orders),
            "ablation": self.ablation,
            "percents": sizes,
            "draws": self.draws,
        }
        command = f"prune --component {self.component}"
        return Stage(command, protocol, seed=choice.seed, tasks=choice.names, options=options)


@dataclass(frozen=True)
class Pruner:
    """One stage at work: the model's evaluations, what is pruned and how it is ranked."""

    evaluator: Evaluator
    choice: TaskChoice
    prune: PruneChoice
    rankings: tuple[Rankings, ...]
    told: Progress

    def group(self, run: RunWriter, cells: Sequence[Cell]) -> list[Curve]:
        """One task and number of shots: every order on every draw of the demonstrations, which are joined."""
        orders = [pair for name in self.prune.orders for pair in self.orders(name, cells[0])]
        curves: list[Curve] = []
        for cell in cells:
            how = ablated(self.evaluator.model, self.choice, cell, self.prune.ablation, seed=self.choice.seed)
            found = [self.curve(cell, pair, how) for pair in orders]
            run.add_metrics(pd.DataFrame([row for one in found for row in one.rows()]))
            curves += [Curve.of(one) for one in found]
        return with_demonstrations_joined(curves)

    def orders(self, name: str, cell: Cell) -> Iterator[tuple[Order, ...]]:
        """Single orders, or for `both` the pair (heads, FFNs)."""
        task, shots = cell.task.name, cell.task.shots
        if name == "iterative":
            yield (iterative(self.evaluator, self.choice, cell, self.prune.component, self.prune.percents),)
            return
        told = {"draws": self.prune.draws, "seed": self.choice.seed}
        made = [ranking.orders(name, task, shots, **told) for ranking in self.rankings]
        yield from zip(*made, strict=True)

    def curve(self, cell: Cell, orders: tuple[Order, ...], how: Ablated) -> Pruning:
        """All steps of one order (or of the pair) on one cell."""
        from ablation.pruning import PrunedStep, Pruning

        steps = []
        for sizes in self.sizes():
            masks = self.masks(orders, sizes)
            removed = [order.removed(size) for order, size in zip(orders, self.part(sizes), strict=True)]
            counts = dict(zip(self.names(), removed, strict=True))
            found = self.evaluator.evaluate(cell, **masks, ablated=how)
            steps.append(
                PrunedStep(
                    float(sizes[0]),
                    float(sizes[1]),
                    counts.get("heads", 0),
                    counts.get("ffns", 0),
                    replace(found, metric_name=ACC),
                )
            )
            self.told.add(len(cell.task.documents), f"{cell.name}, {orders[0].name}")
        return Pruning(
            task=cell.task.name,
            shots=cell.task.shots,
            demo_seed=cell.demo_seed,
            component=self.prune.component,
            order=orders[0].name,
            order_seed=orders[0].seed,
            ablation=self.prune.ablation,
            chance=cell.task.chance,
            majority=cell.task.majority,
            steps=tuple(steps),
        )

    def sizes(self) -> list[tuple[int, int]]:
        """(percent of heads, percent of FFNs) of every step."""
        if self.prune.component == "both":
            heads, ffns = self.prune.grid
            return [(h, f) for f in ffns for h in heads]
        return [(p, 0) if self.prune.component == "head" else (0, p) for p in self.prune.percents]

    def names(self) -> tuple[str, ...]:
        return {"head": ("heads",), "ffn": ("ffns",), "both": ("heads", "ffns")}[self.prune.component]

    def part(self, sizes: tuple[int, int]) -> tuple[int, ...]:
        """The sizes that the orders are asked for."""
        return {"head": sizes[:1], "ffn": sizes[1:], "both": sizes}[self.prune.component]

    def masks(self, orders: tuple[Order, ...], sizes: tuple[int, int]) -> dict[str, Any]:
        """What is left of heads and FFNs."""
        return {
            name: order.mask(size) for name, order, size in zip(self.names(), orders, self.part(sizes), strict=True)
        }


def measure_pruning(
    model: HookedModel,
    folder: str | Path,
    choice: TaskChoice,
    prune: PruneChoice,
    *,
    cells: tuple[Cell, ...] | None = None,
    rankings: str | Path | None = None,
    progress: Tell | None = None,
) -> pd.DataFrame:
    """Prune and evaluate; returns the summaries. `cells` are the validation documents; `rankings` another run of this
    model that holds the importance. Raises UsageError where a ranking is missing, StoreError for another model's.
    """
    stage = prune.stage(choice)
    held = choice.cells(SPLIT) if cells is None else cells
    source = Run(Path(folder)) if rankings is None else open_run(rankings)
    if rankings is not None:
        source.manifest.refuse_other(identity_of(model), source.folder)
    ranked = tuple(_rankings(source, choice, prune))
    check_rankings(ranked, held, prune)
    check_references(choice, held, prune.ablation)
    with open_stage(model, folder, stage) as run:
        run.record(documents=fingerprints(held), cut=cut_prompts(model, held))
        pruner = Pruner(Evaluator(model, run.units), choice, prune, ranked, _progress(held, choice, prune, progress))
        groups = [pruner.group(run, group) for group in by_task_and_shots(held).values()]
        summaries = frame(summaries_of(groups, prune))
        run.add_comparisons(summaries, without=stale)
    return summaries


def summaries_of(groups: Sequence[Sequence[Curve]], prune: PruneChoice) -> Iterator[Row]:
    """Every task and number of shots by itself, then the tasks above chance together."""
    told = {"component": prune.component, "ablation": prune.ablation}
    for group in groups:
        yield from summary_rows(group, **told)
    yield from together_rows([curve for group in groups for curve in group], **told)


def check_rankings(rankings: Sequence[Rankings], cells: Sequence[Cell], prune: PruneChoice) -> None:
    """Raises UsageError where a score is missing, before the stage is opened: a refusal must not bind the folder."""
    for task, shots in by_task_and_shots(tuple(cells)):
        for ranking in rankings:
            for name in prune.orders:
                if name != "iterative":
                    ranking.orders(name, task, shots, draws=1, seed=0)


def _rankings(run: Run, choice: TaskChoice, prune: PruneChoice) -> Iterator[Rankings]:
    for component in ("head", "ffn") if prune.component == "both" else (prune.component,):
        yield Rankings(run, component, choice.names, prune.ranking, prune.ffn_ranking)


def _progress(cells: Sequence[Cell], choice: TaskChoice, prune: PruneChoice, tell: Tell | None) -> Progress:
    many = {"random": prune.draws, "layer_matched": prune.draws, "transfer": len(choice.names) - 1}
    heads, ffns = prune.grid
    steps = len(heads) * len(ffns) if prune.component == "both" else len(prune.percents)
    orders = sum(many.get(name, 1) for name in prune.orders)
    return Progress(sum(len(cell.task.documents) for cell in cells) * orders * steps, tell)
