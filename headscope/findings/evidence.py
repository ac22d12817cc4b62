"""The tables of a run as sentences read them."""

from __future__ import annotations

from math import nan
from typing import Any

import pandas as pd

from headscope.store.comparisons import PRIMARY_ASKED, CausalLevel, Kind
from headscope.store.manifest import Stage
from headscope.store.snapshot import Stored, chosen

CHOICE = PRIMARY_ASKED[0]
PRIMARY_LEVEL = CausalLevel(*PRIMARY_ASKED)  # what the primary question is about (Method 5)


class Evidence(Stored):
    """A run's tables, each read once, and what sections ask of them."""

    def rows(self, **values: Any) -> pd.DataFrame:
        """Rows of `comparisons` with these values."""
        return chosen(self.comparisons, **values)

    def row(self, **values: Any) -> Any:
        """The first of such rows, None without any."""
        return next(self.rows(**values).itertuples(index=False), None)

    def value(self, **values: Any) -> float:
        """The value of the first of such rows, NaN without any."""
        found = self.row(**values)
        return nan if found is None else float(found.value)

    def beside(self, kind: Kind, row: Any) -> Any:
        """The row of another kind that is about the same as this one; None without it."""
        return self.row(kind=kind, a=row.a, b=row.b, shots=row.shots, level=row.level)

    def stage(self, command: str) -> Stage | None:
        """The last stage of this command."""
        return next((stage for stage in reversed(self.run.stages) if stage.command == command), None)

    @property
    def tasks(self) -> set[str]:
        """Every task that some stage was run on."""
        return {task for stage in self.run.stages for task in stage.tasks}

    @property
    def screened(self) -> dict[str, bool]:
        """Every task that was screened, and whether it passed: those that did first."""
        rows = self.rows(kind=Kind.SCREEN_PASSES)
        gains = {task: self.value(kind=Kind.SCREEN, a=task, b="gain", level=CHOICE) for task in rows["a"]}
        passed = dict(zip(rows["a"], rows["value"] == 1, strict=True))
        return {task: passed[task] for task in sorted(passed, key=lambda task: (not passed[task], -gains[task], task))}
