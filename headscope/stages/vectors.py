"""The vectors stage: function-vector, task-recognition and task-learning heads (Method 3.5, 3.6).

Of the tasks that passed the screen, on training documents that the screen did not see:
1. `fv` and `fv_prob`, head by head, over tasks; one file of units a few queries. The FV heads stand in the manifest.
2. Each function's vector, as safetensors under vectors/, and whether adding it to prompts without demonstrations raises
   the choice more than layer-matched heads' vectors: `vector_raise` and `vector_beyond` in `comparisons`.
3. `tr`, `tr_share` and `tl`, over the same prompts with right labels.
What a family or a task can't give is left out with its reason in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ablation.names import PATCH_RECHECKED
from headscope.stages.cells import Progress, TaskChoice, Tell, first, sources_of, text_length, unlabelled_rows
from headscope.stages.screening import learnt_tasks
from headscope.store.ahead import ahead
from headscope.store.canonical import digest
from headscope.store.comparisons import FUNCTION_VECTOR, VECTORS, Kind, RankCut, Row, frame, row
from headscope.store.manifest import Stage
from headscope.store.run import open_run
from headscope.store.writer import RunWriter, open_stage
from interp.errors import RefusedModelError, UsageError

if TYPE_CHECKING:
    from ablation.function_vector import VectorTest
    from ablation.function_vectors import FunctionVectors, TaskEffects
    from ablation.label_heads import LabelHeads, LabelPieces
    from ablation.tasks import Task
    from ablation.vector_tasks import VectorTask
    from interp.model import HookedModel

COMMAND = "vectors"
SHARD = 5  # queries a unit
LABELLED = 20  # prompts of a task that label heads are scored on
TESTED = 10  # prompts of a task that its vectors are added to
EFFECTS = ("right_choice", "wrong_choice", "right_prob", "wrong_prob", "plain_choice", "plain_prob")


@dataclass(frozen=True)
class Found:
    """What the stage found. labels: None where no task, or no head of this family, can be scored."""

    vectors: FunctionVectors | None
    labels: LabelHeads | None
    test: tuple[VectorTest, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def vectors_stage(choice: TaskChoice, *, queries: int) -> Stage:
    """The manifest's entry; the most shots of the choice are those of the prompts."""
    options = {"shots": max(choice.shots)}
    return Stage(
        COMMAND, {**choice.protocol, "queries": queries}, seed=choice.seed, tasks=choice.names, options=options
    )


def vector_choice(choice: TaskChoice) -> TaskChoice:
    """The same tasks at the number of shots that function vectors are made of; each prompt has its own examples."""
    from ablation.vector_tasks import SHOTS

    return replace(choice, shots=(SHOTS,), limit=None, demos="document")


def measure_vectors(
    model: HookedModel, folder: str | Path, choice: TaskChoice, *, queries: int, progress: Tell | None = None
) -> Found:
    """Score every head on the tasks that passed the screen; finished units are not run again.

    Raises UsageError where the run holds no screen of these tasks.
    """
    from ablation.function_vectors import FEWEST_QUERIES

    if queries < FEWEST_QUERIES:
        raise UsageError(
            f"function vectors need {FEWEST_QUERIES} usable queries a task, and {queries} are asked for: give "
            f"--queries {FEWEST_QUERIES} or more"
        )
    learnt = learnt_tasks(open_run(folder), choice.names)
    tasks, left_out = loaded_tasks(learnt, choice, queries)
    stage, sources = vectors_stage(choice, queries=queries), sources_of(task.queries for task in tasks)
    with open_stage(model, folder, stage, sources=sources) as run:
        run.record(documents={task.name: task.queries.fingerprint[:16] for task in tasks})
        run.record(unlabelled=unlabelled_rows([task.queries for task in tasks]))
        total = sum(len(task.queries.documents) + LABELLED for task in tasks)
        work = _Vectors(model, run, choice.seed, Progress(total, progress))
        ahead(run.units, (partial(replace(work, counter=Progress(0)).asked, task) for task in tasks))
        vectors = work.function_vectors(tasks, left_out, max(choice.shots))
        test = work.vectors_kept(vectors, tasks) if vectors is not None else ()
        run.replace_comparisons(frame(test_rows(test)), kinds=VECTORS)
        labels = work.label_heads(tasks, left_out)
        run.record(without=left_out, reason="" if learnt else "no task passed the screen")
        if vectors is not None:
            run.record(running_check=PATCH_RECHECKED)
    return Found(vectors, labels, test, left_out)


def loaded_tasks(names: Sequence[str], choice: TaskChoice, queries: int) -> tuple[list[VectorTask], dict[str, str]]:
    """The prompts of every task, and why others have none."""
    from ablation.vector_tasks import vector_task

    tasks, left_out = [], {}
    for name in names:
        try:
            tasks.append(
                vector_task(
                    name, shots=max(choice.shots), queries=queries, seed=choice.seed, data=choice.data, bos=choice.bos
                )
            )
        except UsageError as error:
            left_out[name] = str(error)
    return tasks, left_out


@dataclass(frozen=True)
class _Vectors:
    """One stage at work."""

    model: HookedModel
    run: RunWriter
    seed: int
    counter: Progress

    # --- function vectors ---------------------------------------------------------------------------------------------

    def function_vectors(
        self, tasks: Sequence[VectorTask], left_out: dict[str, str], shots: int
    ) -> FunctionVectors | None:
        """Scores over the tasks with queries enough, stored; None where there is none."""
        from ablation.function_vectors import FEWEST_QUERIES, assembled, usable

        effects: list[TaskEffects] = []
        means: dict[str, Tensor] = {}
        for task in tasks:
            kept, reasons = usable(self.model, task)
            if len(kept) < FEWEST_QUERIES:
                why = f" ({reasons[0]})" if reasons else ""
                left_out[task.name] = (
                    f"{len(kept)} of {len(task.queries.documents)} queries can be used, where {FEWEST_QUERIES} are "
                    f"needed{why}"
                )
                continue
            right, wrong = self.means(task)
            means |= right
            effects.append(self.effects(task, kept, right, wrong, reasons))
        if not effects:
            return None
        vectors = assembled(self.model, effects, means, left_out, shots=shots, seed=self.seed)
        columns = {
            "document": [name for task in effects for name in task.documents],
            "cluster": [f"{task.task}|{name}" for task in effects for name in task.clusters],
            "task": [task.task for task in effects for _ in task.documents],
        }
        for scores in (vectors.scores, vectors.prob):
            self.run.add_scores(scores, item_columns=columns)
        self.run.record(
            fv_heads=[f"{head.layer}.{head.head}" for head in vectors.heads],
            fv_over_tasks=over_tasks(vectors),
            queries={task.task: len(task.documents) for task in effects},
            wrong_labels={task.task: round(task.changed, 3) for task in effects},
        )
        return vectors

    def asked(self, task: VectorTask) -> None:
        """A task's means and the effects that rest on them, for an engine."""
        from ablation.function_vectors import FEWEST_QUERIES, usable

        kept, reasons = usable(self.model, task)
        if len(kept) >= FEWEST_QUERIES:
            self.effects(task, kept, *self.means(task), reasons)

    def means(self, task: VectorTask) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """zbar of every function over right-label prompts and over wrong-label ones."""
        key = {"what": "function_vector_means", **_prompts(task)}
        size = text_length(task.mean) + text_length(task.null)
        unit = self.run.units.get_or_compute(key, partial(_means, self.model, task), size=size)
        right, wrong = (dict(zip(task.functions, unit[name], strict=True)) for name in ("right", "wrong"))
        return right, wrong

    def effects(
        self,
        task: VectorTask,
        kept: Sequence[tuple[Any, Any]],
        right: Mapping[str, Tensor],
        wrong: Mapping[str, Tensor],
        reasons: tuple[str, ...],
    ) -> TaskEffects:
        """Effects of every usable query, a few a unit."""
        from ablation.function_vectors import TaskEffects

        units = []
        for start in range(0, len(kept), SHARD):
            part = kept[start : start + SHARD]
            compute = partial(_effects, self.model, task, part, right, wrong)
            asked = {"asked": task.queries.fingerprint, "queries": [document.id for document, _ in part]}
            key = {"what": "function_vector_effects", **_prompts(task), **asked}
            units.append(self.run.units.get_or_compute(key, compute, size=float(len(part))))
            self.counter.add(len(part), f"{task.name}, function vectors")
        joined: dict[str, Any] = {name: torch.cat([unit[name] for unit in units]) for name in EFFECTS}
        return TaskEffects(
            task=task.name,
            documents=tuple(tokens.id for _, tokens in kept),
            clusters=tuple(tokens.cluster for _, tokens in kept),
            n_mean=len(task.mean.documents),
            changed=task.changed,
            left_out=reasons,
            **joined,
        )

    def vectors_kept(self, vectors: FunctionVectors, tasks: Sequence[VectorTask]) -> tuple[VectorTest, ...]:
        """Save every function's vector, and test it on prompts without demonstrations."""
        from ablation.function_vectors import TOP_SHARE

        scored = {task.task for task in vectors.tasks}
        most = int(np.ceil(TOP_SHARE * int(vectors.scores.mean.isfinite().sum())))
        count = None if vectors.heads else most
        for function in vectors.means:
            self.run.store_vector(function, vectors.vector(count, function=function).content())
        heads = vectors.heads or tuple(vectors.scores.top(most))
        made_of = [f"{head.layer}.{head.head}" for head in heads]
        self.run.record(vector_heads=made_of, vectors=list(vectors.means))
        tests = [partial(self.tested, vectors, task, count, made_of) for task in tasks if task.name in scored]
        try:
            ahead(self.run.units, tests)
            parts = [test() for test in tests]
        except RefusedModelError as error:
            self.run.record(vector_test=str(error))
            return ()
        found = joined_tests([part for part in parts if part])
        if found:
            self.run.record(vector_controls=len(found[0].controls))
        return found

    def tested(
        self, vectors: FunctionVectors, task: VectorTask, count: int | None, made_of: Sequence[str]
    ) -> tuple[VectorTest, ...]:
        """One task's vectors added to some of its prompts, as a unit."""
        from ablation.function_vector import VectorTest

        few = replace(task, plain=first(task.plain, TESTED))
        asked = {"plain": few.plain.fingerprint, "heads": list(made_of), "seed": self.seed}
        key = {"what": "function_vector_test", **_prompts(task), **asked}

        compute = partial(_tested, self.model, vectors, few, count, self.seed)
        unit = self.run.units.get_or_compute(key, compute, size=text_length(few.plain))
        names = tuple(f"{task.name}|{label}" for label in unit["clusters"].tolist())
        return tuple(
            VectorTest(layer, unit["tested"][n].numpy(), unit["controls"][n].numpy(), unit["plain"].numpy(), names)
            for n, layer in enumerate(unit["layers"].tolist())
        )

    # --- label heads --------------------------------------------------------------------------------------------------

    def label_heads(self, tasks: Sequence[VectorTask], left_out: dict[str, str]) -> LabelHeads | None:
        """`tr`, `tr_share` and `tl` over the tasks whose labels can be told apart, stored."""
        from ablation.label_heads import assembled

        ranked = (self.run.manifest.recorded("candidates") or {}).get("ids")  # most frequent first
        pieces, names = [], []
        with suppress(UsageError, RefusedModelError):  # what a model can't give is told below
            ahead(self.run.units, (partial(self.asked_pieces, task, ranked) for task in tasks))
        for task in tasks:
            try:
                pieces.append(self.pieces(task, ranked))
                names.append(task.name)
            except (UsageError, RefusedModelError) as error:
                left_out[f"{task.name}, labels"] = str(error)
            self.counter.add(LABELLED, f"{task.name}, label heads")
        if not pieces:
            return None
        told = {"tasks": names, "shots": tasks[0].mean.shots}
        found = assembled(self.model, pieces, ranked=ranked is not None, seed=self.seed, provenance=told)
        columns = {
            "document": [name for part in pieces for name in part.documents],
            "cluster": [f"{task}|{name}" for task, part in zip(names, pieces, strict=True) for name in part.clusters],
            "task": [task for task, part in zip(names, pieces, strict=True) for _ in part.documents],
        }
        for scores in (found.tr, found.tl, found.tr_share):
            self.run.add_scores(scores, item_columns=columns)
        return found

    def asked_pieces(self, task: VectorTask, ranked: Sequence[int] | None) -> None:
        """For an engine, where there are labels to tell apart."""
        from ablation.label_heads import labelled

        if labelled(self.model, first(task.mean, LABELLED))[0]:
            self.pieces(task, ranked)

    def pieces(self, task: VectorTask, ranked: Sequence[int] | None) -> LabelPieces:
        """One task's, as a unit."""
        from ablation.label_heads import LabelPieces, labelled

        some = first(task.mean, LABELLED)
        kept, reasons = labelled(self.model, some)

        known = ranked is not None and digest(list(ranked))  # False where no run says which tokens are frequent
        key = {"what": "label_heads", "documents": some.fingerprint, "seed": self.seed, "ranked": known}
        key["null"] = "permuted labels"
        compute = partial(_pieces, self.model, some, ranked, self.seed)
        unit = self.run.units.get_or_compute(key, compute, size=text_length(some))
        return LabelPieces(
            items={name: value for name, value in unit.items() if not name.startswith("null_")},
            null_sums={name.removeprefix("null_"): value for name, value in unit.items() if name.startswith("null_")},
            documents=tuple(tokens.id for _, tokens in kept),
            clusters=tuple(tokens.cluster for _, tokens in kept),
            left_out=reasons,
        )


def over_tasks(vectors: FunctionVectors) -> list[list[float]]:
    """Of every FV head, the interval of `fv` were the tasks a sample of many; nothing of a single task."""
    ends = [[float(end[head.layer, head.head]) for end in vectors.over_tasks] for head in vectors.heads]
    return [[round(end, 4) for end in pair] for pair in ends] if len(vectors.tasks) > 1 else []


def _means(model: HookedModel, task: VectorTask) -> dict[str, Tensor]:
    """zbar of every function, stacked."""
    from ablation.function_vectors import mean_z

    both = {"right": mean_z(model, task, "mean"), "wrong": mean_z(model, task, "null")}
    return {name: torch.stack([found[one] for one in task.functions]) for name, found in both.items()}


def _effects(
    model: HookedModel,
    task: VectorTask,
    part: Sequence[tuple[Any, Any]],
    right: Mapping[str, Tensor],
    wrong: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Effects of some queries."""
    from ablation.function_vectors import task_effects

    found = task_effects(model, task, part, right, wrong)
    return {name: getattr(found, name) for name in EFFECTS}


def _tested(
    model: HookedModel, vectors: FunctionVectors, few: VectorTask, count: int | None, seed: int
) -> dict[str, Tensor]:
    """The test of every block; clusters by number."""
    from ablation.function_vector import vector_test

    found = vector_test(model, vectors, few, k=count, seed=seed)
    labels = np.unique(np.asarray(found[0].clusters), return_inverse=True)[1]
    return {
        "layers": torch.tensor([one.layer for one in found]),
        "tested": torch.from_numpy(np.stack([one.tested for one in found])),
        "controls": torch.from_numpy(np.stack([one.controls for one in found])),
        "plain": torch.from_numpy(found[0].plain),
        "clusters": torch.from_numpy(labels.astype(np.int64)),
    }


def _pieces(model: HookedModel, some: Task, ranked: Sequence[int] | None, seed: int) -> dict[str, Tensor]:
    from ablation.label_heads import label_pieces

    found = label_pieces(model, some, by_frequency=ranked, seed=seed)
    return {**found.items, **{f"null_{name}": value for name, value in found.null_sums.items()}}


def _prompts(task: VectorTask) -> dict[str, str]:
    return {"mean": task.mean.fingerprint, "null": task.null.fingerprint}


def joined_tests(parts: Sequence[tuple[VectorTest, ...]]) -> tuple[VectorTest, ...]:
    """The tests of several tasks as one, block by block."""
    from ablation.function_vector import VectorTest

    return tuple(
        VectorTest(
            layer=blocks[0].layer,
            tested=np.concatenate([one.tested for one in blocks]),
            controls=np.concatenate([one.controls for one in blocks], axis=1),
            plain=np.concatenate([one.plain for one in blocks]),
            clusters=tuple(name for one in blocks for name in one.clusters),
        )
        for blocks in zip(*parts, strict=True)
    )


def test_rows(test: Sequence[VectorTest]) -> Iterator[Row]:
    """What the vectors raise the choice by, and by how much more than layer-matched heads' vectors."""
    measures: tuple[tuple[Kind, Callable[[Any], Any]], ...] = (
        (Kind.VECTOR_RAISE, lambda one: one.raised),
        (Kind.VECTOR_BEYOND, lambda one: one.more_than_controls),
    )
    for one in test:
        for kind, estimate_of in measures:
            estimate = estimate_of(one)
            p = one.rank.p if kind is Kind.VECTOR_BEYOND else float("nan")
            key = (FUNCTION_VECTOR, "", 0, RankCut("block", one.layer))
            yield row(kind, *key, estimate.value, interval=estimate.interval(), p=p, n=len(one.tested))
