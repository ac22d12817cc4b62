"""Refusals of run directories: another model's, another protocol's, damaged, in use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import torch
from filelock import FileLock

from ablation.export import export
from headscope.store.canonical import digest
from headscope.store.manifest import FILE
from headscope.store.parquet import encode
from headscope.store.run import TABLE_FILES, open_run
from headscope.store.sealed import put_sealed
from headscope.store.writer import begin_stage
from interp.errors import StoreError, UsageError
from tests.headscope import tiny
from tests.headscope.commands import Outcome, command
from tests.headscope.store import stored
from tests.headscope.sums import last_row_mended, write_sums
from tests.interp.families import load
from tests.refusals.case import Desk, refusal

TASKS = ("--tasks", "probe_antonyms", "--shots", "0", "--limit", 4)


@refusal(StoreError, "belongs to another model", inputs=("importance", "knockout"))
def another_model(desk: Desk, name: str) -> Outcome:
    other = desk.shelved("other", lambda folder: tiny.write_model(folder, seed=1))
    return desk.ask(name, other, *TASKS, "--check", "off", "-o", desk.run_of_model())


@refusal(StoreError, "One folder holds one protocol of a command", inputs=(("--seed", 4), ("--length", 9)))
def another_protocol(desk: Desk, option: tuple[object, ...]) -> Outcome:
    return desk.ask("induction", desk.model, *option, "--check", "off", "-o", desk.run_of_model())


@refusal(
    StoreError,
    "documents of one name would be paired that are not the same",
    inputs=(("knockout",), ("importance", "--objective", "choice")),
)
def other_documents(desk: Desk, asked: tuple[object, ...]) -> Outcome:
    data = write_sums(desk.place / "data")
    options = ("--tasks", "sums", "--data", data.parent, "--shots", "0", "--limit", 4, "--check", "off", "-o", desk.out)
    assert command("importance", desk.model, *options).status == 0
    last_row_mended(data)
    return desk.ask(asked[0], desk.model, *asked[1:], *options)


@refusal(StoreError, "it is unknown which model the numbers belong to", inputs=TABLE_FILES)
def without_a_manifest(desk: Desk, name: str) -> Outcome:
    folder = desk.run()
    for path in [folder / FILE, *folder.glob("*.parquet")]:
        if path.name != name:
            path.unlink()
    return desk.ask("induction", desk.model, "--check", "off", "-o", folder)


def rewritten(folder: Path, **changed: Any) -> Path:
    told = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({**told, **changed}))
    return folder


@refusal(StoreError, "was written in store format", inputs=(0, 2, 99, "1"))
def another_format(desk: Desk, version: object) -> Outcome:
    return desk.ask("report", rewritten(desk.run(), format=version))


def put(folder: Path, name: str, frame: pd.DataFrame) -> Path:
    """A table as headscope would write it, if it wrote this."""
    put_sealed(folder, {f"{name}.parquet": encode(frame)})
    return folder


@refusal(StoreError, "was written by another version of headscope", inputs=("head_scores", "metrics", "classes"))
def other_columns(desk: Desk, name: str) -> Outcome:
    folder = desk.run()
    return desk.ask("report", put(folder, name, getattr(open_run(folder), name).assign(more=1)))


def cut_short(content: bytes) -> bytes:
    return content[:-20]


def one_bit(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def emptied(content: bytes) -> bytes:
    return b""


def longer(content: bytes) -> bytes:
    return content + b"\0"


@refusal(StoreError, "is not what was written", inputs=(cut_short, one_bit, emptied, longer))
def damaged(desk: Desk, change: Any) -> Outcome:
    folder = desk.run()
    path = folder / "head_scores.parquet"
    path.write_bytes(change(path.read_bytes()))
    return desk.ask("report", folder)


@refusal(StoreError, "is not what was written")
def exchanged(desk: Desk) -> Outcome:
    folder = desk.run()
    (folder / "head_scores.parquet").write_bytes((folder / "metrics.parquet").read_bytes())
    return desk.ask("report", folder)


@refusal(StoreError, "was written and is gone", inputs=("head_scores", "metrics", "comparisons"))
def gone(desk: Desk, name: str) -> Outcome:
    folder = desk.run()
    (folder / f"{name}.parquet").unlink()
    return desk.ask("report", folder)


@refusal(StoreError, "was put there by something else")
def strange_items(desk: Desk) -> Any:
    folder = desk.run()
    (folder / "items" / "more.parquet").write_bytes((folder / "metrics.parquet").read_bytes())
    return open_run(folder).items("more")


def sealed_manifest(folder: Path, **changed: Any) -> Path:
    """A manifest whose own hash is right."""
    rest = {**json.loads((folder / FILE).read_text()), **changed}
    rest.pop("sha256")
    (folder / FILE).write_text(json.dumps({**rest, "sha256": digest(rest)}))
    return folder


@refusal(
    StoreError,
    "can't be read",
    inputs=({"identity": []}, {"identity": {"source": 7}}, {"stages": "none"}, {"files": ["a"]}, {"more": 1}),
)
def manifest_of_other_types(desk: Desk, changed: Any) -> Outcome:
    return desk.ask("report", sealed_manifest(desk.run(), **changed))


@refusal(StoreError, "can't be read", inputs=(b"", b"{", b"\xff\xfe", b"[" * 100_000))
def manifest_that_is_none(desk: Desk, content: bytes) -> Outcome:
    folder = desk.run()
    (folder / FILE).write_bytes(content)
    return desk.ask("report", folder)


@refusal(StoreError, "not what its own SHA-256 says")
def manifest_changed_by_hand(desk: Desk) -> Outcome:
    folder = desk.run()
    stages = json.loads((folder / FILE).read_text())["stages"]
    return desk.ask("report", rewritten(folder, stages=[{**stages[0], "seed": 4}]))


@refusal(StoreError, "holds an infinite", inputs=("inf", "-inf"))
def infinite(desk: Desk, value: str) -> Outcome:
    folder = desk.run()
    return desk.ask("report", put(folder, "head_scores", open_run(folder).head_scores.assign(mean=np.float32(value))))


@refusal(StoreError, "two rows of the same")
def twice(desk: Desk) -> Outcome:
    folder = desk.run()
    return desk.ask("report", put(folder, "head_scores", pd.concat([open_run(folder).head_scores] * 2)))


@refusal(StoreError, "expected 0 to", inputs=(("layer", -1), ("p", np.float32(1.5)), ("head", 10**12)))
def out_of_range(desk: Desk, cell: tuple[str, Any]) -> Outcome:
    folder = desk.run()
    name, value = cell
    return desk.ask("report", put(folder, "head_scores", open_run(folder).head_scores.assign(**{name: value})))


@refusal(StoreError, "reads at most")
def bomb(desk: Desk) -> Any:
    """A file of little, which says in few bytes that it holds a long text many times."""
    folder = desk.run()
    long = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array(np.zeros(30_000, np.int32)), pyarrow.array(["x" * 100_000])
    )
    path = desk.place / "bomb"
    pyarrow.parquet.write_table(pyarrow.table({"item": long}), path)
    put_sealed(folder, {"items/bomb.parquet": path.read_bytes()})
    return open_run(folder).items("bomb")


@refusal(StoreError, "another headscope has been writing into")
def two_writers(desk: Desk) -> Any:
    folder = desk.run()
    with FileLock(folder / ".lock"), mock.patch("headscope.store.writer.LOCK_SECONDS", 0.05):
        return begin_stage(folder, stored.IDENTITY, stored.STAGE)


@refusal(StoreError, "can't be written to", inputs=("file", "file/run"))
def no_folder(desk: Desk, name: str) -> Outcome:
    (desk.place / "file").write_text("")
    return desk.ask("induction", desk.model, "-o", desk.place / name)


@refusal(UsageError, "can't be written as an ordinary checkpoint", inputs=("mean", "resample"))
def export_of_means(desk: Desk, way: str) -> Any:
    return export(load("llama"), torch.ones(2, 4), None, desk.out, ablation=way)
