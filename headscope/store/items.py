"""The tables under items/: what each may hold, checked where it is written and where it is opened.

| name | a row | columns |
|---|---|---|
| `head-SCORE`, `ffn-SCORE` | an item: a sequence or document | `item`, what is told of it, one for each component |
| `contest`, `primary` | a set of heads that was removed | CONTEST, PRIMARY |

What is told of an item has the type of KNOWN; other columns beside it are free, and so are tables of other names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from headscope.store.parquet import AGAIN, decode, encode, other_columns, other_type
from interp.errors import StoreError, UsageError, quoted

KNOWN = {
    "item": "int64",
    "length": "int64",
    "document": "str",
    "cluster": "str",
    "task": "str",
    "demo_seed": "int64",
    "target_length": "int64",
    "log_likelihood": "float64",
}
CONTEST = {
    **dict.fromkeys(("arm", "share", "overlap", "role"), "str"),
    "draw": "int64",
    "dose": "float64",
    **dict.fromkeys(("ablation", "positions", "heads", "group", "outcome"), "str"),
    "drop": "float64",
}
PRIMARY = {
    "task": "str",
    "shots": "int64",
    "tested": "str",
    "kind": "str",
    "draw": "int64",
    "ablation": "str",
    "outcome": "str",
    "contrast": "str",
    "removed": "int64",
    "drop": "float64",
    **{f"{when}_{name}": "float64" for when in ("full", "removed") for name in ("few", "none", "shuffled")},
    "repeat_loss": "float64 or none",
    "moved": "int64",
    "norm_gap": "float64",
    "heads": "str",
}
SETS: Mapping[str, Mapping[str, str]] = {"contest": CONTEST, "primary": PRIMARY}
AXES = {"head": ("layer", "head"), "ffn": ("layer",)}  # by how a table's name begins


def read_items(content: bytes, path: Path, name: str, *, needs: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of this table; needs: columns that the reader can't do without.

    Raises StoreError for columns, types or values that headscope would not have written.
    """
    frame = decode(content, path, lambda schema: unlike(schema, name))
    if problem := impossible(frame, name):
        raise StoreError(
            f"{path.name} in '{path.parent}' {problem}: it was damaged, or written by another program. {AGAIN}"
        )
    if missing := [column for column in needs if column not in frame]:
        raise StoreError(
            f"{path.name} in '{path.parent}' has no column {missing[0]!r}, without which its items can't be compared: "
            "it was written by another program. Choose another folder."
        )
    return frame


def encoded(frame: pd.DataFrame, name: str) -> bytes:
    """A table as it is stored. Raises UsageError for what `read_items` would refuse."""
    import pyarrow

    columns = SETS.get(name, {})
    rows = pd.DataFrame({it: pd.Series(dtype=dtype.split()[0]) for it, dtype in columns.items()})
    frame = rows if columns and frame.empty else frame
    whole = {it: to for it, to in (columns or _told(name)).items() if it in frame and frame[it].dtype.kind in "iu"}
    frame = frame.astype({it: to for it, to in whole.items() if to in ("int64", "float64")})
    schema = pyarrow.Schema.from_pandas(frame, preserve_index=False)
    if problem := unlike(schema, name) or impossible(frame, name):
        raise UsageError(f"what is to be stored as the items {name!r} {problem}")
    return encode(frame)


def unlike(schema: Any, name: str) -> str:
    """In words: which columns no table of this name has; empty where all are as they must be."""
    if name in SETS:
        return other_columns(schema, SETS[name]) if len(schema) else ""
    axes = AXES.get(name.partition("-")[0])
    if axes is None:
        return ""
    components = [one for one in schema.names if _is_component(one, axes)]
    further = schema.names[1 : len(schema.names) - len(components)]
    if schema.names[:1] != ["item"] or len({*schema.names}) < len(schema.names):
        return f"has the columns {quoted(schema.names)}, expected 'item' in front, and none twice"
    if not components or schema.names != ["item", *further, *_grid(components)]:
        return f"has the columns {quoted(schema.names)}, expected one for each {axes[-1]} behind the others, in order"
    types = {one: KNOWN.get(one, "") for one in ("item", *further)} | dict.fromkeys(components, "float")
    return next((told for it in schema if types[it.name] and (told := other_type(it, types[it.name]))), "")


def impossible(frame: pd.DataFrame, name: str) -> str:
    """What no row of a table of this name can hold, in words."""
    columns = SETS.get(name) or _told(name)
    for one, dtype in columns.items():
        if one in frame and not dtype.startswith("float") and frame[one].isna().any():
            return f"holds a row without {one}"
    if columns and any(np.isinf(frame[one]).any() for one in frame if frame[one].dtype.kind == "f"):
        return "holds an infinite number"
    if "item" in columns and (frame["item"] != np.arange(len(frame))).any():
        return "holds items of other numbers than 0, 1, 2, ..."
    if "length" in columns and "length" in frame and (frame["length"] < 1).any():
        return f"holds length {frame['length'].min()}, expected 1 or more"
    return ""


def component_names(shape: Sequence[int]) -> list[str]:
    """`layer.head` for heads, `layer` for FFNs, in the order of a flattened score."""
    return [".".join(str(axis) for axis in index) for index in np.ndindex(*shape)]


def values_of(items: pd.DataFrame, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """One row an item, then the components' axes. Raises StoreError for the items of another model's components."""
    names = component_names(shape)
    there = [name for name in items if _is_component(name, shape)]
    if there != names:
        raise StoreError(
            f"items are stored for {len(there)} components and their score for {len(names)}: they are of another "
            f"model, or were changed. {AGAIN}"
        )
    return items[names].to_numpy(dtype=dtype, copy=True).reshape(len(items), *shape)


def _told(name: str) -> Mapping[str, str]:
    """What may be told of the items of a score; nothing is known of a caller's own table."""
    return KNOWN if name.partition("-")[0] in AXES else {}


def _is_component(name: str, axes: Sequence[Any]) -> bool:
    return re.fullmatch(r"\.".join([r"\d{1,5}"] * len(axes)), name, re.ASCII) is not None


def _grid(components: Sequence[str]) -> list[str]:
    """All components of the smallest model that has these; none where some of them are missing."""
    shape = [1 + max(map(int, axis)) for axis in zip(*(name.split(".") for name in components), strict=True)]
    return component_names(shape) if prod(shape) == len(components) else []
