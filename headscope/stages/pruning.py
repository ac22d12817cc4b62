"""The pruning stage: tasks evaluated on validation documents as heads and FFNs are removed in several orders.

Method 4. Ranked on train, evaluated on validation; the draws of the demonstrations share the documents out among them.
With demonstrations, every order is evaluated on the same documents without any too: what is kept of the choice gain?
Documents without a choice to make are left out of tasks that have others. The rows of `metrics` have the metrics `acc`,
by which every task's own metric is meant (exact match in ReCoRD, whole questions in MultiRC), `choice`, `mass`,
`margin` and `per_token` in nats, and `choice_gain`, what the demonstrations bring. Their summaries
(comparison/pruning_task.py) go into `comparisons`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ablation.evaluation import METRIC
from ablation.gains import Conditions, with_common_choices
from ablation.names import RECHECKED
from ablation.outcomes import with_choices
from ablation.pruning import prune
from ablation.statistics.intervals import cluster_mean
from headscope.comparison.pruning_task import ACC, KEPT, Curve, summary_rows
from headscope.comparison.pruning_tasks import stale, together_rows
from headscope.stages.cells import (
    Progress,
    TaskChoice,
    Tell,
    by_task_and_shots,
    check_component,
    cut_prompts,
    fingerprints,
    sources_of,
    title_of,
    unlabelled_rows,
)
from headscope.stages.evaluation import StoredEvaluations, check_ablation, check_references, replacement_for
from headscope.stages.removal_orders import Rankings, check_orders, check_percents, check_unit, iterative
from headscope.store.ahead import ahead
from headscope.store.canonical import digest
from headscope.store.comparisons import RELATED, Row, frame
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
PERCENTS = (0, 5, 10, 15, *range(20, 100, 10))
GRID = (tuple(range(0, 80, 10)), tuple(range(0, 60, 10)))
DRAWS = 20
GAIN = "choice_gain"
RANKINGS, REPLACED = "rankings", "replaced"  # in the manifest


@dataclass(frozen=True)
class PruneChoice:
    """What is removed, in which orders, how much of it, and what stands in for it.

    percents: of heads or of FFNs. grid: of heads and of FFNs, for `both`. draws: of random and layer-matched orders.
    ranking: the head score of an own order (`token`, `document`, `signed`, each also as `.../choice` and
    `.../choice/mean`); ffn_ranking:
    `importance` or `knock_out`. unit: of heads, `head` or `group`, a whole kv group. screened: the tasks passed a
    screen, so that all of them are summed up together.
    """

    component: str = "head"
    orders: tuple[str, ...] = ("own",)
    ablation: str = "zero"
    percents: tuple[int, ...] = PERCENTS
    grid: tuple[tuple[int, ...], tuple[int, ...]] = GRID
    draws: int = DRAWS
    ranking: str = "token"
    ffn_ranking: str = "importance"
    unit: str = "head"
    screened: bool = False

    def __post_init__(self) -> None:
        if self.component not in PRUNABLE:
            raise UsageError(f"{self.component!r} can't be pruned; there are {', '.join(PRUNABLE)} (--component)")
        check_unit(self.component, self.unit)
        if self.draws < 1:
            raise UsageError(f"random orders are drawn {self.draws} times; expected 1 or more (--draws)")
        for percents in (self.percents, *self.grid):
            check_percents(percents)
        check_ablation(self.ablation)

    @property
    def part(self) -> str:
        """What goes, as tables name it: the component, or `kv_group`."""
        return "kv_group" if self.unit == "group" else self.component

    @property
    def sizes(self) -> list[Any]:
        """The percentage of every step, or for `both` the pair (heads, FFNs)."""
        if self.component == "both":
            heads, ffns = self.grid
            return [(h, f) for f in ffns for h in heads]
        return list(self.percents)

    def stage(self, choice: TaskChoice) -> Stage:
        """The manifest's entry; heads, FFNs and the grid have a protocol each."""
        check_orders(self.orders, choice.names, self.component, self.unit)
        protocol = {**choice.protocol, "ranking": self.ranking, "ffn_ranking": self.ffn_ranking}
        sizes = [list(part) for part in self.grid] if self.component == "both" else list(self.percents)
        options = {
            "shots": list(choice.shots),
            "orders": list(self.orders),
            "ablation": self.ablation,
            "percents": sizes,
            "draws": self.draws,
        }
        command = f"prune --component {self.component}" + (" --unit group" if self.unit == "group" else "")
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

    def task(self, run: RunWriter, few: Task, none: Task | None) -> list[Curve]:
        """One task and number of shots by every order; none: the same documents without demonstrations."""
        ways = self.ways(few, none)
        curves: list[Curve] = []
        for name in self.prune.orders:
            for orders in self.orders(name, few):
                prunings = [self.pruned(task, orders, way) for task, way in ways]
                curve = Curve.of(prunings[0], *prunings[1:])
                rows = [*prunings[0].rows(measured(prunings[0])), *gain_rows(prunings[0], curve)]
                first = curve.order not in {other.order for other in curves}
                self.stored(run, few, orders if first else None, pd.DataFrame(rows))
                curves.append(curve)
        return curves

    def stored(self, run: RunWriter, task: Task, orders: tuple[Order, ...] | None, rows: pd.DataFrame) -> None:
        """Store one order's rows; those of another ranking by the same name go, and that is told. None: a further draw.

        The first draw stands for all: the others are drawn of the same scores by the next seeds.
        """
        if orders is None:
            run.add_metrics(rows)
            return
        key = f"{orders[0].name} of {title_of(task)}, by {self.prune.ablation}"
        mark = digest([one.ranking.order.tolist() for one in orders])[:16]
        gone = run.add_metrics(rows, alone=run.holds_other(RANKINGS, key, mark))
        run.record_alone(RANKINGS, key, mark)
        if steps := steps_told(gone, rows):
            before = run.manifest.stage_like(run.stage).record.get(REPLACED, ())
            line = f"{key}, at {steps}: by another ranking than this command's"
            run.record(**{REPLACED: list(dict.fromkeys([*before, line]))})

    def ways(self, few: Task, none: Task | None) -> list[tuple[Task, Replacement | None]]:
        """The task with demonstrations and without, each with what stands in for what is removed."""
        how: dict[str, Any] = {"ablation": self.prune.ablation, "seed": self.choice.seed}
        pair = [few, none] if none is not None else [few]
        return [(task, replacement_for(self.model, self.choice, task, **how)) for task in pair]

    def asked(self, few: Task, none: Task | None) -> None:
        """Every unit of one task and number of shots, for an engine."""
        muted, ways = replace(self, counter=Progress(0)), self.ways(few, none)
        for name in self.prune.orders:
            for orders in self.orders(name, few):
                for task, way in ways:
                    muted.pruned(task, orders, way)

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
            unit=None if self.prune.unit == "head" else self.prune.unit,
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
    check_component(model, prune.component)
    stage = prune.stage(choice)
    pairs = paired(model, choice, choice.tasks(SPLIT) if tasks is None else tasks)
    loaded = tuple(few for few, _ in pairs)
    source = Run(Path(folder)) if rankings is None else open_run(rankings)
    if rankings is not None:
        source.manifest.refuse_other(identity_of(model), source.folder)
    ranked = tuple(_rankings(source, choice, prune))
    check_rankings(ranked, loaded, prune)
    check_references(choice, [task for pair in pairs for task in pair if task is not None], prune.ablation)
    with open_stage(model, folder, stage, sources=sources_of(loaded)) as run:
        run.record(documents=fingerprints(loaded), cut=cut_prompts(model, loaded), unlabelled=unlabelled_rows(loaded))
        pruner = Pruner(
            model, StoredEvaluations(run.units), choice, prune, ranked, _progress(pairs, choice, prune, progress)
        )
        ahead(run.units, (partial(pruner.asked, few, none) for few, none in pairs))
        groups = [pruner.task(run, few, none) for few, none in pairs]
        summaries = frame(summaries_of(groups, prune))
        run.add_comparisons(summaries, without=stale)
        run.record(running_check=RECHECKED)
    return summaries


def summaries_of(groups: Sequence[Sequence[Curve]], prune: PruneChoice) -> Iterator[Row]:
    """Every task and number of shots by itself, then the tasks above chance together."""
    labels = {"component": prune.part, "ablation": prune.ablation}
    for group in groups:
        yield from summary_rows(group, **labels)
    every = [curve for group in groups for curve in group]
    yield from together_rows(every, screened=prune.screened, **labels)


def paired(model: HookedModel, choice: TaskChoice, tasks: Sequence[Task]) -> list[tuple[Task, Task | None]]:
    """Every task beside itself without demonstrations, where it has any; documents that both have a choice in.

    A task none of whose documents has a choice to make stays whole, and alone.
    """
    found: list[tuple[Task, Task | None]] = []
    for task in tasks:
        if not task.shots:
            kept, _ = with_choices(task, model)
            found.append((kept if kept.documents else task, None))
            continue
        both, _ = with_common_choices(model, Conditions(task, choice.task(task.name, 0, SPLIT)))
        found.append((both.few, both.none) if both.few.documents else (task, None))
    return found


def measured(pruning: Pruning) -> list[str]:
    """The outcomes that stand in `metrics`, those that the task has."""
    there = pruning.steps[0].evaluation.outcomes
    return [name for name in (METRIC, "choice", "mass", *RELATED) if name in there]


def steps_told(gone: pd.DataFrame, rows: pd.DataFrame) -> str:
    """`20%, 50%`: the steps that went and did not come again; empty where there are none."""
    sizes = ["percent_heads", "percent_ffns"]
    left = sorted({*gone[sizes].itertuples(index=False, name=None)} - {*rows[sizes].itertuples(index=False, name=None)})
    return ", ".join(" and ".join(f"{size:g}%" for size in step if size or not any(step)) for step in left)


def replaced(folder: str | Path, stage: Stage) -> list[str]:
    """The rows of earlier commands that this stage has taken out of the folder, a line an order."""
    return list(open_run(folder).manifest.stage_like(stage).record.get(REPLACED, ()))


def gain_rows(pruning: Pruning, curve: Curve) -> Iterator[dict[str, Any]]:
    """What the demonstrations bring at every step, in the columns of `metrics`; nothing where it is not known."""
    if KEPT not in curve.changes:
        return
    change = curve.changes[KEPT]
    for row, step in zip(pruning.rows((METRIC,)), change.change, strict=True):
        gain = cluster_mean(step + change.gain, change.clusters) if curve.clustered else None
        value = float(np.mean(step + change.gain))
        yield {
            **row,
            "metric": GAIN,
            "value": value,
            "stderr": math.nan if gain is None else gain.stderr,
            "n": step.size,
        }


def check_rankings(rankings: Sequence[Rankings], tasks: Sequence[Task], prune: PruneChoice) -> None:
    """Raises UsageError where a score is missing, before the stage is opened: a refusal must not bind the folder."""
    for task, shots in by_task_and_shots(tuple(tasks)):
        for ranking in rankings:
            for name in prune.orders:
                if name != "iterative":
                    ranking.orders(name, task, shots, draws=1, seed=0)


def _rankings(run: Run, choice: TaskChoice, prune: PruneChoice) -> Iterator[Rankings]:
    for component in ("head", "ffn") if prune.component == "both" else (prune.component,):
        yield Rankings(run, component, choice.names, prune.ranking, prune.ffn_ranking, prune.unit)


def _progress(
    pairs: Sequence[tuple[Task, Task | None]], choice: TaskChoice, prune: PruneChoice, tell: Tell | None
) -> Progress:
    many = {"random": prune.draws, "layer_matched": prune.draws, "transfer": len(choice.names) - 1}
    orders = sum(many.get(name, 1) for name in prune.orders)
    documents = sum(len(task.documents) for pair in pairs for task in pair if task is not None)
    return Progress(documents * orders * len(prune.sizes), tell)
