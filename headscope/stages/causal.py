"""The causal stage: in-context learning after removing induction heads, and after removing control sets (Method 5).

1. Tested sets: the top 1, 3, 5, 10% by prefix matching, and the heads classed as induction heads (Method 2.8).
2. For each, control sets of the same size (ablation/control_sets.py) that hold none of its heads.
3. Outcome: the drop of (k-shot minus 0-shot), paired by document, task by task; then the mean over tasks set by set.
All sets stand in items/causal; `comparisons` has, for a = tested set, b = kind of control, level = outcome/ablation:
`causal_drop` (interval by cluster, rank p against the controls, Holm over the rows of one outcome, n controls) and
`causal_controls` (their median, and 5th to 95th percentile). `causal_gain` is what the demonstrations are worth to the
whole model (n tasks); `causal_repeats` is the manipulation check; comparison/causal.py says how alike the controls are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from ablation.causal import causal_check, existing
from ablation.control_sets import KINDS, TESTED, all_sets, induction_sets
from headscope.comparison.causal import gain_over_tasks, over_tasks, overlap_rows
from headscope.comparison.scored import Shelf
from headscope.stages.cells import Progress, TaskChoice, Tell, cut_prompts, fingerprints, title_of
from headscope.stages.evaluation import StoredEvaluations, check_references, replacement_for, way_of
from headscope.store.ahead import ahead
from headscope.store.comparisons import CAUSAL as CAUSAL_KINDS
from headscope.store.comparisons import FULL, CausalLevel, Kind, Row, frame, row, with_holm
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.snapshot import CAUSAL
from headscope.store.writer import open_stage
from interp.errors import UsageError
from interp.masks import HeadMask

if TYPE_CHECKING:
    from ablation.causal import CausalCheck
    from ablation.control_sets import Head, HeadSet
    from ablation.replacement import Replacement
    from ablation.tasks import Task
    from headscope.store.units import UnitStore
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

SPLIT = "validation"
CONTROLS = 39
ABLATIONS = ("zero", "mean")
OUTCOMES = ("metric", "log_likelihood")
FALLBACK = (5,)  # the top 5%, where no head is classed and no share was asked for
SEQUENCES, LENGTH = 8, 25


@dataclass(frozen=True)
class CausalChoice:
    """Which sets are removed, how, and against how many controls of which kinds."""

    percents: tuple[int, ...] = (1, 3, 5, 10)
    ablations: tuple[str, ...] = ABLATIONS
    kinds: tuple[str, ...] = ("random", "layer_matched", "norm_matched")
    controls: int = CONTROLS

    def stage(self, choice: TaskChoice) -> Stage:
        """The manifest's entry; `shots` are 0 and k."""
        protocol = {
            "percents": list(self.percents),
            "ablations": list(self.ablations),
            "kinds": list(self.kinds),
            "controls": self.controls,
            "shots": list(choice.shots),
        }
        return Stage("causal", {**choice.protocol, **protocol}, seed=choice.seed, tasks=choice.names)


def measure_causal_check(
    model: HookedModel,
    folder: str | Path,
    choice: TaskChoice,
    causal: CausalChoice,
    *,
    tasks: tuple[Task, ...] | None = None,
    progress: Tell | None = None,
) -> pd.DataFrame:
    """Remove induction heads and controls; `choice.shots` are 0 and k, `tasks` its validation documents.

    Raises UsageError where the run holds no induction scores yet.
    """
    run = open_run(folder)
    sets, norms = tested_sets(run, causal, max(choice.shots))
    loaded = choice.tasks(SPLIT) if tasks is None else tasks
    pairs, chosen = paired(loaded), drawn_sets(model, sets, norms, causal, choice.seed)
    for ablation in causal.ablations:
        check_references(choice, loaded, ablation)
    with open_stage(model, folder, causal.stage(choice)) as writer:
        sizes = {name: len(heads) for name, heads in sets.items()}
        writer.record(documents=fingerprints(loaded), sets=sizes, cut=cut_prompts(model, loaded))
        total = sum(len(few.documents) for few, _ in pairs) * len(chosen) * len(causal.ablations)
        counter = Progress(total, progress)
        run_checked = partial(checked, model, writer.units, choice, causal, chosen=chosen)
        ahead(writer.units, (partial(run_checked, pair=pair, counter=Progress(0)) for pair in pairs))
        checks = [run_checked(pair=pair, counter=counter) for pair in pairs]
        seeds = [few.seed for few, _ in pairs]
        sets_by_task = [check.to_frame().assign(demo_seed=seed) for check, seed in zip(checks, seeds, strict=True)]
        writer.store_items(CAUSAL, pd.concat(sets_by_task, ignore_index=True))
        return store(writer, checks, model, choice, chosen)


def tested_sets(run: Run, causal: CausalChoice, shots: int) -> tuple[dict[str, tuple[Head, ...]], np.ndarray | None]:
    """The sets under test, and the heads' mean |r| for norm-matched controls."""
    shelf = Shelf(run)
    if not shelf.has("prefix_matching"):
        raise UsageError(
            f"the run '{run.folder}' holds no induction scores to choose heads by. First run "
            f"`{run.command('induction')}`."
        )
    heads = shelf.induction_heads
    classed = [] if heads is None else [(int(layer), int(head)) for layer, head in np.argwhere(heads)]
    scores = run.head_score("prefix_matching").mean.double().numpy()
    percents = causal.percents or (() if classed else FALLBACK)
    return induction_sets(scores, classed=classed, percents=percents), shelf.mean_norm(shots)


def drawn_sets(
    model: HookedModel, sets: Mapping[str, Sequence[Head]], norms: np.ndarray | None, causal: CausalChoice, seed: int
) -> list[HeadSet]:
    """Every tested set with its controls of the wanted kinds."""
    kinds = [kind for kind in KINDS if kind in causal.kinds and (norms is not None or kind != "norm_matched")]
    return list(all_sets(sets, existing(model), norms=norms, controls=causal.controls, kinds=kinds, seed=seed))


def paired(tasks: Sequence[Task]) -> list[tuple[Task, Task]]:
    """Every draw of the k-shot tasks beside the same task at 0 shots."""
    none = {task.name: task for task in tasks if task.shots == 0}
    few = [task for task in tasks if task.shots > 0]
    if missing := sorted({task.name for task in few} - set(none)):
        raise UsageError(f"the causal check compares k shots with none: {', '.join(missing)} is not there at 0 shots")
    if len({task.shots for task in few}) != 1:
        raise UsageError("the causal check compares k shots with none: give 0 and one number of shots above 0")
    return [(task, none[task.name]) for task in few]


def checked(
    model: HookedModel,
    units: UnitStore,
    choice: TaskChoice,
    causal: CausalChoice,
    pair: tuple[Task, Task],
    chosen: Sequence[HeadSet],
    counter: Progress,
) -> CausalCheck:
    """One task: every set removed in every way from the k-shot and from the 0-shot prompts.

    Tested sets and their layer-matched controls remove nothing below the first tested head: that is run once.
    """
    few, none = pair
    begin = min(layer for heads in chosen if heads.kind == TESTED for layer, _ in heads.heads)
    ways: dict[str, Any] = {}
    for name in causal.ablations:
        ways[name] = tuple(replacement_for(model, choice, task, name, seed=choice.seed) for task in pair)
    return causal_check(
        model,
        few,
        none,
        chosen,
        replacements=ways,
        evaluate=StoredEvaluations(units, begin=begin),
        progress=lambda done, total: counter.add(len(few.documents), f"{title_of(few)}, set {done} of {total}"),
    )


def store(
    writer: RunWriter, checks: Sequence[CausalCheck], model: HookedModel, choice: TaskChoice, chosen: Sequence[HeadSet]
) -> pd.DataFrame:
    """The summary over tasks, and the manipulation check."""
    rows = [line for outcome in OUTCOMES for line in outcome_rows(checks, outcome)]
    rows += [*overlap_rows(chosen, checks[0].shots), *repeats(writer, model, choice, chosen)]
    table = frame(rows)
    writer.replace_comparisons(table, kinds=CAUSAL_KINDS)
    return table


def outcome_rows(checks: Sequence[CausalCheck], outcome: str) -> list[Row]:
    """The mean over tasks of every tested set's drop, against the same mean of its controls."""
    tested, beside = [], []
    shots = checks[0].shots
    gain = gain_over_tasks(checks, outcome)
    whole = row(Kind.CAUSAL_GAIN, FULL, "", shots, outcome, gain.value, interval=gain.interval(), n=gain.n_tasks)
    for estimate in over_tasks(checks, outcome):
        key = (estimate.tested, estimate.control, shots, CausalLevel(outcome, estimate.ablation))
        drop, rank = estimate.drop, estimate.rank
        tested.append(row(Kind.CAUSAL_DROP, *key, drop.value, interval=drop.interval(), p=rank.p, n=rank.n_controls))
        low, high = (float(np.quantile(estimate.controls, share)) for share in (0.05, 0.95))
        beside.append(row(Kind.CAUSAL_CONTROLS, *key, rank.median, interval=(low, high), n=rank.n_controls))
    return [whole, *with_holm(tested), *beside]


def repeats(writer: RunWriter, model: HookedModel, choice: TaskChoice, chosen: Sequence[HeadSet]) -> Iterator[Row]:
    """What repeats are worth without each tested set, beside the whole model; `n` counts the heads removed."""
    loss = RepeatLoss(model, writer.units, seed=choice.seed)
    whole = HeadMask.keep_all(model.n_layers, model.n_heads)
    yield row(Kind.CAUSAL_REPEATS, FULL, "", 0, "zero", loss(whole), n=0)
    for heads in chosen:
        if heads.kind == TESTED:
            value = loss(whole.without(heads.heads))
            yield row(Kind.CAUSAL_REPEATS, heads.tested, "", 0, "zero", value, n=len(heads.heads))


class RepeatLoss:
    """Loss with an earlier copy in sight minus loss on the first block, in nats, as work units by mask."""

    def __init__(self, model: HookedModel, units: UnitStore, *, seed: int = 0) -> None:
        self.model, self.units, self.seed = model, units, seed

    @cached_property
    def sequences(self) -> Any:
        import induction

        return induction.repeated_sequences(self.model, length=LENGTH, sequences=SEQUENCES, seed=self.seed)

    def __call__(self, mask: HeadMask, replacement: Replacement | None = None) -> float:
        """The mean over sequences with these heads removed."""
        removed = [list(head) for head in mask.removed()]
        drawn = {"sequences": SEQUENCES, "length": LENGTH, "seed": self.seed}
        key = {"what": "repeat_loss", "removed": removed, "ablation": way_of(replacement), **drawn}
        unit = self.units.get_or_compute(key, lambda: {"repeat": torch.tensor([self._run(mask, replacement)])})
        return float(unit["repeat"][0])

    def _run(self, mask: HeadMask, replacement: Any) -> float:
        from induction.in_context import repeat_scores

        # Nothing, or means, which know whole sequences.
        with self.model.gates(heads=mask, reference=replacement):
            return float(repeat_scores(self.model, self.sequences).double().mean())
