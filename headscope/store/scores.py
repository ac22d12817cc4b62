"""HeadScores and FFNScores into rows of the tables, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from headscope.store.items import component_names, values_of
from headscope.store.tables import FFN_NULLS, FFN_SCORES, HEAD_NULLS, HEAD_SCORES, SCORE_KEY, Table
from interp.errors import UsageError
from interp.scores import FFNScores, HeadScores, Null

# Scores that more than one room asks for by name.
IMPORTANCE, SHUFFLED, NORM, KNOCK_OUT = "importance", "importance_shuffled", "head_norm", "knock_out"
GROUPED = "importance_group"  # of whole kv groups, at each of their heads; not there where every head is its own group
Scores = HeadScores | FFNScores
Key = tuple[str, str, str, int]
NULL_VALUES = ("mean", "p", "p_family")
SUMMARY = ("mean", "std", "ci_low", "ci_high")


def label(name: str, variant: str = "", task: str = "", shots: int = 0) -> str:
    """The score in one word: `copying-argmax`, `importance-token-copa-5shot`; also the name of its items."""
    parts = [name, variant, task, f"{shots}shot" if task else ""]
    return "-".join(quote(part, safe="").replace("-", "%2D") for part in parts if part)


def tables_of(scores: Scores) -> tuple[Table, Table]:
    """The tables of the score itself and of its nulls."""
    return (HEAD_SCORES, HEAD_NULLS) if isinstance(scores, HeadScores) else (FFN_SCORES, FFN_NULLS)


def score_rows(scores: Scores, *, task: str, shots: int) -> pd.DataFrame:
    """One row a component."""
    return scores.to_frame().assign(task=task, shots=shots)


def null_rows(scores: Scores, *, task: str, shots: int) -> pd.DataFrame:
    """One row a component and null; no rows where none was drawn."""
    axes = [axis for axis in ("layer", "head") if axis in tables_of(scores)[1].columns]
    where = scores.to_frame()[[*axes, "score", "variant"]].assign(task=task, shots=shots)
    parts = [
        where.assign(null=null.name, **{name: getattr(null, name).flatten().numpy() for name in NULL_VALUES})
        for null in scores.nulls
    ]
    return pd.concat(parts, ignore_index=True) if parts else tables_of(scores)[1].empty()


def item_frame(scores: Scores, columns: Mapping[str, Any]) -> pd.DataFrame | None:
    """One row an item: its number, the given columns (length, cluster, ...), a column a component (`18.6`, `18`)."""
    if scores.per_item is None:
        return None
    items = scores.per_item.numpy()
    names = component_names(scores.mean.shape)
    clash = {"item", *columns} & set(names)
    wrong = {name: len(values) for name, values in columns.items() if len(values) != len(items)}
    if clash or wrong or "item" in columns:
        raise UsageError(
            f"columns for {len(items)} items must have a value for each and a name of their own: "
            f"{wrong or sorted(columns)}"
        )
    values = pd.DataFrame(items.reshape(len(items), -1), columns=names)
    return pd.concat([pd.DataFrame({"item": np.arange(len(items)), **columns}), values], axis=1)


def restore(
    rows: pd.DataFrame, nulls: pd.DataFrame, items: pd.DataFrame | None, provenance: Mapping[str, Any]
) -> Scores:
    """The score that was stored, from its rows (one key's)."""
    first = rows.iloc[0]
    axes = [axis for axis in ("layer", "head") if axis in rows]
    rows = rows.sort_values(axes)
    shape = tuple(int(rows[axis].max()) + 1 for axis in axes)

    def grid(frame: pd.DataFrame, name: str) -> Tensor:
        return torch.from_numpy(frame[name].to_numpy(dtype=np.float32, copy=True)).view(shape)

    drawn = [
        Null(str(name), *(grid(part.sort_values(axes), column) for column in NULL_VALUES))
        for name, part in nulls.groupby("null", sort=False)
    ]
    fields: dict[str, Any] = {name: grid(rows, name) for name in SUMMARY}
    fields |= {
        "name": str(first["score"]),
        "variant": str(first["variant"]),
        "n": int(first["n"]),
        "nulls": tuple(drawn),
    }
    per_item = None if items is None else torch.from_numpy(values_of(items, shape, np.float32))
    fields |= {"per_item": per_item, "provenance": dict(provenance)}
    if len(shape) == 1:
        return FFNScores(**fields)
    return HeadScores(**fields, n_kv_heads=int(rows["kv_head"].max()) + 1)


def rows_of(frame: pd.DataFrame, key: Key) -> pd.DataFrame:
    """The rows of one score."""
    chosen = pd.Series(True, index=frame.index)
    for name, value in zip(SCORE_KEY, key, strict=True):
        chosen &= frame[name] == value
    return frame[chosen]


def labels(frame: pd.DataFrame) -> list[str]:
    """The scores in a table, each as one word."""
    return sorted(label(*key) for key in frame[list(SCORE_KEY)].drop_duplicates().itertuples(index=False))
