"""The pruning stage: tasks evaluated on validation documents as heads and FFNs are removed in several orders.

Method 4. Ranked on train, evaluated on validation. The rows of `metrics` have two metrics: `acc`, by which every
task's own metric is meant (exact match in ReCoRD, whole questions in MultiRC), and `log_likelihood`, the gold
continuation's mean in nats. Their summaries (comparison/pruning_task.py) go into `comparisons`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ablation.pruning import prune
from headscope.comparison.pruning_task import ACC, Curve, summary_rows, with_demonstrations_joined
from headscope.comparison.pruning_tasks import stale, together_rows
from headscope.stages.cells import Progress, TaskChoice, Tell, by_task_and_shots, cut_prompts, fingerprints, title_of
from headscope.stages.evaluation import StoredEvaluations, check_ablation, check_references, replacement_for
from headscope.stages.prune_checks import check_orders, check_percents
from headscope.stages.removal_orders import Rankings, iterative
from headscope.store.ahead import ahead
from headscope.store.comparisons import Row, frame
from headscope.store.manifest import Stage
from headscope.store.names import PRUNABLE
from headscope.store.run import Run, open_run
from headscope.store.writer import identity_of, open_stage
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.orders import Order
    from ablation.pruning import Pruning
    from ablation.replacement import Replacement
    from ablation.tasks import Task
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

SPLIT = "validation"
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
        if self.component not in PRUNABLE:
            raise UsageError(f"{self.component!r} can't be pruned; there are {', '.join(PRUNABLE)} (--component)")
        if self.draws < 1:
            raise UsageError(f"random orders are drawn {self.draws} times; expected 1 or more (--draws)")
        for percents in (self.percents, *self.grid):
            check_percents(percents)
        check_ablation(self.ablation)

    @property
    def sizes(self) -> list[Any]:
        """The percentage of every step, or for `both` the pair (heads, FFNs)."""
        if self.component == "both":
            heads, ffns = self.grid
            return [(h, f) for f in ffns for h in heads]
        return list(self.percents)

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
    """One stage at work: the model, its stored evaluations, what is pruned and how it is ranked."""

    model: HookedModel
    evaluations: StoredEvaluations
    choice: TaskChoice
    prune: PruneChoice
    rankings: tuple[Rankings, ...]
    counter: Progress

    def group(self, run: RunWriter, draws: Sequence[Task]) -> list[Curve]:
        """One task and number of shots: every order on every draw of the demonstrations, which are joined."""
        orders = [pair for name in self.prune.orders for pair in self.orders(name, draws[0])]
        curves: list[Curve] = []
        for task in draws:
            replacement = replacement_for(self.model, self.choice, task, self.prune.ablation, seed=self.choice.seed)
            prunings = [self.pruned(task, pair, replacement) for pair in orders]
            run.add_metrics(pd.DataFrame([row for pruning in prunings for row in pruning.rows()]))
            curves += [Curve.of(pruning) for pruning in prunings]
        return with_demonstrations_joined(curves)

    def asked(self, task: Task) -> None:
        """Every unit of one draw, for an engine."""
        muted = replace(self, counter=Progress(0))
        stand_in = replacement_for(self.model, self.choice, task, self.prune.ablation, seed=self.choice.seed)
        for name in self.prune.orders:
            for pair in self.orders(name, task):
                muted.pruned(task, pair, stand_in)

    def orders(self, name: str, task: Task) -> Iterator[tuple[Order, ...]]:
        """Single orders, or for `both` the pair (heads, FFNs)."""
        if name == "iterative":
            how = (self.prune.component, self.prune.percents)
            yield (iterative(self.model, self.evaluations.units, self.choice, task, *how),)
            return
        drawn = {"draws": self.prune.draws, "seed": self.choice.seed}
        made = [ranking.orders(name, task.name, task.shots, **drawn) for ranking in self.rankings]
        yield from zip(*made, strict=True)

    def pruned(self, task: Task, orders: tuple[Order, ...], replacement: Replacement | None) -> Pruning:
        """All steps of one order (or of the pair) on one task."""
        pruning = prune(
            self.model,
            task,
            (orders[0], orders[1]) if len(orders) > 1 else orders[0],
            percents=self.prune.sizes,
            replacement=replacement,
            evaluate=self.evaluations,
            progress=lambda done, total: self.counter.add(len(task.documents), f"{title_of(task)}, {orders[0].name}"),
        )
        steps = (replace(step, evaluation=replace(step.evaluation, metric_name=ACC)) for step in pruning.steps)
        return replace(pruning, order=orders[0].name, steps=tuple(steps))


def measure_pruning(
    model: HookedModel,
    folder: str | Path,
    choice: TaskChoice,
    prune: PruneChoice,
    *,
    tasks: tuple[Task, ...] | None = None,
    rankings: str | Path | None = None,
    progress: Tell | None = None,
) -> pd.DataFrame:
    """Prune and evaluate; returns the summaries. `tasks` are the validation documents; `rankings` another run of this
    model that holds the importance. Raises UsageError where a ranking is missing, StoreError for another model's.
    """
    stage = prune.stage(choice)
    loaded = choice.tasks(SPLIT) if tasks is None else tasks
    source = Run(Path(folder)) if rankings is None else open_run(rankings)
    if rankings is not None:
        source.manifest.refuse_other(identity_of(model), source.folder)
    ranked = tuple(_rankings(source, choice, prune))
    check_rankings(ranked, loaded, prune)
    check_references(choice, loaded, prune.ablation)
    with open_stage(model, folder, stage) as run:
        run.record(documents=fingerprints(loaded), cut=cut_prompts(model, loaded))
        pruner = Pruner(
            model, StoredEvaluations(run.units), choice, prune, ranked, _progress(loaded, choice, prune, progress)
        )
        ahead(run.units, (partial(pruner.asked, task) for task in loaded))
        groups = [pruner.group(run, draws) for draws in by_task_and_shots(loaded).values()]
        summaries = frame(summaries_of(groups, prune))
        run.add_comparisons(summaries, without=stale)
    return summaries


def summaries_of(groups: Sequence[Sequence[Curve]], prune: PruneChoice) -> Iterator[Row]:
    """Every task and number of shots by itself, then the tasks above chance together."""
    labels = {"component": prune.component, "ablation": prune.ablation}
    for group in groups:
        yield from summary_rows(group, **labels)
    yield from together_rows([curve for group in groups for curve in group], **labels)


def check_rankings(rankings: Sequence[Rankings], tasks: Sequence[Task], prune: PruneChoice) -> None:
    """Raises UsageError where a score is missing, before the stage is opened: a refusal must not bind the folder."""
    for task, shots in by_task_and_shots(tuple(tasks)):
        for ranking in rankings:
            for name in prune.orders:
                if name != "iterative":
                    ranking.orders(name, task, shots, draws=1, seed=0)


def _rankings(run: Run, choice: TaskChoice, prune: PruneChoice) -> Iterator[Rankings]:
    for component in ("head", "ffn") if prune.component == "both" else (prune.component,):
        yield Rankings(run, component, choice.names, prune.ranking, prune.ffn_ranking)


def _progress(tasks: Sequence[Task], choice: TaskChoice, prune: PruneChoice, tell: Tell | None) -> Progress:
    many = {"random": prune.draws, "layer_matched": prune.draws, "transfer": len(choice.names) - 1}
    orders = sum(many.get(name, 1) for name in prune.orders)
    return Progress(sum(len(task.documents) for task in tasks) * orders * len(prune.sizes), tell)
