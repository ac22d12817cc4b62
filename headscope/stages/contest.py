"""The contest stage: sets of every kind of head removed alike, beside matched controls (Method 5; ablation/contest.py).

Arms come from the run's scores: induction heads, function vectors, task recognition and task learning; concept
induction, and importance to the choice on training documents, are measured here where the run does not have them. The
tasks are those that passed the screen; documents and control sets are the primary's, so that what it has run is read.
Class-sized sets get their controls by mean; other shares and zero are told without, unless all are asked for. What is
left out stands in the manifest; rows are in comparison/contest.py, all sets in items/contest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ablation.causal import existing
from ablation.contest import (
    CLASS,
    CONTROL,
    CONTROLS,
    DOSES,
    FUNCTION,
    INDUCTION,
    KEPT,
    LEARNING,
    RECOGNITION,
    SHARES,
    TESTED,
    WAYS,
    ContestSet,
    ContestTask,
    RemovedSet,
    contest_sets,
    contest_task,
    controlled,
    removals,
    with_random,
)
from ablation.engine.below import first_removed
from ablation.names import DEMO_DRAWS, PATCH_RECHECKED, RECHECKED
from ablation.statistics.standardised import FEWEST_CONTROLS
from headscope.comparison.contest import contest_rows, set_table
from headscope.stages.cells import (
    Progress,
    TaskChoice,
    Tell,
    shards,
    sources_of,
    text_length,
    title_of,
    unlabelled_rows,
)
from headscope.stages.evaluation import EVALUATION_SHARD, StoredEvaluations, replacement_for, way_of
from headscope.stages.induction import entity_sizes
from headscope.stages.primary import REST, SHARD, heads_of_class, layout, listed, with_references
from headscope.stages.screening import learnt_tasks
from headscope.stages.token_counts import recorded_candidates
from headscope.store.ahead import Pending, ahead
from headscope.store.comparisons import CONTEST, frame
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.writer import RunWriter, open_stage
from interp.errors import RefusedModelError, SelfCheckError, UsageError

if TYPE_CHECKING:
    from ablation.evaluation import Evaluation
    from ablation.replacement import Replacement
    from ablation.tasks import Task
    from interp.model import HookedModel

COMMAND = "contest"
ITEMS = "contest"
CONCEPT, IMPORTANCE = "concept", "importance"
STORED = {FUNCTION: "fv", RECOGNITION: "tr", LEARNING: "tl"}
CONCEPT_SCORE = "concept_induction"
HELD = 2  # blocks at which runs begin, whose residual streams are held at once
SHARD_AT_LAST = 5
RANKED = 12  # training documents a task that importance to the choice is measured on
LEAVES_OUT = (UsageError, RefusedModelError, SelfCheckError)  # an arm that a model or a task has not; no broken numbers
Rankings = dict[str, np.ndarray]


@dataclass(frozen=True)
class ContestChoice:
    """How many control sets, which shares beside the class-sized sets, and whether these have controls too (`all`)."""

    controls: int = CONTROLS
    shares: tuple[int, ...] = SHARES
    controls_of: str = CLASS

    def __post_init__(self) -> None:
        if wrong := [share for share in self.shares if not 1 <= share <= 100]:
            raise UsageError(f"a share of heads is 1 to 100 percent, got {wrong[0]} (--shares)")
        if self.controls and self.controls < FEWEST_CONTROLS:
            raise UsageError(
                f"a tested set is compared with {FEWEST_CONTROLS} control sets or more, got {self.controls}: give "
                f"--controls {CONTROLS}, or 0 to leave them out"
            )

    def stage(self, choice: TaskChoice) -> Stage:
        """The manifest's entry; the most shots are those of the prompts."""
        wanted: dict[str, Any] = {"controls": self.controls, "shares": list(self.shares), "doses": list(DOSES)}
        if self.controls_of != CLASS:
            wanted["controls_of"] = self.controls_of
        options = {"shots": max(choice.shots), "ways": ["/".join(way) for way in WAYS]}
        return Stage(COMMAND, {**choice.protocol, **wanted}, seed=choice.seed, tasks=choice.names, options=options)

    def left_out(self) -> list[str]:
        """What the contest could have and this one does not, in words."""
        less = [
            "doses at all positions only, and without controls",
            "sets without shared heads of the class's size only",
        ]
        if bare := ["/".join(way) for way in WAYS if way not in controlled(self.controls_of)]:
            less += [f"no controls of sets removed by {', '.join(bare)}", "no controls of other shares than the class"]
        if missing := [f"{share}%" for share in SHARES if share not in self.shares]:
            less.append(f"no top {', '.join(missing)}")
        if self.controls < CONTROLS:
            less.append(f"{self.controls} control sets an arm in place of {CONTROLS}")
        return less


def measure_contest(
    model: HookedModel, folder: str | Path, choice: TaskChoice, contest: ContestChoice, *, progress: Tell | None = None
) -> pd.DataFrame:
    """Run the contest on the tasks that passed the screen; returns its rows, none where no task passed.

    `choice.shots` hold k, the most. Raises UsageError where the run holds no screen or no induction scores.
    """
    run = open_run(folder)
    learnt = learnt_tasks(run, choice.names)
    name, classed = heads_of_class(run)
    conditions, without = with_references(model, learnt, choice)
    tasks = [condition.few for condition in conditions]
    with open_stage(model, folder, contest.stage(choice), sources=sources_of(tasks)) as writer:
        writer.record(set=name, without_references=without, left_out=contest.left_out())
        if not tasks:
            writer.record(reason="no task passed the screen" if not learnt else "no task has documents enough")
            rows = frame([])
            writer.replace_comparisons(rows, kinds=CONTEST)
            return rows
        work = _Contest(model, writer, choice, progress)
        rankings = work.rankings([task.name for task in tasks])
        sets = contest_sets(
            with_random(rankings, existing(model), seed=choice.seed),
            classed,
            existing(model),
            prefix_matching=rankings[INDUCTION],
            groups=layout(model),
            shares=contest.shares,
            controls=contest.controls,
            controls_of=contest.controls_of,
            seed=choice.seed,
        )
        wanted = removals(sets, controlled=controlled(contest.controls_of))
        writer.record(arms=sorted({one.arm for one in sets}), sets=sets_told(sets))
        writer.record(documents={title_of(task): task.fingerprint[:16] for task in tasks})
        writer.record(unlabelled=unlabelled_rows(tasks))
        work = replace(work, asked=frozenset(_mark(one.heads.mask(model)) for one in wanted if of_primary(one.heads)))
        counter = Progress(len(wanted) * len(tasks), progress)
        ahead(writer.units, (partial(work.contested, task, wanted, Progress(0)) for task in tasks))
        found = [work.contested(task, wanted, counter) for task in tasks]
        rows = frame(contest_rows(found, wanted, layout(model)))
        writer.replace_comparisons(rows, kinds=CONTEST)
        writer.store_items(ITEMS, set_table(found, wanted))
        writer.record(draws=DEMO_DRAWS, running_check=f"{RECHECKED}; {PATCH_RECHECKED}")
    return rows


def of_primary(one: ContestSet) -> bool:
    """Whether the primary question removes this set too: the induction heads and their controls."""
    return (one.arm, one.share, one.overlap) == (INDUCTION, CLASS, KEPT) and one.role in (TESTED, CONTROL)


def sets_told(sets: Sequence[ContestSet]) -> dict[str, list[str]]:
    """The heads of every tested set, by arm and share."""
    told = {}
    for one in sets:
        if one.role not in ("control", "dose"):
            what = "" if one.role == "tested" else f", {one.role}"
            told[f"{one.arm}, {one.share}, {one.overlap}{what}"] = listed(one.heads)
    return told


@dataclass(frozen=True)
class _Contest:
    """One stage at work."""

    model: HookedModel
    writer: RunWriter
    choice: TaskChoice
    tell: Tell | None = None
    evaluators: dict[tuple[int, int], StoredEvaluations] = field(default_factory=dict, repr=False)
    asked: frozenset[bytes] = field(default=frozenset(), repr=False)  # the masks of the primary's sets

    # --- arms ---------------------------------------------------------------------------------------------------------

    def rankings(self, tasks: Sequence[str]) -> Rankings:
        """Every arm that the run and the model can give; why others are missing stands in the manifest."""
        run, missing = Run(self.writer.folder), {}
        stored = set(run.head_scores["score"])
        found: Rankings = {INDUCTION: table_of(run, "prefix_matching")}
        for arm, score in STORED.items():
            if score in stored:
                found[arm] = table_of(run, score)
            else:
                missing[arm] = f"the run holds no score {score}: `headscope vectors` makes it"
        made = {
            CONCEPT: partial(self.concept, run, CONCEPT_SCORE in stored),
            IMPORTANCE: partial(self.importance, tasks),
        }
        for arm, make in made.items():
            try:
                found[arm] = make()
            except LEAVES_OUT as error:
                missing[arm] = str(error)
        self.writer.record(missing_arms=missing)
        return found

    def concept(self, run: Run, stored: bool) -> np.ndarray:
        """Concept induction, measured and stored where the run has none."""
        if not stored:
            import induction
            from induction.sequences import drawn_from

            known = drawn_from(self.model, recorded_candidates(run.manifest), None)
            sizes = entity_sizes(self.model, known)
            self.writer.record(fitted_prompts={"concept": sizes} if sizes else {})
            prompts = induction.entity_prompts(self.model, seed=self.choice.seed, candidates=known, **sizes)
            tell = None if self.tell is None else Progress(len(prompts), self.tell).within(len(prompts), "concept")
            for score in induction.concept_scores(self.model, prompts, units=self.writer.units, progress=tell):
                self.writer.add_scores(score)
        return table_of(run, CONCEPT_SCORE)

    def importance(self, tasks: Sequence[str]) -> np.ndarray:
        """First-order fall of the choice when a head is removed, in nats, by gradient on training documents."""
        parts = [shards(self.ranked(name)) for name in tasks]
        ahead(self.writer.units, (partial(self.unit, shard) for own in parts for shard in own))
        tables = []
        for own in parts:
            tables.append(-torch.cat([self.unit(shard) for shard in own]).double().mean(0))
            if self.tell is not None:
                self.tell(len(tables), len(tasks), "importance to the choice")
        return np.asarray(torch.stack(tables).mean(0).numpy())

    def ranked(self, task: str) -> Task:
        """The training documents that importance to the choice is measured on."""
        from ablation.tasks import load_task

        return load_task(
            task,
            shots=max(self.choice.shots),
            limit=RANKED,
            seed=self.choice.seed,
            data=self.choice.data,
            split="train",
            demos=self.choice.demos,
            bos=self.choice.bos,
            part=REST,
        )

    def unit(self, shard: Task) -> Tensor:
        """z·dL/dz of every head and document, L = -choice."""
        key = {"what": "choice_importance", "documents": shard.fingerprint}
        compute = partial(_choice_importance, self.model, shard)
        return self.writer.units.get_or_compute(key, compute, size=text_length(shard))["head_plain"]

    # --- removals -----------------------------------------------------------------------------------------------------

    def contested(self, task: Task, wanted: Sequence[RemovedSet], counter: Progress) -> ContestTask:
        """One task under every removal; what was run before is read."""
        replacements = {
            name: replacement_for(self.model, self.choice, task, name, seed=self.choice.seed, part=REST)
            for name in dict.fromkeys(one.ablation for one in wanted)
        }
        return contest_task(
            self.model,
            task,
            wanted,
            replacements,
            evaluate=self.evaluate,
            at_last=self.at_last,
            progress=lambda count: counter.add(count, title_of(task)),
        )

    def evaluate(self, model: HookedModel, task: Task, *, heads: Any = None, replacement: Any = None) -> Evaluation:
        """By units; runs of sets that begin at the same block share what stands below it: matched ones mostly do.

        What the primary question removes too is run in its shards, so that it is read; all else in larger ones, which
        run the demonstrations less often.
        """
        begin = 0 if heads is None else first_removed(heads, None)
        shard = SHARD if heads is None or _mark(heads) in self.asked else EVALUATION_SHARD
        if (begin, shard) not in self.evaluators:
            while len(self.evaluators) >= HELD:
                self.evaluators.pop(next(iter(self.evaluators)))
            self.evaluators[begin, shard] = StoredEvaluations(self.writer.units, begin=begin, shard=shard)
        return self.evaluators[begin, shard](model, task, heads=heads, replacement=replacement)

    def at_last(
        self, model: HookedModel, task: Task, sets: Sequence[Sequence[Any]], replacement: Replacement | None
    ) -> list[Evaluation]:
        """Sets removed at the last position, a few documents a unit: each has a row for every set."""
        from ablation.evaluation import judged

        documents, units = list(task.token_documents(model)), []
        start = 0
        for shard in shards(task, SHARD_AT_LAST):
            held = documents[start : start + len(shard.documents)]
            start += len(held)

            key = {
                "what": "removed_at_last",
                "documents": shard.fingerprint,
                "sets": [listed(heads) for heads in sets],
                "ablation": way_of(replacement),
            }
            compute = partial(_at_last, model, held, sets, replacement)
            units.append(self.writer.units.get_or_compute(key, compute, size=text_length(shard)))
        if any(isinstance(unit, Pending) for unit in units):
            blank = [[0.0] * len(document.choices) for document in documents]
            return [judged(task, documents, blank) for _ in sets]
        ends = np.cumsum([len(document.choices) for document in documents])
        values = torch.cat([unit["log_likelihoods"] for unit in units], dim=1).numpy()
        return [judged(task, documents, [part.tolist() for part in np.split(row, ends[:-1])]) for row in values]


def _mark(heads: Any) -> bytes:
    return bytes(heads.values.float().numpy().tobytes())


def _choice_importance(model: HookedModel, shard: Task) -> dict[str, Tensor]:
    from ablation.importance import importance

    documents = list(shard.token_documents(model))
    return {"head_plain": importance(model, documents, objective="choice").head_plain}


def _at_last(
    model: HookedModel, documents: Sequence[Any], sets: Sequence[Sequence[Any]], replacement: Replacement | None
) -> dict[str, Tensor]:
    """Log-likelihoods of every choice, one row a set."""
    from ablation.last_position import without_at_last

    found = without_at_last(model, documents, sets, replacement)
    return {"log_likelihoods": torch.tensor([[v for row in one for v in row] for one in found]).double()}


def table_of(run: Run, score: str) -> np.ndarray:
    """A score of every head, NaN where there is none."""
    return np.asarray(run.head_score(score).mean.double().numpy())
