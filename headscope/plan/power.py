"""What a study could show: for each of its claims the smallest effect, and the documents for a wanted one (Method 5).

1. How much an effect differs from document to document: from the run's screen, where there is one, by task: the
   standard deviation over clusters of the gain of choice. A drop varies as the gain does if all of it goes; a removal
   that takes less varies less, so that these are upper limits. Without a screen all is told in standard deviations
   between clusters.
2. The documents that the budget takes of each task, counted on the task itself, in its clusters. Where these hold fewer
   documents than the screen's, documents of a cluster are taken to be independent, an upper limit again.
3. Per claim, with power .8 and two-sided .05 (ablation/statistics/power.py): the smallest effect shown, the documents a
   task for a wanted effect, and the margin within which an effect of 0 would be shown to lie.
The primary is looked at three times (ablation/statistics/looks.py): its level is the last look's. A secondary effect
has the level that Holm gives the smallest p of its family, a head's function vector that of one head among all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scipy.stats import norm, t

from ablation.statistics.intervals import Estimate, mean_over_tasks
from ablation.statistics.looks import obrien_fleming_looks
from ablation.statistics.power import LEVEL, POWER, documents_for, equivalence_bound, planned_estimate, smallest_effect
from ablation.tasks.reserved import RESERVED
from headscope.plan.cost import contest_documents, vector_queries
from headscope.store.comparisons import OUTCOMES, Kind
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.tasks import Task
    from headscope.plan.budget import Budget
    from headscope.stages.cells import TaskChoice
    from headscope.store.run import Run

CHOICE, METRIC = "choice", "metric"
RANKINGS = 5  # drawn at random: their smallest T differ by a few hundredths
SCREEN_CONFIDENCE = 0.95  # of the screen's one-sided bound, which its rows hold
ONE_SIDED = 2 * LEVEL  # the two-sided level whose one side is .05
UNITS = {CHOICE: "nats", METRIC: "of the metric"}


@dataclass(frozen=True)
class Spread:
    """How much a task's effect differs between clusters; passes: whether the screen found it learnt.

    screened: whether the deviation is that of clusters of the screen's size, or of any cluster.
    """

    task: str
    deviation: float
    passes: bool = True
    screened: bool = False


@dataclass(frozen=True)
class Claim:
    """One claim of a study and what its documents can show of it; amounts in `unit`.

    documents: of all its tasks together. wanted: documents a task for the wanted effect. absent: the margin that an
    effect of 0 is shown to lie within. An infinite number: none would do.
    """

    name: str
    outcome: str
    unit: str
    tasks: int
    documents: int
    smallest: float
    effect: float
    wanted: float
    absent: float


@dataclass(frozen=True)
class Power:
    """All claims. screened: whether deviations come from a screen. rank: see `smallest_rank`; None without classes."""

    claims: tuple[Claim, ...]
    screened: bool
    effect: float
    rank: float | None = None
    n_classed: int = 0


def power_of_study(
    choice: TaskChoice,
    budget: Budget,
    *,
    heads: int,
    run: Run | None = None,
    effect: float,
    deviation: float | None = None,
) -> Power:
    """What the study of this choice and budget could show; run: a run directory, whose screen is read.

    heads: of the model.
    deviation: assumed for all tasks where there is no screen; None: effects are told in standard deviations. Raises
    UsageError where the screen has other tasks, or found none that is learnt.
    """
    spreads = {} if run is None else checked_spreads(run, choice.names)
    assumed = spreads or {CHOICE: [Spread(name, 1.0 if deviation is None else deviation) for name in choice.names]}
    unit = "" if spreads or deviation is not None else "sd"
    counted = Documents(choice, budget)
    claims = tuple(
        claim
        for outcome, found in assumed.items()
        for claim in claims_of(outcome, unit or UNITS[outcome], found, counted, effect, heads)
    )
    rank, classed = smallest_rank(run) if run is not None else (None, 0)
    return Power(claims, bool(spreads), effect, rank, classed)


class Documents:
    """The documents that each stage of the budget takes of a task, and their clusters; counted on the task itself."""

    def __init__(self, choice: TaskChoice, budget: Budget) -> None:
        self.choice, self.budget = choice, budget
        self._held: dict[tuple[str, str], tuple[int, int]] = {}

    def of(self, task: str, stage: str) -> tuple[int, int]:
        """Documents and clusters of `screen`, `primary`, `vectors`, `contest`, `knockout` (of FFNs) or `prune`."""
        if (task, stage) not in self._held:
            self._held[task, stage] = self._counted(task, stage)
        return self._held[task, stage]

    def thinner(self, task: str, stage: str) -> float:
        """By how much clusters with fewer documents than the screen's differ more, at most."""
        held, clusters = self.of(task, "screen")
        documents, others = self.of(task, stage)
        return math.sqrt(max(1.0, (held / clusters) / (documents / others)))

    def _counted(self, task: str, stage: str) -> tuple[int, int]:
        split, part, limit = {
            "screen": ("train", "screen", RESERVED),
            "primary": ("validation", "rest", self.budget.primary_documents),
            "vectors": ("train", "rest", vector_queries(self.budget.primary_documents)),
            "contest": ("validation", "rest", contest_documents(self.budget.primary_documents)),
        }.get(stage) or ("validation", "rest", self.budget.units(stage, task))
        held = self._loaded(task, split, part, limit)
        return len(held.documents), len({document.cluster for document in held.documents})

    def _loaded(self, task: str, split: str, part: str, limit: int | None) -> Task:
        from ablation.tasks.loading import load_task

        choice = self.choice
        where: dict[str, Any] = {"seed": choice.seed, "data": choice.data, "bos": choice.bos}
        return load_task(task, shots=0, split=split, part=part, limit=limit, **where)


def claims_of(
    outcome: str, unit: str, spreads: Sequence[Spread], counted: Documents, effect: float, heads: int
) -> Iterator[Claim]:
    """The claims in the order of a study; those of learnt tasks together, and of a single one, the median by spread."""
    learnt = [spread for spread in spreads if spread.passes]
    middle = sorted(learnt, key=lambda spread: spread.deviation)[(len(learnt) - 1) // 2]
    last_look = obrien_fleming_looks().nominal[-1]
    plans = (
        ("a task is learnt from its context", "screen", [middle], ONE_SIDED),
        ("primary: heads carry the gain", "primary", learnt, last_look),
        ("primary, one task", "primary", [middle], last_look),
        ("a secondary: another outcome or way", "primary", learnt, LEVEL / secondaries(counted.budget)),
        ("a head's function vector adds", "vectors", learnt, LEVEL / heads),
        ("contest: a kind of head carries it", "contest", learnt, LEVEL),
        ("knocking an FFN out costs", "knockout", learnt, ONE_SIDED),
        ("a pruned share costs, one task", "prune", [middle], ONE_SIDED),
        ("a pruned share costs", "prune", learnt, ONE_SIDED),
    )
    for name, stage, tasks, level in plans:
        if stage in counted.budget.without or (outcome == METRIC and stage == "vectors"):
            continue  # not reached; function vectors are scored by choice
        if tasks == learnt == [middle] and name in ("primary: heads carry the gain", "a pruned share costs"):
            continue  # the line of one task says the same
        if estimate := estimate_of(tasks, stage, counted):
            yield claim_of(name, outcome, unit, estimate, len(tasks), effect, level)


def secondaries(budget: Budget) -> int:
    """Tests in the family of the secondaries: T, and every outcome and way of removing but the primary's."""
    return len(OUTCOMES) * (1 + len(budget.primary_ways))


def estimate_of(tasks: Sequence[Spread], stage: str, counted: Documents) -> Estimate | None:
    """The mean over tasks that the stage will have, an effect of 0; None where it has too few documents."""
    planned = []
    for spread in tasks:
        documents, clusters = counted.of(spread.task, stage)
        if clusters < 2:
            return None
        thinner = counted.thinner(spread.task, stage) if spread.screened else 1.0
        planned.append(planned_estimate(spread.deviation * thinner, clusters=clusters, documents=documents))
    return mean_over_tasks(planned) if len(planned) > 1 else planned[0]


def claim_of(name: str, outcome: str, unit: str, estimate: Estimate, tasks: int, effect: float, level: float) -> Claim:
    """One line."""
    wanted = documents_for(effect, estimate, level=level)
    return Claim(
        name,
        outcome,
        unit,
        tasks,
        estimate.n_items,
        smallest_effect(estimate, level=level),
        effect,
        float(math.ceil(wanted / tasks)) if math.isfinite(wanted) else math.inf,
        absence_margin(estimate),
    )


def absence_margin(estimate: Estimate) -> float:
    """The margin within which an effect of 0 is shown to lie, in four studies of five."""
    return equivalence_bound(estimate) + float(norm.ppf((1 + POWER) / 2)) * estimate.stderr


def checked_spreads(run: Run, names: Sequence[str]) -> Mapping[str, list[Spread]]:
    """`screened_spreads`, none where there was no screen. Raises UsageError for one that says nothing of the tasks."""
    spreads = screened_spreads(run, names)
    if spreads and not any(spread.passes for spread in spreads.get(CHOICE, ())):
        raise UsageError(
            f"the screen of '{run.folder}' found none of {', '.join(names)} learnt from the context, so that no claim "
            "rests on them: name other tasks (--tasks)"
        )
    screened = sorted(set(run.comparisons.loc[run.comparisons["kind"] == str(Kind.SCREEN), "a"]))
    if screened and not spreads:
        raise UsageError(
            f"the screen of '{run.folder}' is of {', '.join(screened)}, and you asked for {', '.join(names)} (--tasks)"
        )
    return spreads


def screened_spreads(run: Run, names: Sequence[str]) -> Mapping[str, list[Spread]]:
    """What the run's screen says of these tasks, by outcome: their deviation between clusters, and whether they pass.

    The one-sided bound that is stored lies t standard errors below the mean.
    """
    rows = run.comparisons
    passes = rows[rows["kind"] == str(Kind.SCREEN_PASSES)].set_index("a")["value"]
    gains = rows[(rows["kind"] == str(Kind.SCREEN)) & (rows["b"] == "gain") & rows["a"].isin(list(names))]
    found: dict[str, list[Spread]] = {}
    for row in gains.sort_values("a").itertuples(index=False):
        if row.level in UNITS and row.n >= 2 and math.isfinite(row.ci_low):
            stderr = (row.value - row.ci_low) / float(t.ppf(SCREEN_CONFIDENCE, row.n - 1))
            spread = Spread(str(row.a), stderr * math.sqrt(row.n), bool(passes.get(row.a, 0)), screened=True)
            found.setdefault(str(row.level), []).append(spread)
    return {outcome: found[outcome] for outcome in UNITS if outcome in found}


def smallest_rank(run: Run) -> tuple[float | None, int]:
    """The T that 80% of tests would find (Method 5), and how many heads are classed.

    That of the run's importance, where it has been compared; else the median over rankings drawn at random.
    """
    import numpy as np

    from ablation.statistics.class_rank import class_rank
    from ablation.statistics.kv_groups import kv_groups

    table, scores, rows = run.classes, run.head_scores, run.comparisons
    prefix = scores[(scores["score"] == "prefix_matching") & (scores["variant"] == "")]
    classed = table[table["class"] != ""]
    if classed.empty or prefix.empty:
        return None, 0
    layers, heads = int(table["layer"].max()) + 1, int(table["head"].max()) + 1
    compared = rows[rows["kind"] == Kind.CLASS_RANK_DETECTABLE].sort_values("shots")
    if len(compared):
        return float(compared["value"].iloc[-1]), len(classed)
    inside, there = np.zeros((layers, heads), dtype=bool), np.full((layers, heads), np.nan)
    inside[classed["layer"], classed["head"]] = True
    there[prefix["layer"], prefix["head"]] = 0.0
    groups, draw = kv_groups(layers, heads, int(prefix["kv_head"].max()) + 1), np.random.default_rng(0)
    found = [class_rank(there + draw.standard_normal(there.shape), inside, groups=groups) for _ in range(RANKINGS)]
    return float(np.median([one.detectable for one in found])), int(found[0].n_classed)
