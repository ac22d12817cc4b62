"""The comparison stage: everything that Method 5 says about the rankings of a run, from the run directory alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from headscope.comparison.class_rank import class_ranks, secondaries
from headscope.comparison.induction_heads import PREFIX, induction_against_importance, primary_shots
from headscope.comparison.knock_out import against_knock_outs
from headscope.comparison.matrices import cross_shot, cross_task
from headscope.comparison.overlap import overlaps, retentions
from headscope.comparison.scored import Shelf
from headscope.stages.cells import Progress, Tell
from headscope.store.comparisons import COMPARED, AtShots, Kind, Row, ScoreName, frame
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.scores import IMPORTANCE, label
from headscope.store.writer import begin_stage
from interp.errors import UsageError


def comparison_stage(seed: int) -> Stage:
    """The manifest's entry."""
    return Stage("compare", "Method 5", seed=seed)


def compare_rankings(folder: str | Path, *, seed: int = 0, progress: Tell | None = None) -> pd.DataFrame:
    """Compare all rankings that a run holds and store the rows in place of an earlier comparison's.

    Raises UsageError where the run holds no importance yet, StoreError where it is no run.
    """
    run = open_run(folder)
    shelf = Shelf(run, seed)
    shots = shelf.importance_shots
    if not shots:
        raise UsageError(
            f"the run '{run.folder}' holds no importance of any task, so there is nothing to compare. First run "
            f"`{run.command('importance')}`, and for the induction heads `{run.command('induction')}`."
        )
    refuse_published(run)
    effects, ranks = secondaries(run.comparisons, list(class_ranks(shelf, max(shots))))
    rows = frame([*_all(shelf, shots, progress), *ranks])
    with begin_stage(run.folder, run.identity, comparison_stage(seed)) as writer:
        writer.replace_comparisons(rows, kinds=COMPARED)
        if len(effects):
            writer.replace_comparisons(effects, kinds=(Kind.PRIMARY_EFFECT,))
        rankings = {
            str(AtShots(str(ScoreName(IMPORTANCE, variant)), count)): list(shelf.tasks(IMPORTANCE, variant, count))
            for variant in shelf.variants
            for count in shelf.shots(IMPORTANCE, variant)
        }
        writer.record(tasks=rankings, primary_shots=primary_shots(shelf))
    return rows


def refuse_published(run: Run) -> None:
    """Raises UsageError where intervals would be lost: they stand in the folder, what they were made from does not."""
    ranked = run.head_scores[(run.head_scores["score"] == IMPORTANCE) & (run.head_scores["task"] != "")]
    keys = ranked[["variant", "task", "shots"]].drop_duplicates().itertuples(index=False, name=None)
    there = set(run.item_names)
    missing = [name for key in keys if (name := f"head-{label(IMPORTANCE, *key)}") not in there]
    stored = run.comparisons[run.comparisons["kind"].isin(COMPARED)]
    if missing and bool(stored["ci_low"].notna().any()):
        raise UsageError(
            f"the run '{run.folder}' holds comparisons with intervals, and not the scores by document that they were "
            f"made from (items/{missing[0]}.parquet): it is a published copy, and comparing again would lose them. "
            "Give the run that it was published from; nothing was changed"
        )


def _all(shelf: Shelf, shots: tuple[int, ...], progress: Tell | None) -> list[Row]:
    with_induction = shelf.has(*PREFIX)
    cells = sum(len(shelf.shots(IMPORTANCE, variant)) + 1 for variant in shelf.variants)
    counter = Progress(cells + with_induction * (1 + len(shots)), progress)
    rows: list[Row] = list(against_knock_outs(shelf))
    for variant in shelf.variants:
        for count in shelf.shots(IMPORTANCE, variant):
            rows += cross_task(shelf, variant, count)
            counter.add(1, "tasks against tasks")
        rows += cross_shot(shelf, variant)
        counter.add(1, "shots against shots")
    if with_induction:
        rows += induction_against_importance(shelf)
        counter.add(1, "induction heads against important heads")
        for count in shots:
            rows += [*overlaps(shelf, count), *retentions(shelf, count)]
            counter.add(1, "overlap and retention")
    return rows
