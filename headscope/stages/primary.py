"""The primary stage: what the choice gain loses when the induction heads are removed, against matched controls.

Method 5.
1. The question is written into the manifest, with a hash, before anything is evaluated.
2. The heads classed as induction heads (Method 2.8; the top 5% by prefix matching where none is classed) are replaced
   by their mean at all positions, on validation documents of the tasks that passed the screen, with and without
   demonstrations; so are 39 sets of as many heads, matched by layer and key-value group, that share few heads.
3. Documents come in three blocks. After each block every task has been run under every set; the study stops where the
   drop beyond the controls is decided (O'Brien and Fleming's looks).
4. Beside it, as secondary questions: replaced by zero, and at the last position only.
5. What repeated tokens are worth without the heads, as a check that removing them removes what they do.
Documents without a choice to make are left out. Rows are in comparison/primary.py; all sets stand in items/primary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ablation.causal import causal_check, existing, removal_ways
from ablation.control_sets import KINDS, all_sets
from ablation.gains import Conditions, load_conditions, with_common_choices
from ablation.names import DEMO_DRAWS, RECHECKED
from ablation.statistics.kv_groups import kv_groups
from ablation.statistics.looks import EVEN
from ablation.statistics.standardised import FEWEST_CONTROLS
from headscope.comparison.primary import PRIMARY_CONTROLS, PRIMARY_WAY, decided, primary_rows
from headscope.comparison.scored import Shelf
from headscope.stages.cells import Progress, TaskChoice, Tell, first, sources_of, title_of, unlabelled_rows
from headscope.stages.evaluation import StoredEvaluations, check_references, replacement_for
from headscope.stages.repeat_loss import RepeatLoss
from headscope.stages.screening import learnt_tasks
from headscope.stages.token_counts import recorded_candidates
from headscope.store.ahead import ahead
from headscope.store.comparisons import (
    FULL,
    INDUCTION_HEADS,
    OUTCOMES,
    PRIMARY,
    RELATED,
    CausalLevel,
    Kind,
    Row,
    frame,
    row,
)
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.writer import open_stage
from interp.errors import UsageError
from interp.masks import HeadMask

if TYPE_CHECKING:
    from ablation.causal import CausalCheck
    from ablation.control_sets import Head, HeadSet
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

COMMAND = "primary"
ITEMS = "primary"
CONTROLS = 39
SHARD = 20
REST = "rest"  # none of the documents that the screen has seen
FALLBACK = 5  # percent by prefix matching, where no head is classed
SECONDARY_WAYS = ("zero", "mean/last")
FEWEST_CLUSTERS = 2


@dataclass(frozen=True)
class PrimaryChoice:
    """How many control sets, by which further ways heads are removed, and whether documents come in blocks."""

    controls: int = CONTROLS
    ways: tuple[str, ...] = SECONDARY_WAYS
    looks: tuple[float, ...] = EVEN

    def stage(self, choice: TaskChoice) -> Stage:
        """The manifest's entry; `shots` are 0 and k."""
        wanted = {"controls": self.controls, "ways": list(self.ways), "looks": list(self.looks)}
        options = {"shots": list(choice.shots)}
        return Stage(COMMAND, {**choice.protocol, **wanted}, seed=choice.seed, tasks=choice.names, options=options)


def question(
    name: str,
    heads: Sequence[Head],
    tasks: Sequence[str],
    choice: TaskChoice,
    primary: PrimaryChoice,
    looks: Sequence[Look],
) -> str:
    """The primary question in words, as it is fixed before anything is evaluated."""
    listed = ", ".join(f"{layer}.{head}" for layer, head in heads)
    shares = ", ".join(f"{look.share:.0%}" for look in looks)
    return (
        f"Pooled over {', '.join(tasks)} with equal weight: how far does the choice gain ({max(choice.shots)} "
        f"demonstrations against none) drop when the {name} ({listed}) are replaced by their mean at all positions, "
        f"against {primary.controls} sets of as many heads matched by layer and key-value group? Read out: the drop "
        "and its 95% interval by document, and the drop beyond the mean of the controls; looked at when "
        f"{shares} of {looks[-1].documents} documents are in (seed {choice.seed})."
    )


def asked_before(run: Run, mark: str) -> list[str]:
    """Hashes of other questions that this folder was asked before: what was evaluated for them is read again."""
    records = [stage.record for stage in run.stages if stage.command == COMMAND and "hash" in stage.record]
    before = [other for record in records for other in (*record.get("earlier", ()), record["hash"])]
    return [other for other in dict.fromkeys(before) if other != mark]


def measure_primary(
    model: HookedModel, folder: str | Path, choice: TaskChoice, primary: PrimaryChoice, *, progress: Tell | None = None
) -> pd.DataFrame:
    """Ask the primary question of the tasks that passed the screen; returns its rows, none where no task passed.

    `choice.shots` are 0 and k. Raises UsageError where the run holds no screen or no induction scores yet.
    """
    run = open_run(folder)
    learnt = learnt_tasks(run, choice.names)
    stage = primary.stage(choice)
    name, heads = heads_of_class(run)
    conditions, without = with_references(model, learnt, choice)
    tasks = tuple(condition.few.name for condition in conditions)
    chosen = sets_of(model, name, heads, primary, choice.seed)
    if reason := unanswerable(tasks, learnt, len(chosen) - 1):
        return unanswered(model, folder, stage, reason, without)
    with open_stage(model, folder, stage, sources=sources_of(condition.few for condition in conditions)) as writer:
        planned = looks_at([len(condition.few.documents) for condition in conditions], primary.looks)
        text = question(name, heads, tasks, choice, primary, planned)
        mark = hashlib.sha256(text.encode()).hexdigest()
        writer.record(question=text, hash=mark, earlier=asked_before(run, mark), tested=listed(heads), set=name)
        writer.record(without_references=without, planned_looks=[look.share for look in planned])
        writer.record(documents={title_of(condition.few): condition.few.fingerprint[:16] for condition in conditions})
        writer.record(unlabelled=unlabelled_rows([condition.few for condition in conditions]))
        ways = (PRIMARY_WAY, *primary.ways)
        total = sum(len(condition.few.documents) for condition in conditions) * len(chosen) * len(ways)
        asked = _Asked(model, writer, choice, conditions, chosen, Progress(total, progress))
        checks, looks = asked.looked(planned)
        further = asked.all_checked(planned[len(looks) - 1], primary.ways) if primary.ways else []
        repeats = repeat_rows(model, writer, chosen[0], choice.seed)
        rows = frame([*primary_rows(checks, further, chosen, layout(model)), *repeats])
        writer.replace_comparisons(rows, kinds=PRIMARY)
        sets = [check.to_frame([*OUTCOMES, *RELATED]) for check in (*checks, *further)]
        writer.store_items(ITEMS, pd.concat(sets, ignore_index=True))
        writer.record(looks=looks, draws=DEMO_DRAWS, running_check=RECHECKED)
    return rows


@dataclass(frozen=True)
class _Asked:
    """One question at work: the tasks in their conditions, and the sets of heads."""

    model: HookedModel
    writer: RunWriter
    choice: TaskChoice
    conditions: Sequence[Conditions]
    chosen: Sequence[HeadSet]
    counter: Progress

    def looked(self, planned: Sequence[Look]) -> tuple[list[CausalCheck], list[dict[str, Any]]]:
        """The checks at the look that decided, or at the last; and what each look said."""
        looks: list[dict[str, Any]] = []
        for place, look in enumerate(planned):
            checks = self.all_checked(look, (PRIMARY_WAY,), after=planned[place - 1] if place else None)
            verdict = decided(checks, place, [one.share for one in planned])
            looks.append({"share": look.share, **verdict})
            if verdict["decided"]:
                break
        return checks, looks

    def all_checked(self, look: Look, ways: Sequence[str], *, after: Look | None = None) -> list[CausalCheck]:
        """Every task under every set, on the first documents; after: the look before, whose documents are counted."""
        parts, muted = self.parts(look), replace(self, counter=Progress(0))
        ahead(self.writer.units, (partial(muted.checked, part, ways, 0) for part in parts))
        fresh = (
            look.counts if after is None else [now - then for now, then in zip(look.counts, after.counts, strict=True)]
        )
        return [self.checked(part, ways, count) for part, count in zip(parts, fresh, strict=True)]

    def parts(self, look: Look) -> list[Conditions]:
        """The first documents of every task, in whole shards."""
        return [
            Conditions(**{name: first(task, count) for name, task in both.tasks.items()})
            for both, count in zip(self.conditions, look.counts, strict=True)
        ]

    def checked(self, part: Conditions, ways: Sequence[str], fresh: int) -> CausalCheck:
        """One task under every set, removed in these ways; what was run before is read. fresh: documents to count."""
        few, none = part.few, part.none
        begin = min(layer for heads in self.chosen for layer, _ in heads.heads)
        names = dict.fromkeys(way.partition("/")[0] for way in ways)
        made = partial(replacement_for, self.model, self.choice, seed=self.choice.seed, part=REST)
        pairs: dict[str, Any] = {name: (made(few, name), made(none, name)) for name in names}
        wanted: dict[str, Any] = {}
        for way in ways:
            name, _, positions = way.partition("/")
            wanted |= removal_ways({name: pairs[name]}, [positions or "all"])
        return causal_check(
            self.model,
            few,
            none,
            self.chosen,
            replacements=wanted,
            evaluate=StoredEvaluations(self.writer.units, begin=begin, shard=SHARD),
            progress=lambda done, total: self.counter.add(fresh, f"{title_of(few)}, set {done} of {total}"),
        )


@dataclass(frozen=True)
class Look:
    """How many documents of each task are in, and which share of all they are."""

    counts: tuple[int, ...]
    share: float

    @property
    def documents(self) -> int:
        return sum(self.counts)


def looks_at(documents: Sequence[int], shares: Sequence[float]) -> list[Look]:
    """The looks that whole shards allow: nearest to the planned shares, each with more documents than the last."""
    planned = dict.fromkeys(tuple(_count(each, share) for each in documents) for share in shares)
    return [Look(counts, sum(counts) / sum(documents)) for counts in planned]


def _count(documents: int, share: float) -> int:
    """So many documents are in at a look: whole shards, at least one, and all at the last."""
    if share >= 1:
        return documents
    return min(documents, max(SHARD, round(documents * share / SHARD) * SHARD))


def unanswerable(tasks: Sequence[str], learnt: Sequence[str], controls: int) -> str:
    """Why the question can't be asked; empty where it can."""
    if not learnt:
        return "no task passed the screen"
    if not tasks:
        return "no task that passed the screen has documents enough to make a mean of"
    if controls < FEWEST_CONTROLS:
        return f"the model has {controls} control sets that match its heads by layer, and it takes {FEWEST_CONTROLS}"
    return ""


def unanswered(
    model: HookedModel, folder: str | Path, stage: Stage, reason: str, without: Mapping[str, str]
) -> pd.DataFrame:
    """The stage where the question can't be asked: it says so, and ends well."""
    empty = frame([])
    with open_stage(model, folder, stage) as writer:
        writer.record(question="", reason=reason, without_references=without)
        writer.replace_comparisons(empty, kinds=PRIMARY)
    return empty


def with_references(
    model: HookedModel, tasks: Sequence[str], choice: TaskChoice
) -> tuple[list[Conditions], dict[str, str]]:
    """The tasks that have documents enough for a mean and for an interval, and why the others have not."""
    complete, without = [], {}
    for task in tasks:
        try:
            conditions, reasons = with_common_choices(model, conditions_of(task, choice))
        except UsageError as error:  # the screen saw all passages that its validation documents are about
            without[task] = str(error)
            continue
        if len({document.cluster for document in conditions.few.documents}) < FEWEST_CLUSTERS:
            why = f" ({reasons[0]})" if reasons else ""
            without[task] = f"{task} has no {FEWEST_CLUSTERS} independent documents with a choice to make{why}"
            continue
        try:
            check_references(choice, (conditions.few, conditions.none), PRIMARY_WAY, part=REST)
        except UsageError as error:
            without[task] = str(error)
        else:
            complete.append(conditions)
    return complete, without


def conditions_of(task: str, choice: TaskChoice) -> Conditions:
    """Validation documents that the screen did not see, with three draws of demonstrations and without."""
    conditions = load_conditions(
        task,
        shots=max(choice.shots),
        split="validation",
        part=REST,
        limit=choice.limit,
        seed=choice.seed,
        data=choice.data,
        demos=choice.demos,
        bos=choice.bos,
    )
    return Conditions(conditions.few, conditions.none)


def repeat_rows(model: HookedModel, writer: RunWriter, tested: HeadSet, seed: int) -> Iterator[Row]:
    """What repeats are worth to the whole model and without the tested set; `n` counts the heads removed."""
    loss = RepeatLoss(model, writer.units, candidates=recorded_candidates(writer.manifest), seed=seed)
    whole, level = HeadMask.keep_all(model.n_layers, model.n_heads), CausalLevel("repeats", "zero")
    ahead(writer.units, (partial(loss, mask) for mask in (whole, whole.without(tested.heads))))
    yield row(Kind.PRIMARY_REPEATS, FULL, "", 0, level, loss(whole), n=0)
    yield row(Kind.PRIMARY_REPEATS, tested.tested, "", 0, level, loss(whole.without(tested.heads)), n=len(tested.heads))


def heads_of_class(run: Run) -> tuple[str, tuple[Head, ...]]:
    """The heads classed as induction heads, or the top by prefix matching. Raises UsageError without their scores."""
    from ablation.control_sets import induction_sets

    shelf = Shelf(run)
    if not shelf.has("prefix_matching"):
        raise UsageError(
            f"the run '{run.folder}' holds no induction scores to choose heads by. Run `{run.command('induction')}` "
            "first."
        )
    heads = shelf.induction_heads
    if heads is not None and heads.any():
        return INDUCTION_HEADS, tuple((int(layer), int(head)) for layer, head in np.argwhere(heads))
    scores = run.head_score("prefix_matching").mean.double().numpy()
    ((share, highest),) = induction_sets(scores, percents=(FALLBACK,)).items()
    return f"{share} of the heads by prefix matching", tuple(sorted(highest))


def sets_of(model: HookedModel, name: str, heads: Sequence[Head], primary: PrimaryChoice, seed: int) -> list[HeadSet]:
    """The tested set and its controls."""
    kinds = [PRIMARY_CONTROLS] if PRIMARY_CONTROLS in KINDS else []
    drawn: dict[str, Any] = {"controls": primary.controls, "kinds": kinds, "groups": layout(model), "seed": seed}
    return list(all_sets({name: heads}, existing(model), **drawn))


def layout(model: HookedModel) -> np.ndarray:
    """The key-value group of every head."""
    return kv_groups(model.n_layers, model.n_heads, model.n_kv_heads)


def listed(heads: Sequence[Head]) -> list[str]:
    return [f"{layer}.{head}" for layer, head in heads]
