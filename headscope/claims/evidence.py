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
from headscope.store.manifest import Stage

HEADS, FFNS = "head/zero", "ffn/zero"


@dataclass(frozen=True)
class Evidence:
    """A run's tables, each read once."""

    run: Run

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        return self.run.comparisons

    @cached_property
    def metrics(self) -> pd.DataFrame:
        return self.run.metrics

    @cached_property
    def ffn_scores(self) -> pd.DataFrame:
        return self.run.ffn_scores

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return self.run.stages

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

    def change(self, component: str, shots: int, order: str, tasks: Iterable[str]) -> pd.DataFrame:
        """Mean over tasks (and draws) of accuracy minus the full model's, by percent of heads and of FFNs removed."""
        rows = chosen(self.metrics, component=component, shots=shots, order=order, metric="acc", ablation="zero",
                      task=list(tasks))  # fmt: skip
        key = ["percent_heads", "percent_ffns"]
        by_task = rows.groupby([*key, "task"])["value"].mean().unstack("task")
        if by_task.empty or (0.0, 0.0) not in by_task.index:
            return pd.DataFrame(columns=["change"])
        return (by_task - by_task.loc[(0.0, 0.0)]).mean(axis=1).to_frame("change")


def at(shots: int) -> str:
    return f"{shots} shot" if shots == 1 else f"{shots} shots"


def percent(value: float) -> str:
    return "not known" if not isfinite(value) else f"{value:.0f}%"


def points(value: float) -> str:
    """A difference of shares, in points."""
    return "not known" if not isfinite(value) else f"{100 * value:+.1f} points"


def number(value: float, form: str = ".2f") -> str:
    return "-" if not isfinite(value) else format(value, form)


def bracket(low: float, high: float, form: str = ".2f") -> str:
    return "" if not isfinite(low) else f" [{low:{form}}, {high:{form}}]"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, followed by an empty line."""
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]
