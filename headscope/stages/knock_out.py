"""The knock-out stage: what a task loses when one head, or one FFN, is removed, on training documents.

Method 3.2. A unit is a shard of documents with every component removed in turn. Stored is the score `knock_out`, full
minus removed, by document: `choice`, `mass`, `metric`, `margin` and `per_token`, those of them that a task has; FFNs
twice: at all positions, and with position 0 spared (`.../later`). By another ablation than zero it is called
`knock_out_mean` or `knock_out_resample`; of some of the heads only, `..._sample`. Documents without a choice to make
are left out of tasks that have others.

Which FFNs are needed is asked of validation documents, over all tasks together: rows `ffn_needed` of `comparisons`,
a = `pooled tasks`, b = the layer, level = outcome/ablation (`.../later`); value = mean cost over tasks, its ends the
one-sided 95% bounds, p that of a cost above the margin (Holm over the layers of one level), n = tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import t
from torch import Tensor

from ablation.knock_out import KnockOut, estimate_knock_out, knock_out
from ablation.names import RECHECKED
from ablation.outcomes import with_choices
from ablation.statistics.by_cluster import by_cluster
from ablation.statistics.intervals import (
    PAIRED_GAIN,
    PAIRED_LOSS,
    PseudoClusters,
    TasksMean,
    cluster_mean,
    cluster_numbers,
    mean_over_tasks,
)
from ablation.statistics.verdict import MARGINS
from headscope.stages.cells import (
    Progress,
    TaskChoice,
    Tell,
    by_task_and_shots,
    check_component,
    cut_prompts,
    fingerprints,
    first,
    shards,
    sources_of,
    text_length,
    title_of,
    unlabelled_rows,
)
from headscope.stages.evaluation import check_ablation, check_references, replacement_for, way_of
from headscope.store.ahead import ahead
from headscope.store.comparisons import (
    OUTCOMES,
    POOLED,
    RELATED,
    CausalLevel,
    Kind,
    KnockOutVariant,
    Row,
    frame,
    row,
    with_holm,
)
from headscope.store.manifest import Stage
from headscope.store.scores import KNOCK_OUT
from headscope.store.writer import open_stage
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.replacement import Replacement
    from ablation.tasks import Task
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

SPLIT = "train"
SAMPLE = "_sample"  # of some heads only
Heads = Sequence[tuple[int, int]]
Told = Callable[[int, int], None]
SHARDS = {"head": 4, "ffn": 16}
PLACES = {"head": ("all",), "ffn": ("all", "later")}
TRIAL = 16


@dataclass(frozen=True)
class KnockedTask:
    """What one task and number of shots gave: the components whose removal costs most, in units of the outcome."""

    task: str
    shots: int
    documents: int
    outcome: str
    worst: tuple[tuple[str, float], ...]


def knockout_stage(
    choice: TaskChoice, component: str, ablation: str, *, split: str = SPLIT, heads: Heads | None = None
) -> Stage:
    """The manifest's entry; heads and FFNs have a protocol each."""
    if component not in SHARDS:
        raise UsageError(f"{component!r} can't be knocked out; there are head and ffn (--component)")
    check_ablation(ablation)
    options: dict[str, Any] = {"shots": list(choice.shots), "ablation": ablation}
    options |= {"split": split} if split != SPLIT else {}
    options |= {"heads": [f"{layer}.{head}" for layer, head in heads]} if heads is not None else {}
    command = f"knockout --component {component}"
    return Stage(command, choice.protocol, seed=choice.seed, tasks=choice.names, options=options)


def measure_knock_out(
    model: HookedModel,
    folder: str | Path,
    choice: TaskChoice,
    *,
    component: str,
    ablation: str = "zero",
    heads: Heads | None = None,
    tasks: tuple[Task, ...] | None = None,
    progress: Tell | None = None,
) -> tuple[KnockedTask, ...]:
    """Remove every head (or these), or every FFN, one at a time; `tasks` are the choice's training documents."""
    check_component(model, component)
    stage = knockout_stage(choice, component, ablation, heads=heads)
    loaded, without = with_some_choice(model, choice.tasks(SPLIT) if tasks is None else tasks)
    check_references(choice, loaded, ablation)
    with open_stage(model, folder, stage, sources=sources_of(loaded)) as run:
        run.record(documents=fingerprints(loaded), cut=cut_prompts(model, loaded), unlabelled=unlabelled_rows(loaded))
        run.record(without=without)
        work = _KnockingOut(model, run, choice, component, ablation, heads, _counter(loaded, progress))
        work.ahead(loaded)
        knocked = tuple(work.stored(draws) for draws in by_task_and_shots(loaded).values())
        run.record(running_check=RECHECKED)
    return knocked


def measure_needed_ffns(
    model: HookedModel, folder: str | Path, choice: TaskChoice, *, ablation: str = "mean", progress: Tell | None = None
) -> pd.DataFrame:
    """Which FFNs the tasks need, on validation documents; returns the rows."""
    check_component(model, "ffn")
    stage = knockout_stage(choice, "ffn", ablation, split="validation")
    loaded, without = with_some_choice(model, choice.tasks("validation"))
    check_references(choice, loaded, ablation)
    with open_stage(model, folder, stage, sources=sources_of(loaded)) as run:
        run.record(documents=fingerprints(loaded), cut=cut_prompts(model, loaded), unlabelled=unlabelled_rows(loaded))
        run.record(without=without)
        work = _KnockingOut(model, run, choice, "ffn", ablation, None, _counter(loaded, progress))
        work.ahead(loaded)
        groups = by_task_and_shots(loaded)
        knocked = {key: work.knocked(draws) for key, draws in groups.items()}
        rows = frame(needed_rows(knocked, ablation))
        run.add_comparisons(rows)
        run.record(running_check=RECHECKED)
    return rows


def with_some_choice(model: HookedModel, tasks: Sequence[Task]) -> tuple[tuple[Task, ...], dict[str, str]]:
    """Without the documents that have no choice to make, and why tasks that have no others are left out.

    Raises UsageError where no task is left: by choice, no component would cost anything.
    """
    kept, without = [], {}
    for task in tasks:
        chosen, reasons = with_choices(task, model)
        if chosen.documents:
            kept.append(chosen)
        else:
            without[task.name] = f"no document has a choice to make: {reasons[0]}"
    if not kept:
        raise UsageError("; ".join(f"{name}: {reason}" for name, reason in without.items()))
    return tuple(kept), without


def _counter(tasks: Sequence[Task], progress: Tell | None) -> Progress:
    return Progress(sum(len(task.documents) for task in tasks), progress)


@dataclass(frozen=True)
class _KnockingOut:
    """One stage at work."""

    model: HookedModel
    run: RunWriter
    choice: TaskChoice
    component: str
    ablation: str
    heads: Heads | None
    counter: Progress

    def ahead(self, tasks: Sequence[Task]) -> None:
        """Have an engine, where there is one, run every unit of these tasks."""
        muted = replace(self, counter=Progress(0))
        ahead(self.run.units, (partial(muted.asked, task) for task in tasks))

    def asked(self, task: Task) -> None:
        """Every unit of a task."""
        list(self._pieces(task, *self._removal(task)))

    def knocked(self, draws: Sequence[Task]) -> list[KnockOut]:
        """One task and number of shots: the draws of its demonstrations side by side."""
        return [self._knocked(task) for task in draws]

    def stored(self, draws: Sequence[Task]) -> KnockedTask:
        """The same as scores."""
        knock_outs = self.knocked(draws)
        name = KNOCK_OUT if self.ablation == "zero" else f"{KNOCK_OUT}_{self.ablation}"
        name += SAMPLE if self.heads is not None else ""
        outcomes = outcomes_of(knock_outs[0])
        for outcome in outcomes:
            for positions in PLACES[self.component]:
                _store(self.run, knock_outs, draws, name=name, outcome=outcome, positions=positions)
        loss = torch.cat([draw.differences(outcome=outcomes[0]) for draw in knock_outs]).mean(0)
        documents = sum(len(draw.documents) for draw in knock_outs)
        return KnockedTask(draws[0].name, draws[0].shots, documents, outcomes[0], _worst(loss))

    def _knocked(self, task: Task) -> KnockOut:
        replacement, made = self._removal(task)
        pieces = list(self._pieces(task, replacement, made))
        return KnockOut.assembled(self.model, task, pieces, ablation=self.ablation, **made)

    def _removal(self, task: Task) -> tuple[Replacement | None, dict[str, Any]]:
        """What stands in for what is removed, and what that is."""
        replacement = replacement_for(self.model, self.choice, task, self.ablation, seed=self.choice.seed)
        return replacement, {"component": self.component, "positions": PLACES[self.component], "heads": self.heads}

    def _pieces(self, task: Task, replacement: Replacement | None, made: dict[str, Any]) -> Iterator[dict[str, Tensor]]:
        """What every shard of the task loses, from the store where it is there."""
        for shard in shards(task, SHARDS[self.component]):
            key: dict[str, Any] = {
                "component": self.component,
                "documents": shard.fingerprint,
                "ablation": way_of(replacement),
            }
            key |= {"heads": [list(head) for head in self.heads]} if self.heads is not None else {}
            # What an engine runs tells nobody how far it is, and is packed.
            telling = self.counter.tell is not None
            within = self.counter.within(len(shard.documents), title_of(task)) if telling else None
            compute = partial(_unit, self.model, shard, replacement, within, made)
            yield self.run.units.get_or_compute({"what": KNOCK_OUT, **key}, compute, size=text_length(shard))
            self.counter.add(len(shard.documents), title_of(task))


def _unit(
    model: HookedModel, shard: Task, replacement: Replacement | None, within: Told | None, made: dict[str, Any]
) -> dict[str, Tensor]:
    """A shard with every component removed in turn."""
    limit = len(shard.documents)
    return knock_out(model, shard, limit=limit, replacement=replacement, progress=within, **made).pieces()


def outcomes_of(knocked: KnockOut) -> tuple[str, ...]:
    """Those that these documents have, choice first where there is one."""
    there = ("metric", *(knocked.offered.available if knocked.offered is not None else ()))
    return tuple(name for name in (*OUTCOMES, *RELATED) if name in there)


def needed_rows(knocked: Mapping[tuple[str, int], Sequence[KnockOut]], ablation: str) -> Iterator[Row]:
    """Every FFN, outcome and choice of positions at every number of shots, over the tasks that have the outcome."""
    for shots in sorted({count for _, count in knocked}):
        tasks = [draws for (_, count), draws in knocked.items() if count == shots]
        for outcome in OUTCOMES:
            chosen = [draws for draws in tasks if outcome in outcomes_of(draws[0])]
            for positions in PLACES["ffn"]:
                way = ablation if positions == "all" else f"{ablation}/{positions}"
                if chosen:
                    yield from with_holm(_needed(chosen, outcome, positions, shots, CausalLevel(outcome, way)))


def _needed(
    tasks: Sequence[Sequence[KnockOut]], outcome: str, positions: str, shots: int, level: CausalLevel
) -> Iterator[Row]:
    costs = [torch.cat([d.differences(outcome=outcome, positions=positions) for d in draws]).numpy() for draws in tasks]
    labels = [cluster_numbers([name for draw in draws for name in draw.items(outcome)[1]]) for draws in tasks]
    layers = [layer for layer in range(costs[0].shape[1]) if np.isfinite(costs[0][:, layer]).all()]
    margin = MARGINS["metric" if outcome == "metric" else "choice"]
    # A metric that changes on none of a few documents may change on others: bounds hold rare gains and losses.
    rare = (PAIRED_LOSS, PAIRED_GAIN) if outcome == "metric" else ((), ())
    for layer in layers if min(int(label.max()) for label in labels) > 0 else ():
        parts = [part[:, layer] for part in costs]
        below, above = (_mean_cost(parts, labels, pseudo) for pseudo in rare)
        bounds = (below.lower_bound(), above.upper_bound())
        spare = below.centre - margin
        p = float(t.sf(spare / below.stderr, below.freedom)) if below.stderr else float(spare <= 0)
        yield row(Kind.FFN_NEEDED, POOLED, str(layer), shots, level, below.value, interval=bounds, p=p, n=len(tasks))


def _mean_cost(
    costs: Sequence[np.ndarray], labels: Sequence[np.ndarray], pseudo: tuple[PseudoClusters, ...]
) -> TasksMean:
    """Over tasks, each counting alike; pseudo-clusters stand in the task with the fewest clusters."""
    weakest = min(range(len(labels)), key=lambda place: int(labels[place].max()))
    pairs = enumerate(zip(costs, labels, strict=True))
    return mean_over_tasks(
        [cluster_mean(cost, label, pseudo=pseudo if place == weakest else ()) for place, (cost, label) in pairs]
    )


def _store(
    run: RunWriter, knock_outs: Sequence[KnockOut], draws: Sequence[Task], *, name: str, outcome: str, positions: str
) -> None:
    """One score of one task and number of shots, item by item."""
    from interp.scores import FFNScores, HeadScores

    items = torch.cat([draw.differences(outcome=outcome, positions=positions) for draw in knock_outs])
    named = [draw.items(outcome) for draw in knock_outs]
    columns: dict[str, Any] = {
        "document": [name for names, _ in named for name in names],
        "cluster": [name for _, clusters in named for name in clusters],
        "demo_seed": [task.seed for task, (names, _) in zip(draws, named, strict=True) for _ in names],
    }
    variant = str(KnockOutVariant(outcome, "" if positions == "all" else positions))
    score: HeadScores | FFNScores = (
        FFNScores.from_items(name, items, variant=variant)
        if items.dim() == 2
        else HeadScores.from_items(name, items, variant=variant, n_kv_heads=knock_outs[0].n_kv_heads)
    )
    task = draws[0]
    # The engine has refused what is no number; NaN is what was not removed.
    scores = by_cluster(score, columns["cluster"])
    run.add_scores(scores, task=task.name, shots=task.shots, item_columns=columns, some=True)


def _worst(loss: Tensor, count: int = 3) -> tuple[tuple[str, float], ...]:
    """The components whose removal costs most."""
    flat = loss.flatten().nan_to_num(nan=-torch.inf)
    places = torch.sort(flat, descending=True, stable=True).indices[:count].tolist()
    named = [".".join(str(part) for part in np.unravel_index(at, tuple(loss.shape))) for at in places]
    return tuple((name, float(flat[at])) for name, at in zip(named, places, strict=True))


def estimated_seconds(model: HookedModel, tasks: Sequence[Task], component: str) -> float:
    """The trial's seconds a token, times the tokens of all tasks; the trial is the task with the longest prompts."""
    tokens = [tokens_of(model, first(task, TRIAL)) * len(task.documents) for task in tasks]
    longest = max(range(len(tasks)), key=lambda place: tokens[place])
    trial = first(tasks[longest], TRIAL)
    estimate = estimate_knock_out(model, trial, component=component, limit=len(trial.documents))
    return estimate.seconds / (tokens_of(model, trial) * len(trial.documents)) * sum(tokens)


def tokens_of(model: HookedModel, task: Task) -> float:
    """Mean number of tokens of a document: the prompt once, and all choices."""
    documents = list(task.token_documents(model))
    return sum(len(d.context) + sum(map(len, d.choices)) for d in documents) / len(documents)
