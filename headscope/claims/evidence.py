"""The tables of a run as the claims read them, and how numbers are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, nan
from typing import Any

import pandas as pd

from headscope.figures.stored import chosen
from headscope.run import Run
from headscope.stages.pruning_together import ABOVE

HEADS, FFNS = "head/zero", "ffn/zero"


@dataclass(frozen=True)
class Evidence:
    """A run's tables, each read once."""

    run: Run

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        return self.run.comparisons

    @cached_property
    def ffn_scores(self) -> pd.DataFrame:
        return self.run.ffn_scores

    def rows(self, **values: Any) -> pd.DataFrame:
        """Rows of `comparisons` with these values."""
        return chosen(self.comparisons, **values)

    def value(self, **values: Any) -> float:
        """The one value of such rows, NaN without any."""
        found = self.rows(**values)["value"]
        return float(found.iloc[0]) if len(found) else nan

    def pruned_shots(self, level: str = HEADS) -> list[int]:
        return sorted({int(shots) for shots in self.rows(kind="full_metric", level=level)["shots"]})

    def tasks(self, shots: int, level: str = HEADS) -> list[str]:
        """Tasks that were pruned at this number of shots."""
        return sorted(set(self.rows(kind="full_metric", level=level, shots=shots)["a"]))

    def at_chance(self, shots: int, level: str = HEADS) -> list[str]:
        """Tasks whose full model is not above chance: plotted, left out of summaries (METHODS 4)."""
        found = self.rows(kind="at_chance", level=level, shots=shots)
        return sorted(found[found["value"] == 1]["a"])

    def untested(self, shots: int, level: str = HEADS) -> list[str]:
        """Tasks of a single cluster of documents, which can't be compared with chance."""
        tested = self.rows(kind="at_chance", level=level, shots=shots)
        return sorted(set(self.tasks(shots, level)) - set(tested["a"]))

    def together(self, kind: str, level: str, shots: int, **values: Any) -> pd.DataFrame:
        """What the tasks above chance lose together, one row an order and step: columns percent, or heads and ffns."""
        rows = self.rows(kind=kind, a=ABOVE, shots=shots, **values)
        rows = rows[rows["level"].str.startswith(f"{level}/")]
        steps = [dict(part.split("=") for part in step.rpartition("/")[2].split(",")) for step in rows["level"]]
        names = {"p": "percent", "h": "heads", "f": "ffns"}
        places = pd.DataFrame(steps, index=rows.index).rename(columns=names).astype(int)
        return rows.join(places) if len(rows) else rows


def at(shots: int) -> str:
    return f"{shots} shot" if shots == 1 else f"{shots} shots"


def percent(value: float) -> str:
    return "not known" if not isfinite(value) else f"{value:.0f}%"


def change_told(rows: pd.DataFrame, unit: str = " points") -> str:
    """A change of accuracy in points with its interval."""
    if rows.empty or not isfinite(rows["value"].iloc[0]):
        return "not known"
    one = 100 * rows[["value", "ci_low", "ci_high"]].iloc[0]
    return f"{one['value']:+.1f}{unit}{bracket(one['ci_low'], one['ci_high'], '+.1f')}"


def number(value: float, form: str = ".2f") -> str:
    return "-" if not isfinite(value) else format(value, form)


def bracket(low: float, high: float, form: str = ".2f") -> str:
    return "" if not isfinite(low) else f" [{low:{form}}, {high:{form}}]"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, followed by an empty line."""
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]
