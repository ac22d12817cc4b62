"""The contest: which kind of head carries the choice? Sets of every kind removed alike, beside matched controls.

Method 5, after Yin & Steinhardt 2025 (arXiv 2502.14010), who remove heads at the last position only and draw random
heads without regard to layers.
1. An arm is a kind of head: a ranking. Its tested sets are its top heads: as many as there are induction heads
   (`class`; for induction these heads themselves), and the top 1, 2, 5, 10, 20%.
2. Sets have controls matched by layer and key-value group: the class-sized ones, removed by mean, or all of them in all
   ways (`controls_of`). Where induction and function-vector heads overlap, both sets are told once more without what
   the other has.
3. Heads are removed by mean and by zero, at all positions and at the last one; class-sized sets by 25, 50 and 75% too.
   The lowest prefix-matching heads of the induction heads' layers are a negative control.
4. Drop = outcome of the whole model - outcome without the set, at k shots, paired by document: choice, mass, metric.
5. Tasks are told apart: `extractive`, the answer stands in the query; `abstractive`, it does not, and documents of
   these tasks whose answer does (a rule may leave the word as it is) are left out there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ablation.causal import existing
from ablation.control_sets import control_sets, induction_sets
from ablation.evaluation import Evaluate, Evaluation, evaluate, judged
from ablation.gold import gold_documents
from ablation.last_position import without_at_last
from ablation.references import make_replacement
from ablation.replacement import Replacement
from ablation.statistics.intervals import cluster_numbers
from ablation.statistics.kv_groups import kv_groups
from ablation.statistics.standardised import TaskDrops
from ablation.tasks.names import ABSTRACTIVE, EXTRACTIVE, PROBE_KINDS
from interp.errors import UsageError
from interp.masks import HeadMask

if TYPE_CHECKING:
    from interp.model import HookedModel

Head = tuple[int, int]
INDUCTION, FUNCTION, RANDOM = "induction", "function vectors", "random"
RECOGNITION, LEARNING = "task recognition", "task learning"
CLASS, KEPT, LEFT_OUT = "class", "kept", "left out"
TESTED, CONTROL, DOSE, NEGATIVE = "tested", "control", "dose", "lowest prefix matching"
SHARES, DOSES = (1, 2, 5, 10, 20), (0.25, 0.5, 0.75)
CONTROLS = 39
WAYS = (("mean", "all"), ("mean", "last"), ("zero", "all"), ("zero", "last"))
CONTROLLED = WAYS[:2]
OUTCOMES = ("choice", "mass", "metric")
ALL_TASKS = "all tasks"
GROUPS = (EXTRACTIVE, ABSTRACTIVE, ALL_TASKS)
CONTROLS_KIND = "group_matched"


@dataclass(frozen=True)
class ContestSet:
    """Heads that are removed together. share: `class`, or `5%`. dose: how far they are removed, 1 = wholly."""

    arm: str
    share: str
    overlap: str
    role: str
    draw: int
    heads: tuple[Head, ...]
    dose: float = 1.0

    def mask(self, model: HookedModel) -> HeadMask:
        """1 keeps, 0 removes, between interpolates."""
        values = HeadMask.keep_all(model.n_layers, model.n_heads).values.clone()
        for layer, head in self.heads:
            values[layer, head] = 1 - self.dose
        return HeadMask(values)


@dataclass(frozen=True)
class RemovedSet:
    """A set, and how it is removed."""

    heads: ContestSet
    ablation: str
    positions: str


def contest_sets(
    rankings: Mapping[str, Float[np.ndarray, "layer head"]],
    classed: Sequence[Head],
    exists: Bool[np.ndarray, "layer head"],
    *,
    prefix_matching: Float[np.ndarray, "layer head"] | None = None,
    groups: Int[np.ndarray, "layer head"] | None = None,
    shares: Sequence[int] = SHARES,
    doses: Sequence[float] = DOSES,
    controls: int = CONTROLS,
    controls_of: str = CLASS,
    seed: int = 0,
) -> list[ContestSet]:
    """All sets of all arms; rankings by arm, NaN where a head has no score.

    classed: the induction heads. prefix_matching: for the negative control. controls_of: `class`, or `all` for other
    shares too, but for those that leave fewer heads than they take. Raises UsageError where no head is classed.
    """
    if not classed:
        raise UsageError(
            "the contest takes as many heads of every kind as there are induction heads, and there is none"
        )
    size = len(classed)
    tops = {name: top(ranking, size) for name, ranking in rankings.items()}
    tops[INDUCTION] = tuple(sorted(classed))
    made: list[ContestSet] = []
    drawn: dict[str, Any] = {"groups": groups, "n": controls, "seed": seed}

    def beside(tested: ContestSet) -> Iterator[ContestSet]:
        if controls:
            for one in control_sets(tested.heads, exists, kind=CONTROLS_KIND, name=tested.arm, **drawn):
                yield replace(tested, role=CONTROL, draw=one.draw, heads=one.heads)

    for arm, heads in tops.items():
        for overlap, own in _overlaps(arm, tops):
            tested = ContestSet(arm, CLASS, overlap, TESTED, 0, own)
            made += [tested, *beside(tested)]
        made += [ContestSet(arm, CLASS, KEPT, DOSE, 0, heads, dose) for dose in doses]
        for name, own in induction_sets(rankings[arm], percents=shares).items() if arm in rankings else ():
            tested = ContestSet(arm, name.removeprefix("top "), KEPT, TESTED, 0, tuple(sorted(own)))
            made.append(tested)
            if controls_of == "all" and 2 * len(own) <= int(exists.sum()):
                made += beside(tested)
    if prefix_matching is not None:
        lowest = lowest_of_layers(prefix_matching, tops[INDUCTION])
        made.append(ContestSet(INDUCTION, CLASS, KEPT, NEGATIVE, 0, lowest))
    return made


def top(ranking: Float[np.ndarray, "layer head"], count: int) -> tuple[Head, ...]:
    """The highest heads; fewer where fewer have a score."""
    flat = ranking.ravel()
    order = np.argsort(-np.where(np.isnan(flat), -np.inf, flat), kind="stable")[
        : min(count, int((~np.isnan(flat)).sum()))
    ]
    return tuple(sorted((int(place) // ranking.shape[1], int(place) % ranking.shape[1]) for place in order))


def lowest_of_layers(ranking: Float[np.ndarray, "layer head"], tested: Sequence[Head]) -> tuple[Head, ...]:
    """In each layer of the tested set, as many others as it has there, the lowest ones; fewer where it has fewer."""
    chosen: list[Head] = []
    for layer in sorted({layer for layer, _ in tested}):
        there = {head for where, head in tested if where == layer}
        free = [h for h in range(ranking.shape[1]) if h not in there and not math.isnan(ranking[layer, h])]
        chosen += [(layer, head) for head in sorted(free, key=lambda head: ranking[layer, head])[: len(there)]]
    return tuple(sorted(chosen))


def _overlaps(arm: str, tops: Mapping[str, tuple[Head, ...]]) -> Iterator[tuple[str, tuple[Head, ...]]]:
    """An arm's set, and, of the two rivals, once more without what the other has."""
    yield KEPT, tops[arm]
    rival = {INDUCTION: FUNCTION, FUNCTION: INDUCTION}.get(arm)
    other = set(tops.get(rival, ())) if rival else set()
    alone = tuple(head for head in tops[arm] if head not in other)
    if alone and len(alone) < len(tops[arm]):
        yield LEFT_OUT, alone


def controlled(controls_of: str) -> tuple[tuple[str, str], ...]:
    """The ways in which controls are removed."""
    return WAYS if controls_of == "all" else CONTROLLED


def removals(
    sets: Sequence[ContestSet],
    *,
    ways: Sequence[tuple[str, str]] = WAYS,
    controlled: Sequence[tuple[str, str]] = CONTROLLED,
) -> list[RemovedSet]:
    """Which set is removed how: controls in the controlled ways only, doses by mean at all positions only."""
    found = []
    for way in ways:
        for heads in sets:
            left_out = {DOSE: way != WAYS[0], CONTROL: way not in controlled}
            if not left_out.get(heads.role, False):
                found.append(RemovedSet(heads, *way))
    return found


# --- one task --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ContestTask:
    """One task's evaluations: of the whole model, and under every removal. copied: units whose answer stands in the
    query though the task is an abstractive one.
    """

    task: str
    kind: str
    shots: int
    full: Evaluation
    removed: Mapping[RemovedSet, Evaluation]
    copied: frozenset[str] = field(default=frozenset())

    def drop(self, removal: RemovedSet, outcome: str, group: str = ALL_TASKS) -> Float[np.ndarray, "item"]:
        """Outcome of the whole model less that without the set, by unit of the group."""
        drop = self.full.outcome(outcome).minus(self.removed[removal].outcome(outcome))
        return np.asarray(drop.values[self._kept(drop.items, group)])

    def level(self, outcome: str, group: str = ALL_TASKS) -> Float[np.ndarray, "item"]:
        """Outcome of the whole model, by unit of the group."""
        found = self.full.outcome(outcome)
        return np.asarray(found.values[self._kept(found.items, group)])

    def labels(self, outcome: str, group: str = ALL_TASKS) -> Int[np.ndarray, "item"]:
        """The cluster of each unit of the group."""
        found = self.full.outcome(outcome)
        kept = self._kept(found.items, group)
        return cluster_numbers([name for name, own in zip(found.clusters, kept, strict=True) if own])

    def in_group(self, group: str) -> bool:
        return group in (ALL_TASKS, self.kind)

    def _kept(self, items: Sequence[str], group: str) -> Bool[np.ndarray, "item"]:
        return np.array([group == ALL_TASKS or item not in self.copied for item in items], dtype=bool)


AtLast = Callable[..., list[Evaluation]]


def evaluate_at_last(
    model: HookedModel, task: Any, sets: Sequence[Sequence[Head]], replacement: Replacement | None
) -> list[Evaluation]:
    """The task without each set of heads at the last position of its prompts."""
    documents = list(task.token_documents(model))
    return [judged(task, documents, rows) for rows in without_at_last(model, documents, sets, replacement)]


def contest_task(
    model: HookedModel,
    task: Any,
    wanted: Sequence[RemovedSet],
    replacements: Mapping[str, Replacement | None],
    *,
    evaluate: Evaluate = evaluate,
    at_last: AtLast = evaluate_at_last,
    progress: Callable[[int], None] | None = None,
) -> ContestTask:
    """Evaluate a task (k shots, documents that no arm was ranked on) under every removal.

    replacements: by name of ablation, None for zero. evaluate: as ablation.evaluate. at_last: as evaluate_at_last, for
    all sets of an ablation, since a prompt is run once for all that it is asked.
    progress(n) is told after n more removals.
    """
    removed: dict[RemovedSet, Evaluation] = {}
    for removal in (one for one in wanted if one.positions == "all"):
        stand_in = replacements[removal.ablation]
        removed[removal] = evaluate(model, task, heads=removal.heads.mask(model), replacement=stand_in)
        if progress is not None:
            progress(1)
    for name in dict.fromkeys(one.ablation for one in wanted if one.positions == "last"):
        asked = [one for one in wanted if (one.ablation, one.positions) == (name, "last")]
        found = at_last(model, task, [one.heads.heads for one in asked], replacements[name])
        removed |= dict(zip(asked, found, strict=True))
        if progress is not None:
            progress(len(asked))
    kind = PROBE_KINDS.get(task.name, "")
    return ContestTask(
        task=task.name,
        kind=kind,
        shots=task.shots,
        full=evaluate(model, task),
        removed=removed,
        copied=copied_units(task) if kind == ABSTRACTIVE else frozenset(),
    )


def copied_units(task: Any) -> frozenset[str]:
    """Units with a document whose right answer stands in its query, word by word."""
    return frozenset(document.unit for document in task.documents if answer_in_query(document))


def answer_in_query(document: Any) -> bool:
    """Whether the right answer is the query, or words of it in a row."""
    query = _words(document.queries[document.gold])
    answer = _words(document.continuations[document.gold])
    return any(query[start : start + len(answer)] == answer for start in range(len(query) - len(answer) + 1))


def _words(text: str) -> list[str]:
    return [word.strip(",;.:!?()\"'") for word in text.split()]


# --- over tasks ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Match:
    """One tested set by one way of removing, with its controls: `of` gives the drops of every task of a group."""

    tested: RemovedSet
    controls: tuple[RemovedSet, ...]

    def of(self, tasks: Sequence[ContestTask], outcome: str, group: str) -> list[TaskDrops]:
        """What the statistics over tasks are made of; tasks without a unit in the group are left out."""
        found = []
        for task in tasks:
            if not task.in_group(group) or outcome not in task.full.outcomes:
                continue
            own = task.drop(self.tested, outcome, group)
            if not own.size:
                continue
            beside = [task.drop(one, outcome, group) for one in self.controls]
            controls = np.stack(beside) if beside else np.zeros((0, own.size))
            found.append(TaskDrops(task.task, own, controls, task.labels(outcome, group)))
        return found


def matches(wanted: Sequence[RemovedSet]) -> list[Match]:
    """Every tested set, dose and negative control, with the controls that were removed in the same way.

    Doses and the negative control stand alone: the induction heads' controls are matched to these heads, and in a layer
    that they crowd there are fewer lowest heads than induction heads.
    """
    controls: dict[tuple[str, ...], list[RemovedSet]] = {}
    for one in wanted:
        if one.heads.role == CONTROL:
            controls.setdefault(_place(one), []).append(one)
    return [
        Match(one, tuple(controls.get(_place(one), ())) if one.heads.role == TESTED else ())
        for one in wanted
        if one.heads.role != CONTROL
    ]


def _place(one: RemovedSet) -> tuple[str, ...]:
    return (one.heads.arm, one.heads.share, one.heads.overlap, one.ablation, one.positions)


def with_random(
    rankings: Mapping[str, Float[np.ndarray, "layer head"]], exists: Bool[np.ndarray, "layer head"], *, seed: int = 0
) -> dict[str, Float[np.ndarray, "layer head"]]:
    """The arms and one more: heads in random order."""
    drawn = np.where(exists, np.random.default_rng(seed).permutation(exists.size).reshape(exists.shape), np.nan)
    return {**rankings, RANDOM: drawn.astype(np.float64)}


@dataclass(frozen=True, eq=False)
class Contest:
    """All tasks under all removals: `match.of(tasks, ...)` of each of `matches(removals)` gives the drops."""

    tasks: tuple[ContestTask, ...]
    removals: tuple[RemovedSet, ...]


def contest(
    model: HookedModel,
    tasks: Sequence[Any],
    rankings: Mapping[str, Float[np.ndarray, "layer head"]],
    classed: Sequence[Head],
    *,
    references: Mapping[str, Sequence[Any]],
    controls: int = CONTROLS,
    shares: Sequence[int] = SHARES,
    doses: Sequence[float] = DOSES,
    ways: Sequence[tuple[str, str]] = WAYS,
    controls_of: str = CLASS,
    seed: int = 0,
    evaluate: Evaluate = evaluate,
    progress: Callable[[int], None] | None = None,
) -> Contest:
    """Remove heads of every kind alike from tasks with demonstrations.

    rankings: by arm; `induction` is the one by prefix matching, and heads in random order are an arm more. classed: the
    induction heads. references: by task, token documents that are not evaluated, for means. Raises UsageError for a
    task without them.
    """
    if missing := [task.name for task in tasks if task.name not in references]:
        raise UsageError(f"means are made of reference documents, and {', '.join(missing)} has none: give references")
    exists = existing(model)
    sets = contest_sets(
        with_random(rankings, exists, seed=seed),
        classed,
        exists,
        prefix_matching=rankings.get(INDUCTION),
        groups=kv_groups(model.n_layers, model.n_heads, model.n_kv_heads),
        shares=shares,
        doses=doses,
        controls=controls,
        controls_of=controls_of,
        seed=seed,
    )
    wanted = removals(sets, ways=ways, controlled=controlled(controls_of))
    found = []
    for task in tasks:
        means = make_replacement(model, "mean", references[task.name], evaluated=gold_documents(model, task), seed=seed)
        stand_ins = {"mean": means, "zero": None}
        found.append(contest_task(model, task, wanted, stand_ins, evaluate=evaluate, progress=progress))
    return Contest(tuple(found), tuple(wanted))
