"""The causal stage: in-context learning after removing induction heads, and after removing control sets (METHODS 5).

1. Tested sets: the top 1, 3, 5, 10% by prefix matching, and the heads classed as induction heads (METHODS 2.8).
2. For each, control sets of the same size (ablation/control_sets.py) that hold none of its heads.
3. Outcome: the drop of (k-shot minus 0-shot), paired by document, task by task; then the mean over tasks set by set.
All sets stand in items/causal; `comparisons` has, for a = tested set, b = kind of control, level = outcome/ablation:
`causal_drop` (interval by cluster, rank p against the controls, Holm over the rows of one outcome, n controls) and
`causal_controls` (their median, and 5th to 95th percentile). `causal_gain` is what the demonstrations are worth to the
whole model (n tasks); `causal_repeats` is the manipulation check; control_overlap.py says how alike the controls are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from headscope.comparison.causal import gain_over_tasks, over_tasks, overlap_rows
from headscope.comparison.scored import Shelf
from headscope.stages.cells import Cell, Progress, TaskChoice, Tell, cut_prompts, fingerprints
from headscope.stages.evaluation import Evaluator, ablated, check_references
from headscope.store.comparisons import CAUSAL as CAUSAL_KINDS
from headscope.store.comparisons import FULL, CausalLevel, Kind, Row, frame, row, with_holm
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.snapshot import CAUSAL
from headscope.store.writer import open_stage
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.causal import CausalCheck
    from ablation.control_sets import Head, HeadSet
    from headscope.stages.evaluation import Ablated
    from headscope.store.units import UnitStore
    from headscope.store.writer import RunWriter
    from interp.masks import HeadMask
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
        told = {
            "percents": list(self.percents),
            "ablations": list(self.ablations),
            "kinds": list(self.kinds),
            "controls": self.controls,
            "shots": list(choice.shots),
        }
        return Stage("causal", {**choice.protocol, **told}, seed=choice.seed, tasks=choice.names)


def measure_causal_check(
    model: HookedModel,
    folder: str | Path,
    choice: TaskChoice,
    causal: CausalChoice,
    *,
    cells: tuple[Cell, ...] | None = None,
    progress: Tell | None = None,
) -> pd.DataFrame:
    """Remove induction heads and controls; `choice.shots` are 0 and k, `cells` its validation documents.

    Raises UsageError where the run holds no induction scores yet.
    """
    run = open_run(folder)
    sets, norms = tested_sets(run, causal, max(choice.shots))
    held = choice.cells(SPLIT) if cells is None else cells
    pairs, chosen = paired(held), drawn_sets(model, sets, norms, causal, choice.seed)
    for ablation in causal.ablations:
        check_references(choice, held, ablation)
    with open_stage(model, folder, causal.stage(choice)) as writer:
        sizes = {name: len(heads) for name, heads in sets.items()}
        writer.record(documents=fingerprints(held), sets=sizes, cut=cut_prompts(model, held))
        total = sum(len(few.task.documents) for few, _ in pairs) * len(chosen) * len(causal.ablations)
        told = Progress(total, progress)
        evaluator = Evaluator(model, writer.units)
        checks = [checked(evaluator, choice, causal, pair, chosen, told) for pair in pairs]
        seeds = [few.demo_seed for few, _ in pairs]
        sets_by_task = [check.to_frame().assign(demo_seed=seed) for check, seed in zip(checks, seeds, strict=True)]
        writer.store_items(CAUSAL, pd.concat(sets_by_task, ignore_index=True))
        return store(writer, checks, model, choice, chosen)


def tested_sets(run: Run, causal: CausalChoice, shots: int) -> tuple[dict[str, tuple[Head, ...]], np.ndarray | None]:
    """The sets under test, and the heads' mean |r| for norm-matched controls."""
    from ablation.control_sets import induction_sets

    shelf = Shelf(run)
    if not shelf.has("prefix_matching"):
        raise UsageError(
            f"the run '{run.folder}' holds no induction scores to choose heads by. Run `headscope induction "
            f"-o {run.folder}` first."
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
    from ablation.causal import existing
    from ablation.control_sets import TESTED, all_sets

    found = all_sets(sets, existing(model), norms=norms, controls=causal.controls, seed=seed)
    return [one for one in found if one.kind in (TESTED, *causal.kinds)]


def paired(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Every draw of the k-shot cells beside its task's 0-shot cell."""
    none = {cell.task.name: cell for cell in cells if cell.task.shots == 0}
    few = [cell for cell in cells if cell.task.shots > 0]
    if missing := sorted({cell.task.name for cell in few} - set(none)):
        raise UsageError(f"the causal check compares k shots with none: {', '.join(missing)} has no cell at 0 shots")
    if len({cell.task.shots for cell in few}) != 1:
        raise UsageError("the causal check compares k shots with none: give 0 and one number of shots above 0")
    return [(cell, none[cell.task.name]) for cell in few]


def checked(
    evaluator: Evaluator,
    choice: TaskChoice,
    causal: CausalChoice,
    pair: tuple[Cell, Cell],
    chosen: Sequence[HeadSet],
    told: Progress,
) -> CausalCheck:
    """One task: every set removed in every way from the k-shot and from the 0-shot prompts.

    Tested sets and their layer-matched controls remove nothing below the first tested head: that is run once.
    """
    from ablation.causal import CausalCheck, Removed, Shots
    from ablation.control_sets import TESTED
    from interp.masks import HeadMask

    model, (few, none) = evaluator.model, pair
    begin = min(layer for heads in chosen if heads.kind == TESTED for layer, _ in heads.heads)
    removed = []
    for name in causal.ablations:
        ways = [ablated(model, choice, cell, name, seed=choice.seed) for cell in pair]
        for heads in chosen:
            mask = HeadMask.keep_all(model.n_layers, model.n_heads).without(heads.heads)
            found = [
                evaluator.evaluate(cell, heads=mask, ablated=how, begin=begin)
                for cell, how in zip(pair, ways, strict=True)
            ]
            removed.append(Removed(heads, name, Shots(*found)))
            told.add(len(few.task.documents), f"{few.name}, {heads.tested or heads.kind}")
        evaluator.forget()
    full = Shots(evaluator.evaluate(few), evaluator.evaluate(none))
    return CausalCheck(task=few.task.name, shots=few.task.shots, full=full, removed=tuple(removed))


def store(
    writer: RunWriter, checks: Sequence[CausalCheck], model: HookedModel, choice: TaskChoice, chosen: Sequence[HeadSet]
) -> pd.DataFrame:
    """The summary over tasks, and the manipulation check."""
    rows = [one for outcome in OUTCOMES for one in outcome_rows(checks, outcome)]
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
    for one in over_tasks(checks, outcome):
        place = (one.tested, one.control, shots, CausalLevel(outcome, one.ablation))
        told: dict[str, Any] = {"interval": one.drop.interval(), "p": one.rank.p, "n": one.rank.n_controls}
        tested.append(row(Kind.CAUSAL_DROP, *place, one.drop.value, **told))
        low, high = (float(np.quantile(one.controls, share)) for share in (0.05, 0.95))
        beside.append(row(Kind.CAUSAL_CONTROLS, *place, one.rank.median, interval=(low, high), n=one.rank.n_controls))
    return [whole, *with_holm(tested), *beside]


def repeats(writer: RunWriter, model: HookedModel, choice: TaskChoice, chosen: Sequence[HeadSet]) -> Iterator[Row]:
    """What repeats are worth without each tested set, beside the whole model; `n` counts the heads removed."""
    from ablation.control_sets import TESTED
    from headscope.stages.evaluation import Ablated
    from interp.masks import HeadMask

    loss = RepeatLoss(model, writer.units, seed=choice.seed)
    whole = HeadMask.keep_all(model.n_layers, model.n_heads)
    yield row(Kind.CAUSAL_REPEATS, FULL, "", 0, "zero", loss(whole, Ablated()), n=0)
    for heads in chosen:
        if heads.kind == TESTED:
            value = loss(whole.without(heads.heads), Ablated())
            yield row(Kind.CAUSAL_REPEATS, heads.tested, "", 0, "zero", value, n=len(heads.heads))


class RepeatLoss:
    """Loss with an earlier copy in sight minus loss on the first block, in nats, as work units by mask."""

    def __init__(self, model: HookedModel, units: UnitStore, *, seed: int = 0) -> None:
        self.model, self.units, self.seed = model, units, seed

    @cached_property
    def sequences(self) -> Any:
        import induction

        return induction.repeated_sequences(self.model, length=LENGTH, sequences=SEQUENCES, seed=self.seed)

    def __call__(self, mask: HeadMask, how: Ablated) -> float:
        """The mean over sequences with these heads removed."""
        removed = [list(head) for head in mask.removed()]
        drawn = {"sequences": SEQUENCES, "length": LENGTH, "seed": self.seed}
        key = {"what": "repeat_loss", "removed": removed, "ablation": [how.name, how.told], **drawn}
        unit = self.units.get_or_compute(key, lambda: {"repeat": torch.tensor([self._run(mask, how)])})
        return float(unit["repeat"][0])

    def _run(self, mask: HeadMask, how: Ablated) -> float:
        from induction.in_context import repeat_scores

        reference: Any = how.make()  # None, or means, which know whole sequences
        with self.model.gates(heads=mask, reference=reference):
            return float(repeat_scores(self.model, self.sequences).double().mean())
