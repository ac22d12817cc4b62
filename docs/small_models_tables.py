"""What was measured of the small models, as tables: read from the folder of their page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

TABLES = ("models", "losses", "heads", "checkpoints", "tasks", "removals")
NAMES = {"small_recall": "recall", "small_kinds": "kinds", "small_facts": "facts"}
THRESHOLD = 0.4  # of prefix matching, Method 2.8
DETAIL = "llama-l2-d64"
Z = 1.96


@dataclass(frozen=True)
class Tables:
    """The CSV files of a folder, models in the order of their size."""

    models: pd.DataFrame
    losses: pd.DataFrame
    heads: pd.DataFrame
    checkpoints: pd.DataFrame
    tasks: pd.DataFrame
    removals: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Tables:
        held = {name: pd.read_csv(folder / f"{name}.csv", keep_default_na=False) for name in TABLES}
        held["models"] = held["models"].sort_values(["layers", "family", "width"], ascending=[True, False, True])
        return cls(**held)

    @property
    def names(self) -> list[str]:
        return list(self.models["model"])

    def layers(self, model: str) -> int:
        return int(self.models.set_index("model").loc[model, "layers"])

    def shallow(self) -> list[str]:
        """Models of one layer."""
        return [name for name in self.names if self.layers(name) == 1]

    def deep(self) -> list[str]:
        """Models of two layers or more."""
        return [name for name in self.names if self.layers(name) > 1]

    def over_steps(self, model: str, task: str = "") -> pd.DataFrame:
        """A model's rows of `checkpoints`, or of a task, by step."""
        rows = self.tasks[self.tasks["task"] == task] if task else self.checkpoints
        return rows[rows["model"] == model].sort_values("step").set_index("step")

    def last(self, model: str, task: str = "") -> pd.Series:
        return self.over_steps(model, task).iloc[-1]

    def first_step(self, model: str) -> int | None:
        """The first checkpoint with an induction head."""
        steps = self.over_steps(model)
        found = steps.index[steps["induction_heads"] > 0]
        return int(found[0]) if len(found) else None
