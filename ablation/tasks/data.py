"""Where documents come from: the hub (through `datasets`) or a folder TASK/{train,validation}.jsonl.

`load` is what the YAML files name as `custom_dataset`: the harness calls it with the YAML's `dataset_kwargs` and the
`metadata` of its TaskManager, where `data_root` is the folder. Four columns are added to the hub's fields:
`document_id` (task, split, row), `cluster_id` (Method 4), `unit_id` (what one metric value is about: the question in
MultiRC) and `pool_id` (demonstrations come from the same pool only; the probes use it). A document that brings a
column of this name keeps it. A folder may also define a task that nobody else knows: TASK/task.yaml, a file of the
harness.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from itertools import chain, product
from pathlib import Path
from typing import Any

from ablation.tasks.clusters import by_text, twins
from ablation.tasks.labels import as_numbers
from ablation.tasks.names import ICL14
from ablation.tasks.rows import COLUMNS, PLACE, column_text
from interp.errors import UsageError

SPLITS = ("train", "validation")
VARIABLE = "HEADSCOPE_DATA"
DEFINITION = "task.yaml"


def load(
    *,
    task: str,
    path: str | None = None,
    name: str | None = None,
    hub_validation: str = "validation",
    cluster: str | None = None,
    unit: Sequence[str] | None = None,
    fields: Sequence[str] = (),
    data_root: str | None = None,
    **ignored: Any,
) -> Any:
    """The task's train and validation documents as a DatasetDict, with the four columns.

    `path`, `name` and `hub_validation` say where the hub keeps them; `cluster` is a field name or `twins`; `unit` are
    the fields that make documents one unit; `fields` are those that a prompt is made of, and every row of a folder must
    have them. The harness passes more keywords, which are ignored.
    """
    from datasets import DatasetDict

    if data_root is not None:
        splits = read_folder(Path(data_root), task)
        for name, (split, rows) in product(fields, splits.items()):
            field(rows, name, task=task, split=split)
    else:
        splits = read_hub(task, str(path), name, {"train": "train", "validation": hub_validation})
    columns = {split: identify(rows, task=task, split=split, unit=unit) for split, rows in splits.items()}
    label_clusters(splits, columns, task=task, cluster=cluster)
    return DatasetDict({split: with_columns(rows, columns[split]) for split, rows in splits.items()})


def identify(rows: Any, *, task: str, split: str, unit: Sequence[str] | None) -> dict[str, list[str]]:
    """The four columns of one split, each document its own cluster."""
    ids = [f"{task}/{split}/{index}" for index in range(len(rows))]
    units = ids
    if unit:
        texts = zip(*(field(rows, name, task=task, split=split) for name in unit), strict=True)
        units = by_text(f"{task}/{split}", ["\n".join(map(str, parts)) for parts in texts])
    return {"document_id": ids, "cluster_id": list(ids), "unit_id": units, "pool_id": [""] * len(ids)}


def label_clusters(
    splits: Mapping[str, Any], columns: Mapping[str, dict[str, list[str]]], *, task: str, cluster: str | None
) -> None:
    """Put the clusters into the columns: over both splits at once, so that no demonstration shares one."""
    if cluster is None:
        return

    def joined(name: str) -> list[str]:
        return [str(v) for split, rows in splits.items() for v in field(rows, name, task=task, split=split)]

    if cluster == "twins":
        ids = [i for split in splits for i in columns[split]["document_id"]]
        pairs = zip(joined("option1"), joined("option2"), strict=True)
        found = twins(ids, joined("sentence"), [frozenset(option.strip().lower() for option in pair) for pair in pairs])
    else:
        found = by_text(task, joined(cluster))
    start = 0
    for split, rows in splits.items():
        columns[split]["cluster_id"] = found[start : start + len(rows)]
        start += len(rows)


def with_columns(rows: Any, columns: Mapping[str, list[str]]) -> Any:
    """The dataset with the four columns as text: its own values, and these where a row has none."""
    for name, values in columns.items():
        if name in rows.column_names:
            own = [column_text({name: value}, name) for value in rows[name]]
            values = [held or default for held, default in zip(own, values, strict=True)]
            rows = rows.remove_columns(name)
        rows = rows.add_column(name, values)
    return rows


def field(rows: Any, name: str, *, task: str, split: str) -> list[Any]:
    """One column of a split, or a sentence that says where it is missing."""
    if name not in rows.column_names:
        held = ", ".join(column for column in rows.column_names if column != PLACE)
        raise UsageError(
            f"The {split} documents of {task} have no field {name!r}: they have {held}. "
            "Documents must carry the field names of the Hugging Face data set."
        )
    values = list(rows[name])
    if None in values:
        number = values.index(None)
        line = f" ({rows[number][PLACE]})" if PLACE in rows.column_names else ""
        raise UsageError(
            f"The field {name!r} of {task}/{split}/{number}{line} is null or absent, and every document needs it. "
            "Give it, or delete the line."
        )
    return values


def folder_for(task: str, data: str | Path) -> Path | None:
    """The folder to read from, or None for the hub: `data` itself, or HEADSCOPE_DATA where that has the task."""
    if str(data) != "hub":
        folder = Path(data)
    elif not os.environ.get(VARIABLE):
        return None
    else:
        folder = Path(os.environ[VARIABLE])
        if folder.is_dir() and not (folder / task).is_dir():
            return None
    if folder.is_dir() and (folder / task).is_dir():
        return folder
    raise missing_folder(folder, task)


def definition_in_folder(task: str, data: str | Path) -> Path | None:
    """The folder's own definition of a task, TASK/task.yaml, where there is one."""
    given = os.environ.get(VARIABLE) if str(data) == "hub" else data
    if not given:
        return None
    path = Path(given) / task / DEFINITION
    return path if path.is_file() else None


def missing_folder(folder: Path, task: str) -> UsageError:
    """What to say when the folder, or the task in it, is not there."""
    wanted = f"Expected {task}/train.jsonl and {task}/validation.jsonl in it, in the hub's field names"
    if not folder.is_dir():
        return UsageError(f"The data folder {str(folder)!r} is no folder. {wanted}; or use `--data hub`.")
    found = sorted(path.parent.name for path in folder.glob("*/validation.jsonl"))
    listed = ", ".join(found) if found else "none"
    return UsageError(f"The data folder {str(folder)!r} has no task {task!r}. {wanted}. Tasks found there: {listed}.")


def read_folder(root: Path, task: str) -> dict[str, Any]:
    """Both splits of a task from its folder."""
    rows = {split: read_rows(root / task / f"{split}.jsonl") for split in SPLITS}
    if task in ICL14:
        rows = {split: as_numbers(held) for split, held in rows.items()}
    return {split: as_dataset(held) for split, held in rows.items()}


def as_dataset(rows: Sequence[dict[str, Any]]) -> Any:
    """The rows as a dataset, with each field that any of them has: null in the others."""
    from datasets import Dataset

    rows = [{**row, **{name: column_text(row, name) for name in COLUMNS if name in row}} for row in rows]
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(chain(*rows))}
    try:
        return Dataset.from_dict(columns)
    except Exception as error:  # Arrow has several kinds for values that make no column.
        raise mixed_field(columns, error) from error


def mixed_field(columns: Mapping[str, list[Any]], error: Exception) -> UsageError:
    """The error for a field that holds values of unlike kinds: it names the first two."""
    from datasets import Dataset

    for name, values in columns.items():
        try:
            Dataset.from_dict({name: values})
        except Exception:
            kinds: dict[str, str] = {}
            for value, at in zip(values, columns[PLACE], strict=True):
                kinds.setdefault(type(value).__name__, at)
            kinds.pop("NoneType", None)
            told = " and ".join(f"{kind} ({at})" for kind, at in kinds.items()) if len(kinds) > 1 else str(error)
            return UsageError(f"The field {name!r} holds values of unlike kinds: {told}. Write all of them alike.")
    return UsageError(f"The documents make no table: {error}. Expected one JSON object a line, with like fields.")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The documents of one file, one JSON object a line, each with where it stands."""
    if not path.is_file():
        raise UsageError(f"There is no file {str(path)!r}. Expected one JSON object a line, in the hub's field names.")
    rows = []
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError of its own
            raise UsageError(f"Line {number} of {str(path)!r} is no JSON: {error}. Mend or delete the line.") from error
        if not isinstance(row, dict):
            raise UsageError(f"Line {number} of {str(path)!r} is a {type(row).__name__}, expected a JSON object.")
        rows.append({**row, PLACE: f"line {number} of {str(path)!r}"})
    if not rows:
        raise UsageError(f"The file {str(path)!r} holds no documents. Expected one JSON object a line.")
    return rows


def text_of(path: Path) -> str:
    """The text of a file in UTF-8, UTF-16 or UTF-32, with a byte-order mark or without.

    Raises UsageError for another encoding: which one it is can't be told from the bytes.
    """
    raw = path.read_bytes()
    encoding = json.detect_encoding(raw[:4])
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{str(path)!r} is not {encoding.upper()}: byte 0x{raw[error.start]:02x} in line {line}. If it is Latin-1 "
            f"or a Windows code page, convert it: `iconv -f WINDOWS-1252 -t UTF-8 {shlex.quote(str(path))} "
            "> new.jsonl`."
        ) from error


def read_hub(task: str, path: str, name: str | None, splits: Mapping[str, str]) -> dict[str, Any]:
    """Both splits of a task from the hub, or one sentence that says what to do without network."""
    from datasets import load_dataset

    try:
        return {ours: load_dataset(path, name, split=theirs) for ours, theirs in splits.items()}
    except Exception as error:  # `datasets` raises a dozen kinds when the hub is out of reach.
        raise unreachable_hub(task, path, error) from error


def unreachable_hub(task: str, path: str, error: Exception) -> UsageError:
    """The one sentence for documents that could not be fetched."""
    reason = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(".")
    return UsageError(
        f"The documents of {task} come from the Hugging Face hub ({path}) and could not be fetched ({reason}): check "
        f"the network, or give a folder that has {task}/train.jsonl and {task}/validation.jsonl by `--data DIR` or "
        f"{VARIABLE}, or use the built-in tasks, `--tasks probes`."
    )
