"""The tables of a run, each read once, and as arrays where arrays are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from ablation.statistics.aggregate import tasks_aggregate
from headscope.store.scores import IMPORTANCE

if TYPE_CHECKING:
    from headscope.store.run import Run


@dataclass(frozen=True)
class Stored:
    """The tables of a run for as long as figures are drawn from it."""

    run: Run

    @cached_property
    def head_scores(self) -> pd.DataFrame:
        return self.run.head_scores

    @cached_property
    def ffn_scores(self) -> pd.DataFrame:
        return self.run.ffn_scores

    @cached_property
    def metrics(self) -> pd.DataFrame:
        return self.run.metrics

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        return self.run.comparisons

    @cached_property
    def classes(self) -> Shaped[np.ndarray, "layer head"] | None:
        """Each head's class as text; None where no classes were stored."""
        rows = self.run.classes
        if rows.empty:
            return None
        grid = np.full((int(rows["layer"].max()) + 1, int(rows["head"].max()) + 1), "", dtype=object)
        grid[rows["layer"], rows["head"]] = rows["class"]
        return grid

    def aggregate(self, variant: str, shots: int) -> Float[np.ndarray, "layer head"] | None:
        """Importance over tasks (Method 4): each task's scores over their total, then averaged; None without any."""
        rows = chosen(self.head_scores, score=IMPORTANCE, variant=variant, shots=shots)
        tables = [grid(part) for task, part in rows.groupby("task", sort=True) if task]
        mean = tasks_aggregate(np.stack(tables)) if tables else None
        return mean.table if mean is not None and mean.used.any() else None


def chosen(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows with these values; a list means any of them."""
    mask = pd.Series(True, index=frame.index)
    for name, value in values.items():
        value = str(value) if hasattr(value, "parse") else value
        mask &= frame[name].isin(value) if isinstance(value, list | tuple | set) else frame[name] == value
    return frame[mask]


def grid(rows: pd.DataFrame, column: str = "mean") -> Float[np.ndarray, "layer head"]:
    """One score's rows as an array."""
    values = np.full((int(rows["layer"].max()) + 1, int(rows["head"].max()) + 1), np.nan)
    values[rows["layer"], rows["head"]] = rows[column]
    return values


def combinations(frame: pd.DataFrame, *names: str) -> list[Mapping[str, Any]]:
    """The sets of values that occur in these columns, sorted."""
    rows = frame[list(names)].drop_duplicates().sort_values(list(names))
    return [dict(zip(names, row, strict=True)) for row in rows.itertuples(index=False, name=None)]
