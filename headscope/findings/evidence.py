"""The tables of a run as the claims read them, and how numbers are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, nan
from typing import Any

import numpy as np
import pandas as pd

from headscope.store.comparisons import POOLED, Kind, PruningLevel
from headscope.store.snapshot import Stored, chosen

HEADS, FFNS, JOINT = (PruningLevel(component, "zero") for component in ("head", "ffn", "both"))
TRAINING = "on its training documents"
RANKED = {
    "token": f"token importance {TRAINING}",
    "document": f"document importance {TRAINING}",
    "signed": f"signed importance {TRAINING}",
    "knock_out": f"knock-out {TRAINING} (how far the right answer's log-likelihood falls without this FFN alone)",
}


class Evidence(Stored):
    """A run's tables, each read once, and what claims ask of them."""

    def rows(self, **values: Any) -> pd.DataFrame:
        """Rows of `comparisons` with these values."""
        return chosen(self.comparisons, **values)

    def value(self, **values: Any) -> float:
        """The one value of such rows, NaN without any."""
        column = self.rows(**values)["value"]
        return float(column.iloc[0]) if len(column) else nan

    def pruned_shots(self, level: PruningLevel = HEADS) -> list[int]:
        return sorted({int(shots) for shots in self.rows(kind=Kind.FULL_METRIC, level=level)["shots"]})

    def tasks(self, shots: int, level: PruningLevel = HEADS) -> list[str]:
        """Tasks that were pruned at this number of shots."""
        return sorted(set(self.rows(kind=Kind.FULL_METRIC, level=level, shots=shots)["a"]))

    def at_chance(self, shots: int, level: PruningLevel = HEADS) -> list[str]:
        """Tasks whose full model is not above chance: plotted, left out of summaries (Method 4)."""
        tested = self.rows(kind=Kind.AT_CHANCE, level=level, shots=shots)
        return sorted(tested[tested["value"] == 1]["a"])

    def chance_told(self, shots: int) -> str:
        """For a mean over all tasks: how many of them are at chance, where that was measured."""
        low = {*self.at_chance(shots), *self.untested(shots)}
        if not self.tasks(shots):
            return "those at chance too"
        if not low:
            return "all of them above chance"
        return f"{len(low)} of them ({', '.join(sorted(low))}) not shown to be above chance"

    def untested(self, shots: int, level: PruningLevel = HEADS) -> list[str]:
        """Tasks of a single cluster of documents, which can't be compared with chance."""
        tested = self.rows(kind=Kind.AT_CHANCE, level=level, shots=shots)
        return sorted(set(self.tasks(shots, level)) - set(tested["a"]))

    def pooled(self, shots: int, level: PruningLevel = HEADS) -> list[str]:
        """Tasks that the rows over tasks are over; none where they were stored without saying so."""
        return sorted(self.rows(kind=Kind.POOLED_TASK, level=level, shots=shots, value=1)["b"])

    def clusters(self, task: str, shots: int, level: PruningLevel = HEADS) -> int:
        """Independent clusters of a task's documents; 1 where they are too few for any interval."""
        counts = self.rows(kind=Kind.UNCHANGED_BOUND, level=level, shots=shots, a=task)["n"]
        return int(counts.iloc[0]) if len(counts) else 1

    def steps(self, level: PruningLevel, shots: int, order: str, task: str = POOLED) -> list[int]:
        """The percentages that were removed, ascending, without 0."""
        sizes = self.together(Kind.PRUNED_METRIC, level, shots, b=order)
        if task != POOLED:
            rows = chosen(
                self.metrics, task=task, shots=shots, component=level.component, order=order, ablation=level.ablation
            )
            sizes = pd.DataFrame({"percent": rows["percent_heads"] + rows["percent_ffns"]}) if len(rows) else sizes
        return sorted({int(percent) for percent in sizes["percent"] if percent > 0}) if len(sizes) else []

    def ranked_by(self, component: str) -> str:
        """What a task's own ranking is made from, in words."""
        for stage in self.run.stages:
            if stage.command == f"prune --component {component}" and isinstance(stage.protocol, Mapping):
                knocked = component == "ffn" and stage.protocol.get("ffn_ranking") == "knock_out"
                name = "knock_out" if knocked else str(stage.protocol.get("ranking"))
                return RANKED.get(name, f"scores {TRAINING}")
        return f"scores {TRAINING}"

    def together(self, kind: Kind, level: PruningLevel, shots: int, **values: Any) -> pd.DataFrame:
        """What the tasks above chance lose together, one row an order and step: columns percent, or heads and ffns."""
        rows = self.rows(kind=kind, a=POOLED, shots=shots, **values)
        rows = rows[np.array([PruningLevel.parse(step).whole == level for step in rows["level"]], dtype=bool)]
        steps = [vars(PruningLevel.parse(step)) for step in rows["level"]]
        sizes = pd.DataFrame(steps, index=rows.index, columns=["percent", "heads", "ffns"]).dropna(axis=1)
        return rows.join(sizes.astype(int)) if len(rows) else rows


def at(shots: int) -> str:
    return f"{shots} shot" if shots == 1 else f"{shots} shots"


def over_others(rows: pd.DataFrame, count: int) -> str:
    """Said where a mean is over another number of tasks than what it stands beside."""
    return "" if rows.empty or int(rows["n"].iloc[0]) == count else f" (over {tasks_told(rows['n'].iloc[0])})"


def change_told(rows: pd.DataFrame, unit: str = " points") -> str:
    """A change of accuracy in points with its interval."""
    if rows.empty or not isfinite(rows["value"].iloc[0]):
        return "not known"
    percent = 100 * rows[["value", "ci_low", "ci_high"]].iloc[0]
    return f"{percent['value']:+.1f}{unit}{bracket(percent['ci_low'], percent['ci_high'], '+.1f')}"


def formatted(value: float, form: str = ".2f") -> str:
    return "-" if not isfinite(value) else format(value, form)


def tasks_told(count: Any) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def bracket(low: float, high: float, form: str = ".2f") -> str:
    return "" if not isfinite(low) else f" [{low:{form}}, {high:{form}}]"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, followed by an empty line."""
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]
