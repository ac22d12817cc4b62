"""The tables of a run directory: columns, types, and how new rows meet old ones.

A table is one parquet file. Rows that share its `key` were computed together and are replaced together; `order` names
a row and sorts the file, so that the order of writing leaves no trace.

What `comparisons` holds (columns kind, a, b, level):

| kind | a, b | level | value |
|---|---|---|---|
| cross_task | tasks | a statistic | correlation |
| cross_shot | `TASK@0`, `TASK@5` (shots = -1) | a statistic | correlation |
| induction_importance | a score, an importance | a statistic | correlation |
| overlap | two rankings | `q=1` .. `q=30` | share of the top q% in common; p |
| overlap_expected_free, overlap_expected_layer | two rankings | `q=1` .. `q=30` | the share chance gives |
| retention_raw, retention_excess | a score, an importance | `p=0` .. `p=90` | share of the score left |

These are compare's (comparisons.py lists all of them). Those of prune stand in comparison/pruning_task.py and
pruning_tasks.py, of the primary in comparison/primary.py, of needed FFNs in stages/knock_out.py.
Statistics: global, within_layer, global_corrected, within_layer_corrected, kendall, bansal_released.
Scores and rankings are written `name` or `name/variant`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from headscope.store.parquet import AGAIN, decode, other_columns
from headscope.store.sealed import read_sealed
from interp.errors import StoreError, UsageError
from interp.token_display import counted

SCORE_KEY = ("score", "variant", "task", "shots")
SCORE_VALUES = {name: "float32" for name in ("mean", "std", "ci_low", "ci_high", "null_mean", "p", "p_family")}
SCORE_COLUMNS = {"score": "str", "variant": "str", "task": "str", "shots": "int64"}
SWEEP = {
    "task": "str",
    "shots": "int64",
    "demo_seed": "int64",
    "component": "str",
    "order": "str",
    "order_seed": "int64",
    "ablation": "str",
    "percent_heads": "float64",
    "percent_ffns": "float64",
    "removed_heads": "int64",
    "removed_ffns": "int64",
    "metric": "str",
}
ORDER_KEY = ("task", "shots", "component", "order", "ablation")


# What no row can hold, whatever its table; a grid of layers and heads is made from the first two.
LIMITS = {
    **dict.fromkeys(("layer", "head", "kv_head"), (0, 99_999)),
    **dict.fromkeys(("demo_seed", "order_seed", "removed_heads", "removed_ffns", "n"), (0, 2**63 - 1)),
    **dict.fromkeys(("p", "p_family", "p_holm"), (0, 1)),
    "shots": (-1, 2**31 - 1),
}
MOST_CELLS = 2_000_000  # of all grids that a table's scores are laid out in; their rows need not be there
UNBOUNDED = ("comparisons",)  # no number of documents may decide a question


@dataclass(frozen=True)
class Table:
    """One parquet file: its columns and their types, the key of rows replaced together, the columns that name a row."""

    name: str
    columns: Mapping[str, str]
    key: tuple[str, ...]
    order: tuple[str, ...]
    defaults: Mapping[str, Any]

    def path(self, folder: Path) -> Path:
        return folder / f"{self.name}.parquet"

    def empty(self) -> pd.DataFrame:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in self.columns.items()})

    @property
    def file(self) -> str:
        return f"{self.name}.parquet"

    def read(self, folder: Path, *, rewriting: bool = False) -> pd.DataFrame:
        """The stored rows; none where there was never a file, or `rewriting` one that was lost.

        Raises StoreError for a damaged, lost or foreign file, and for rows that this table can't hold.
        """
        content = read_sealed(folder, self.file, rewriting=rewriting)
        if content is None:
            return self.empty()
        path = self.path(folder)
        frame = decode(content, path, partial(other_columns, columns=self.columns)).astype(dict(self.columns))
        if problem := self.impossible(frame):
            raise StoreError(
                f"{path.name} in '{folder}' {problem}: it was damaged, or written by another program. {AGAIN}"
            )
        return frame

    def impossible(self, frame: pd.DataFrame) -> str:
        """What no row of this table can hold, in words; empty where all can be."""
        for name, (low, high) in LIMITS.items():
            if name in frame and len(outside := frame[name][(frame[name] < low) | (frame[name] > high)]):
                return f"holds {name} {outside.iloc[0]}, expected {low:g} to {high:g}"
        if problem := self.sparse(frame):
            return problem
        for name, dtype in self.columns.items():
            if dtype.startswith("float") and self.name not in UNBOUNDED and np.isinf(frame[name]).any():
                return f"holds an infinite {name}"
            if not dtype.startswith("float") and frame[name].isna().any():
                return f"holds a row without {name}"
        return f"holds two rows of the same {', '.join(self.order)}" if _index(frame, self.order).has_duplicates else ""

    def sparse(self, frame: pd.DataFrame) -> str:
        """Too few rows for the grids that readers make of them, one a score, in words; empty where there is no such."""
        axes = [name for name in ("layer", "head") if name in frame]
        if not axes or frame.empty:
            return ""
        scores = len(frame[[name for name in self.order if name not in axes]].drop_duplicates())
        cells = scores * math.prod(int(frame[name].max()) + 1 for name in axes)
        if cells <= max(MOST_CELLS, 10 * len(frame)):
            return ""
        return f"holds {len(frame):,} rows for {counted(scores, 'score')} of {cells:,} cells together"

    def merged(self, old: pd.DataFrame, new: pd.DataFrame, *, replacing: pd.DataFrame | None = None) -> pd.DataFrame:
        """Old rows without those that the new ones replace, the new rows, all in the table's order.

        replacing: rows whose keys go even where the new rows do not have them.
        """
        fresh = self.checked(new)
        gone = _index(fresh if replacing is None else replacing, self.key)
        kept = old[~_index(old, self.key).isin(gone)] if len(gone) else old
        rows = pd.concat([part for part in (kept, fresh) if len(part)] or [fresh], ignore_index=True)
        if problem := self.sparse(rows):
            raise UsageError(f"with what is to be stored {self.name} {problem}")
        return rows.sort_values(list(self.order), kind="stable", ignore_index=True)

    def checked(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows in the table's columns and types. Raises UsageError for rows that do not belong into it."""
        given = frame.assign(**{name: value for name, value in self.defaults.items() if name not in frame})
        missing, unknown = set(self.columns) - set(given), set(given) - set(self.columns)
        if missing or unknown:
            raise UsageError(
                f"rows for {self.name} lack the columns {sorted(missing)} and have the unknown columns "
                f"{sorted(unknown)}; expected {list(self.columns)}"
            )
        if given[list(self.order)].isna().to_numpy().any():
            raise UsageError(f"rows for {self.name} must not leave any of {list(self.order)} empty: they name the row")
        rows = given[list(self.columns)].astype(dict(self.columns)).reset_index(drop=True)
        if problem := self.impossible(rows):
            raise UsageError(f"what is to be stored in {self.name} {problem}")
        return rows


def _scores(name: str, axes: tuple[str, ...], values: Mapping[str, str]) -> Table:
    """Tables of scores begin with where the component is; a score is replaced whole."""
    columns = {**dict.fromkeys(axes, "int64"), **SCORE_COLUMNS, **values}
    within = tuple(name for name in (*axes, "null") if name in columns and name != "kv_head")
    return Table(name, columns, SCORE_KEY, (*SCORE_KEY, *within), {"task": "", "shots": 0})


_SUMMARY = {**SCORE_VALUES, "n": "int64"}
_NULL = {"null": "str", "mean": "float32", "p": "float32", "p_family": "float32"}
HEAD_SCORES = _scores("head_scores", ("layer", "head", "kv_head"), _SUMMARY)
FFN_SCORES = _scores("ffn_scores", ("layer",), _SUMMARY)
HEAD_NULLS = _scores("head_nulls", ("layer", "head"), _NULL)
FFN_NULLS = _scores("ffn_nulls", ("layer",), _NULL)
METRICS = Table(
    "metrics",
    {**SWEEP, "value": "float64", "stderr": "float64", "n": "int64"},
    tuple(name for name in SWEEP if not name.startswith("removed_")),
    tuple(name for name in SWEEP if not name.startswith("removed_")),
    {},
)
COMPARISONS = Table(
    "comparisons",
    {
        "kind": "str",
        "a": "str",
        "b": "str",
        "shots": "int64",
        "level": "str",
        "value": "float64",
        "ci_low": "float64",
        "ci_high": "float64",
        "p": "float64",
        "p_holm": "float64",
        "n": "int64",
    },
    ("kind", "a", "b", "shots", "level"),
    ("kind", "a", "b", "shots", "level"),
    {},
)
CLASSES = Table(
    "classes", {"layer": "int64", "head": "int64", "class": "str"}, ("layer", "head"), ("layer", "head"), {}
)
TABLES = (HEAD_SCORES, FFN_SCORES, HEAD_NULLS, FFN_NULLS, METRICS, COMPARISONS, CLASSES)


def of_orders(stored: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The stored evaluations by orders of removal that `rows` have too, of the same tasks, at any step and draw."""
    return stored[_index(stored, ORDER_KEY).isin(_index(rows, ORDER_KEY))]


def _index(frame: pd.DataFrame, names: tuple[str, ...]) -> Any:
    # Negative zero and zero are one key.
    columns = {name: frame[name] + 0.0 if frame[name].dtype.kind == "f" else frame[name] for name in names}
    return pd.MultiIndex.from_frame(pd.DataFrame(columns))
