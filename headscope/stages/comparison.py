"""The comparison stage: everything that Method 5 says about the rankings of a run, from the run directory alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from headscope.comparison.induction_heads import PREFIX, induction_against_importance, primary_shots
from headscope.comparison.matrices import cross_shot, cross_task
from headscope.comparison.overlap import overlaps, retentions
from headscope.comparison.scored import Shelf
from headscope.stages.cells import Progress, Tell
from headscope.store.comparisons import COMPARED, AtShots, Row, frame
from headscope.store.manifest import Stage
from headscope.store.run import open_run
from headscope.store.scores import IMPORTANCE
from headscope.store.writer import begin_stage
from interp.errors import UsageError

VARIANTS = ("token", "signed")


def comparison_stage(seed: int) -> Stage:
    """The manifest's entry."""
    return Stage("compare", "Method 5", seed=seed)


def compare_rankings(folder: str | Path, *, seed: int = 0, progress: Tell | None = None) -> pd.DataFrame:
    """Compare all rankings that a run holds and store the rows in place of an earlier comparison's.

    Raises UsageError where the run holds no importance yet, StoreError where it is no run.
    """
    run = open_run(folder)
    shelf = Shelf(run, seed)
    shots = shelf.shots()
    if not shots:
        raise UsageError(
            f"the run '{run.folder}' holds no importance of any task, so there is nothing to compare. First run "
            f"`{run.command('importance')}`, and for the induction heads `{run.command('induction')}`."
        )
    rows = frame(_all(shelf, shots, progress))
    with begin_stage(run.folder, run.identity, comparison_stage(seed)) as writer:
        writer.replace_comparisons(rows, kinds=COMPARED)
        found = {str(AtShots(IMPORTANCE, count)): list(shelf.tasks(IMPORTANCE, "token", count)) for count in shots}
        writer.record(tasks=found, primary_shots=primary_shots(shelf))
    return rows


def _all(shelf: Shelf, shots: tuple[int, ...], progress: Tell | None) -> list[Row]:
    with_induction = shelf.has(*PREFIX)
    told = Progress(len(VARIANTS) * (len(shots) + 1) + with_induction * (1 + len(shots)), progress)
    rows: list[Row] = []
    for variant in VARIANTS:
        for count in shots:
            rows += cross_task(shelf, variant, count)
            told.add(1, "tasks against tasks")
        rows += cross_shot(shelf, variant)
        told.add(1, "shots against shots")
    if with_induction:
        rows += induction_against_importance(shelf)
        told.add(1, "induction heads against important heads")
        for count in shots:
            rows += [*overlaps(shelf, count), *retentions(shelf, count)]
            told.add(1, "overlap and retention")
    return rows
