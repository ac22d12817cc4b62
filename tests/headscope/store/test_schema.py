"""A manifest, a table or an example that could not have been written is refused where it is opened, by field."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from headscope.comparison.scored import Shelf
from headscope.report import render
from headscope.store.canonical import digest
from headscope.store.comparisons import ContestLevel
from headscope.store.items import CONTEST, PRIMARY, component_names
from headscope.store.manifest import FILE
from headscope.store.parquet import encode
from headscope.store.run import EXAMPLE, item_file, open_run
from headscope.store.sealed import put_sealed
from headscope.store.tables import HEAD_SCORES, METRICS
from headscope.store.writer import begin_stage
from interp.errors import StoreError, UsageError
from interp.scores import HeadScores
from tests.headscope.commands import command, refused
from tests.headscope.ranked import write_ranked_run
from tests.headscope.store.stored import IDENTITY, STAGE, comparison_row, write_run

DEEP: Any = "leaf"
for _ in range(400):
    DEEP = [DEEP]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only."""
    return write_run(tmp_path_factory.mktemp("written") / "run")


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "run"))


def sealed(content: dict[str, Any]) -> bytes:
    """As headscope would write it, if it wrote this: its own hash is right."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    try:
        return json.dumps({**rest, "sha256": digest(rest)}).encode()
    except Exception:  # what has no canonical form can't be sealed
        return json.dumps({name: value for name, value in rest.items() if name != "files"}).encode()


def changed(content: Any, where: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value in one place."""
    if not where:
        return value
    copy = list(content) if isinstance(content, list) else dict(content)
    copy[where[0]] = changed(copy[where[0]] if where[0] in copy or isinstance(copy, list) else {}, where[1:], value)
    return copy


STAGE_0 = ("stages", 0)
WRONG: list[tuple[tuple[Any, ...], Any, str]] = [
    (("identity",), [], "identity"),
    (("identity",), None, "identity"),
    (("identity", "source"), "", "identity.source"),
    (("identity", "source"), ["tiny"], "identity.source"),
    (("identity", "revision"), 7, "identity.revision"),
    (("identity", "quantization"), {"a": 1}, "identity.quantization"),
    (("identity", "architecture"), 1.5, "identity.architecture"),
    (("identity", "weight_hash"), 12, "identity.weight_hash"),
    (("stages",), None, "stages"),
    (("stages",), {"0": 1}, "stages"),
    (STAGE_0, None, "stages.0"),
    (STAGE_0, "induction", "stages.0"),
    ((*STAGE_0, "command"), None, "stages.0.command"),
    ((*STAGE_0, "command"), "", "stages.0.command"),
    ((*STAGE_0, "protocol"), 3, "stages.0.protocol"),
    ((*STAGE_0, "protocol"), None, "stages.0.protocol"),
    ((*STAGE_0, "seed"), "3", "stages.0.seed"),
    ((*STAGE_0, "seed"), -1, "stages.0.seed"),
    ((*STAGE_0, "seed"), 2**64, "stages.0.seed"),
    ((*STAGE_0, "seed"), True, "stages.0.seed"),
    ((*STAGE_0, "tasks"), "copa", "stages.0.tasks"),
    ((*STAGE_0, "tasks"), [1], "stages.0.tasks.0"),
    ((*STAGE_0, "options"), None, "stages.0.options"),
    ((*STAGE_0, "options"), [1], "stages.0.options"),
    ((*STAGE_0, "versions"), {"torch": 2}, "stages.0.versions.torch"),
    ((*STAGE_0, "record"), None, "stages.0.record"),
    ((*STAGE_0, "record"), [], "stages.0.record"),
    ((*STAGE_0, "record", "scores"), 3, "stages.0.record.scores"),
    ((*STAGE_0, "record", "scores"), {"head-x": 3}, "stages.0.record.scores.head-x"),
    ((*STAGE_0, "record", "cut"), {"copa": "two"}, "stages.0.record.cut.copa"),
    ((*STAGE_0, "record", "budget"), [], "stages.0.record.budget"),
    ((*STAGE_0, "record", "refused"), 1, "stages.0.record.refused"),
    ((*STAGE_0, "record", "left_out"), "all", "stages.0.record.left_out"),
    ((*STAGE_0, "record", "looks"), [1], "stages.0.record.looks.0"),
    ((*STAGE_0, "record", "learnt"), [None], "stages.0.record.learnt.0"),
    ((*STAGE_0, "record", "looks"), [{"documents": "many"}], "stages.0.record.looks.0.documents"),
    ((*STAGE_0, "record", "looks"), [{"low": [0]}], "stages.0.record.looks.0.low"),
    ((*STAGE_0, "record", "planned_looks"), 3, "stages.0.record.planned_looks"),
    ((*STAGE_0, "record", "earlier"), 1, "stages.0.record.earlier"),
    ((*STAGE_0, "record", "reasons"), {"copa": 1}, "stages.0.record.reasons.copa"),
    ((*STAGE_0, "record", "choices"), ["x"], "stages.0.record.choices"),
    ((*STAGE_0, "record", "choices"), {"copa": [[1]]}, "stages.0.record.choices.copa.0"),
    ((*STAGE_0, "record", "draws"), {"a": 1}, "stages.0.record.draws"),
    ((*STAGE_0, "record", "lengths"), 5, "stages.0.record.lengths"),
    ((*STAGE_0, "record", "parameters"), {"a": 1}, "stages.0.record.parameters"),
    ((*STAGE_0, "record", "candidates"), {"ids": "all"}, "stages.0.record.candidates.ids"),
    ((*STAGE_0, "record", "vector_heads"), [1], "stages.0.record.vector_heads.0"),
    ((*STAGE_0, "record", "vector_controls"), {"a": [1]}, "stages.0.record.vector_controls"),
    ((*STAGE_0, "record", "sets"), [1], "stages.0.record.sets"),
    ((*STAGE_0, "protocol"), {"ways": [1]}, "stages.0.protocol"),
    ((*STAGE_0, "options", "shots"), {"a": 1}, "stages.0.options.shots"),
    ((*STAGE_0, "options", "lengths"), 5, "stages.0.options.lengths"),
    ((*STAGE_0, "record", "repeat_score"), "less", "stages.0.record.repeat_score"),
    ((*STAGE_0, "record", "post_norm"), {}, "stages.0.record.post_norm"),
    ((*STAGE_0, "finished"), "yesterday", "stages.0.finished"),
    ((*STAGE_0, "finished"), "2026-01-01T00:00:00", "stages.0.finished"),
    ((*STAGE_0, "started"), 5, "stages.0.started"),
    ((*STAGE_0, "started"), None, "stages.0.started"),
    ((*STAGE_0, "more"), 1, "stages.0.more"),
    (("more",), 1, "more"),
    (("files",), ["a"], "files"),
    (("files", "head_scores.parquet"), "00", "files.head_scores.parquet"),
    (("files", "head_scores.parquet"), ["00"], "files.head_scores.parquet.0"),
    (("files", "../other"), ["0" * 64], "files"),
    (("files", "9" * 5000), "00", "files.999"),
    (("files", "/etc/passwd"), ["0" * 64], "files"),
    ((*STAGE_0, "record", "deep"), DEEP, ""),
    ((*STAGE_0, "record", "lone"), "\ud800", ""),
    ((*STAGE_0, "options", "far"), float("inf"), ""),
    ((*STAGE_0, "options", "none"), float("nan"), ""),
]


@pytest.mark.parametrize(("where", "value", "field"), WRONG, ids=lambda part: str(part)[:40])
def test_a_manifest_of_wrong_types_is_refused_by_field(folder: Path, where: Any, value: Any, field: str) -> None:
    path = folder / FILE
    path.write_bytes(sealed(changed(json.loads(path.read_bytes()), where, value)))
    with pytest.raises(StoreError, match=r"manifest.json in .* can't be read") as told:
        open_run(folder)
    assert f"({field}" in str(told.value) and len(str(told.value)) < 1000


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"[" * 100_000, b'{"format": 1e999}', b'{"format": true}', b"1", b"null"]
)
def test_a_manifest_that_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / FILE).write_bytes(content)
    with pytest.raises(StoreError, match=r"manifest.json|store format"):
        open_run(folder)


def test_what_could_not_be_read_back_is_not_written(folder: Path) -> None:
    before = (folder / FILE).read_bytes()
    for stage in (replace(STAGE, seed=2**64), replace(STAGE, command=""), replace(STAGE, seed=-1)):
        with pytest.raises(UsageError, match=r"a manifest can't hold this: stages\.\d\.(seed|command)"):
            begin_stage(folder, IDENTITY, replace(stage, command=stage.command and "other"))
    with pytest.raises(UsageError, match=r"stages\.0\.record\.cut\.copa"):
        begin_stage(folder, IDENTITY, STAGE).record(cut={"copa": "two"})
    assert open_run(folder).stages[0].seed == json.loads(before)["stages"][0]["seed"]


def test_a_changed_manifest_is_refused(folder: Path) -> None:
    """By hand, say: another seed under the same numbers."""
    content = json.loads((folder / FILE).read_bytes())
    (folder / FILE).write_text(json.dumps(changed(content, ("stages", 0, "seed"), 4)))
    with pytest.raises(StoreError, match=r"not what its own SHA-256 says"):
        open_run(folder)
    del content["files"]
    (folder / FILE).write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"not what its own SHA-256 says"):
        open_run(folder)


def test_another_layout_of_the_same_manifest_is_the_same(folder: Path) -> None:
    expected = open_run(folder).manifest
    (folder / FILE).write_text(json.dumps(json.loads((folder / FILE).read_bytes()), indent=4))
    assert open_run(folder).manifest == expected


def test_a_folder_or_a_pipe_in_place_of_a_file_is_refused(folder: Path) -> None:
    """And never waited for."""
    for name in (FILE, "head_scores.parquet", EXAMPLE):
        path = folder / name
        whole = path.read_bytes()
        for make in (path.mkdir, lambda path=path: os.mkfifo(path)):
            path.unlink() if path.is_file() else None
            make()
            with pytest.raises(StoreError, match=r"it is no file|can't be read"):
                run = open_run(folder)
                run.head_scores, run.attention_example  # noqa: B018
            path.rmdir() if path.is_dir() else path.unlink()
        path.write_bytes(whole)


def test_a_folder_in_place_of_a_unit_is_no_unit(folder: Path) -> None:
    writer = begin_stage(folder, IDENTITY, STAGE)
    place = writer.units.path({"number": 2})
    place.mkdir()
    assert writer.units.get({"number": 2}) is None
    with pytest.raises(StoreError, match=r"could not be written"):
        writer.units.put({"number": 2}, {"x": torch.ones(1)})


# --- tables --------------------------------------------------------------------------------------------------------


def rows(folder: Path, name: str) -> pd.DataFrame:
    frame: pd.DataFrame = getattr(open_run(folder), name)
    return frame


def altered(name: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(**{name: value})


def scattered(frame: pd.DataFrame, tasks: int, far: int) -> pd.DataFrame:
    """One row a task, far out: a few kB of which as many large grids would be made."""
    rows = pd.concat([frame.head(1)] * tasks, ignore_index=True)
    out = {name: far for name in ("layer", "head") if name in frame}
    return rows.assign(task=[f"task {number}" for number in range(tasks)], **out)


IMPOSSIBLE: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame], str]] = [
    ("head_scores", altered("layer", "one"), "holds .*string in the column 'layer', expected int64"),
    ("head_scores", altered("layer", 1.5), "holds double in the column 'layer'"),
    ("head_scores", altered("mean", "high"), "string in the column 'mean', expected float32"),
    ("head_scores", altered("score", 3), "holds int64 in the column 'score', expected str"),
    ("head_scores", altered("score", [["a"]] * 12), "in the column 'score', expected str"),
    ("head_scores", lambda frame: frame.assign(layer=-frame["layer"]), "holds layer -1, expected 0 to"),
    ("head_scores", lambda frame: frame.assign(head=frame["head"] + 10**12), "holds head 1000000000000"),
    ("head_scores", altered("shots", -2), "holds shots -2"),
    ("head_scores", altered("p", np.float32(1.5)), "holds p 1.5, expected 0 to 1"),
    ("head_scores", altered("mean", np.float32(np.inf)), "holds an infinite mean"),
    ("head_scores", altered("n", -1), "holds n -1"),
    ("head_scores", lambda frame: pd.concat([frame, frame]), "two rows of the same score"),
    ("head_scores", lambda frame: frame.assign(task=pd.Series([None] * len(frame), dtype="str")), "a row without task"),
    (
        "head_scores",
        lambda frame: scattered(frame, 20, 999),
        "holds 20 rows for 20 scores of 20,000,000 cells together",
    ),
    ("ffn_scores", lambda frame: scattered(frame, 30, 99_999), "holds 30 rows for 30 scores of 3,000,000 cells"),
    ("head_scores", lambda frame: frame.drop(columns="p"), "has the columns"),
    ("head_scores", lambda frame: frame[frame.columns[::-1]], "has the columns"),
    ("metrics", altered("value", -np.inf), "holds an infinite value"),
    ("metrics", altered("removed_heads", -3), "holds removed_heads -3"),
    ("classes", altered("class", 1), "in the column 'class'"),
    ("classes", lambda frame: frame.assign(layer=frame["layer"] * 10**9), "holds layer"),
    ("comparisons", altered("p_holm", -0.5), "holds p_holm -0.5"),
    ("comparisons", altered("level", "globally"), "holds cross_task at the level 'globally', which is none"),
    ("ffn_scores", altered("layer", True), "holds bool in the column 'layer'"),
    ("head_nulls", altered("p_family", np.float32(2)), "holds p_family 2"),
]


@pytest.mark.parametrize(
    ("name", "change", "sentence"), IMPOSSIBLE, ids=lambda part: "" if callable(part) else str(part)[:40]
)
def test_a_table_of_other_types_or_impossible_rows_is_refused(
    folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame], sentence: str
) -> None:
    put_sealed(folder, {f"{name}.parquet": encode(change(rows(folder, name)))})
    with pytest.raises(StoreError, match=sentence):
        rows(folder, name)
    if name != "head_nulls":  # not in the report
        refused(command("report", folder), f"{name}.parquet")


def test_rows_that_would_no_longer_be_read_are_not_added() -> None:
    """Each stage's few rows could be read alone; together they could not."""
    row = {
        **dict.fromkeys(HEAD_SCORES.columns, 0),
        "score": "importance",
        "variant": "token",
        "layer": 999,
        "head": 999,
    }
    one, other = (pd.DataFrame([{**row, "task": name, "p": 0.5, "p_family": 0.5}]) for name in "ab")
    both = HEAD_SCORES.merged(HEAD_SCORES.empty(), pd.concat([one, other]))
    assert len(both) == 2
    with pytest.raises(UsageError, match="3 rows for 3 scores of 3,000,000 cells together"):
        HEAD_SCORES.merged(both, one.assign(task="c"))


# --- items ---------------------------------------------------------------------------------------------------------

SCORE = "head-importance-token-copa-5shot"
TOLD = {"document": [*"abc"], "cluster": [*"xxy"], "demo_seed": [0, 0, 1], "length": [4, 5, 6]}
VALUES: dict[str, Any] = {"str": "a", "int64": 1, "float64": 0.5, "float64 or none": None}
PRIMARY_SET = {it: VALUES[dtype] for it, dtype in PRIMARY.items()}
SET = {it: VALUES[dtype] for it, dtype in CONTEST.items()}


@pytest.fixture(scope="module")
def itemised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with importance by document and a contest's sets; read-only."""
    folder = tmp_path_factory.mktemp("itemised") / "run"
    drops: dict[str, Any] = {"kind": "contest_drop", "a": "induction", "b": "all tasks"}
    with begin_stage(write_run(folder), IDENTITY, replace(STAGE, command="importance")) as writer:
        scores = HeadScores.from_items("importance", torch.rand(3, 3, 4), variant="token", n_kv_heads=2)
        writer.add_scores(scores, task="copa", shots=5, item_columns=TOLD)
        level = str(ContestLevel("choice", "mean", "all", "class", "kept"))
        writer.add_comparisons(comparison_row().assign(**drops, level=level))
        writer.store_items("contest", pd.DataFrame([SET]))
    return folder


@pytest.mark.parametrize("name", [SCORE, "contest", "primary"])
def test_items_that_were_stored_are_read(itemised: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(itemised, tmp_path / "run"))
    with begin_stage(folder, IDENTITY, STAGE) as writer:
        writer.store_items("primary", pd.DataFrame([PRIMARY_SET]))
    found = open_run(folder).items(name)
    assert len(found) == (3 if name == SCORE else 1)
    pd.testing.assert_frame_equal(found, open_run(folder).items(name, needs=["task"] if name == "primary" else ()))


def exchanged(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[[*frame.columns[:-2], frame.columns[-1], frame.columns[-2]]]


def far(frame: pd.DataFrame) -> pd.DataFrame:
    """A head that would make a grid of ten thousand million."""
    return frame.rename(columns={"2.3": "99999.99999"})


ITEMS: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame], str]] = [
    (SCORE, lambda frame: frame.drop(columns="item"), "has the columns .*expected 'item' in front"),
    (SCORE, lambda frame: frame.drop(columns="1.2"), "expected one for each head"),
    (SCORE, exchanged, "expected one for each head"),
    (SCORE, far, "expected one for each head"),
    (SCORE, lambda frame: frame[["item", "cluster"]], "expected one for each head"),
    (SCORE, altered("1.2", "high"), "string in the column '1.2', expected float"),
    (SCORE, altered("1.2", 1), "holds int64 in the column '1.2', expected float"),
    (SCORE, altered("cluster", 3), "holds int64 in the column 'cluster', expected str"),
    (SCORE, altered("length", [1.5, 2, 3]), "holds double in the column 'length', expected int64"),
    (SCORE, altered("length", 0), "holds length 0, expected 1 or more"),
    (SCORE, altered("length", pd.array([4, None, 5], dtype="Int64")), "a row without length"),
    (SCORE, altered("cluster", pd.Series(["a", None, "b"], dtype="str")), "a row without cluster"),
    (SCORE, altered("item", [0, 1, 1]), "items of other numbers"),
    (SCORE, altered("0.1", np.float32(np.inf)), "holds an infinite number"),
    (SCORE, lambda frame: frame.drop(columns="cluster"), "has no column 'cluster'"),
    (SCORE, lambda frame: frame.drop(columns=["2.0", "2.1", "2.2", "2.3"]), "for 8 components and their score for 12"),
    ("contest", lambda frame: frame.drop(columns="drop"), "has the columns .*expected"),
    ("contest", altered("drop", "far"), "string in the column 'drop', expected float64"),
    ("contest", altered("arm", [["a"]]), "in the column 'arm', expected str"),
    ("contest", altered("drop", np.inf), "holds an infinite number"),
    ("ffn-knock_out-copa-0shot", lambda frame: frame.drop(columns="1"), "expected one for each layer"),
]


@pytest.mark.parametrize(("name", "change", "sentence"), ITEMS, ids=[f"{name}-{text}" for name, _, text in ITEMS])
def test_items_of_other_columns_types_or_values_are_refused(
    itemised: Path, tmp_path: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame], sentence: str
) -> None:
    """By whatever reads them: a score with its items, a comparison, a figure."""
    folder = Path(shutil.copytree(itemised, tmp_path / "run"))
    run = open_run(folder)
    put_sealed(folder, {item_file(name): encode(change(run.items(name)))})
    readers: dict[str, Callable[[], Any]] = {
        SCORE: lambda: Shelf(run).of_task("importance", "token", "copa", 5),
        "contest": lambda: run.figure("contest"),
        "ffn-knock_out-copa-0shot": lambda: run.ffn_score("knock_out", task="copa"),
    }
    with pytest.raises(StoreError, match=sentence) as told:
        readers[name]()
    assert len(str(told.value)) < 2000
    if name == "contest":
        refused(command("report", folder), "contest.parquet")


def test_items_that_could_not_be_read_again_are_not_stored(written: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(written, tmp_path / "run"))
    scores = HeadScores.from_items("other", torch.rand(3, 3, 4), n_kv_heads=2)
    with begin_stage(folder, IDENTITY, STAGE) as writer:
        for columns in ({"length": [4.5, 5, 6]}, {"length": [0, 1, 2]}, {"cluster": [None, "a", "b"]}):
            with pytest.raises(UsageError, match=r"what is to be stored .*(length|cluster)"):
                writer.add_scores(scores, item_columns=columns)
        with pytest.raises(UsageError, match=r"items 'contest' has the columns"):
            writer.store_items("contest", pd.DataFrame([{**SET, "more": 1}]))
        writer.store_items("contest", pd.DataFrame())
    assert open_run(folder).items("contest").empty and "head-other" not in open_run(folder).item_names


def parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def bombs() -> Mapping[str, bytes]:
    """Small files that would unpack to far more than memory holds."""
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(400_000, dtype=np.int32)), pa.array(["x" * 100_000]))
    repeated = pa.table({"item": long})
    many = pa.table({"item": pa.array(np.zeros(150_000_000, dtype=np.int8))})
    return {"text": parquet(repeated, row_group_size=400_000), "rows": parquet(many, row_group_size=1 << 28)}


@pytest.mark.slow
def test_a_file_that_would_not_fit_into_memory_is_refused_before_it_is_unpacked(folder: Path) -> None:
    for name, content in bombs().items():
        assert len(content) < 4 << 20, f"{name} must be small on disk"
        put_sealed(folder, {"items/bomb.parquet": content})
        with pytest.raises(StoreError, match=r"reads at most"):
            open_run(folder).items("bomb")


def of_columns(columns: Mapping[str, str], long: str, rows: int = 30_000) -> bytes:
    """A table of these columns and types, of which one would unpack to 3 GB of text, in few bytes."""
    places = pa.array(np.zeros(rows, np.int32))
    made = {it: np.zeros(rows, dtype) for it, dtype in columns.items() if dtype != "str"}
    texts = {it: "x" * (100_000 if it == long else 1) for it, dtype in columns.items() if dtype == "str"}
    made |= {it: pa.DictionaryArray.from_arrays(places, pa.array([text])) for it, text in texts.items()}
    return parquet(pa.table({it: made[it] for it in columns}), store_schema=False)


TASK = "items/head-importance-token-copa-5shot.parquet"
OF_TASK = {"item": "int64", "cluster": "str", "length": "int64", **dict.fromkeys(component_names((6, 5)), "float32")}
LYING = b'{"patterns":{"dtype":"U8","shape":[900,900,900,900],"data_offsets":[0,656100000000]}}'
HEAVY: list[Any] = [
    ("report", "metrics.parquet", lambda: of_columns(METRICS.columns, "task"), "reads at most"),
    ("report", "items/contest.parquet", lambda: of_columns(CONTEST, "heads"), "reads at most"),
    ("report", EXAMPLE, lambda: len(LYING).to_bytes(8, "little") + LYING + b"1234", "can't be read"),
    ("compare", "head_scores.parquet", lambda: of_columns(HEAD_SCORES.columns, "variant"), "reads at most"),
    ("compare", TASK, lambda: of_columns(OF_TASK, "cluster"), "reads at most"),
    pytest.param("report", "metrics.parquet", lambda: bombs()["rows"], "reads at most", marks=pytest.mark.slow),
    pytest.param("compare", TASK, lambda: bombs()["rows"], "reads at most", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "file", "made", "sentence"), HEAVY)
def test_a_strangers_heavy_file_costs_a_command_little(
    tmp_path: Path, name: str, file: str, made: Callable[[], bytes], sentence: str
) -> None:
    """Little memory, and one sentence; nothing is written."""
    folder = tmp_path / "run"
    write_run(folder) if name == "report" else write_ranked_run(folder, tasks=("copa",), shots=(5,), documents=4)
    content = made()
    assert len(content) < 4 << 20, "small on disk"
    put_sealed(folder, {file: content})
    before = peak()
    refused(command(name, folder), Path(file).stem, sentence)
    assert peak() - before < 1 << 30, "what it says it holds is 3 GB and more"
    assert not (folder / "report.html").exists()


def peak() -> int:
    """The most memory that this process has ever held, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- the attention example -----------------------------------------------------------------------------------------

TRIANGLE = torch.ones(1, 1, 3, 3).tril().to(torch.uint8)
NOTES = {"tokens": '["a", "b", "c"]', "scale": "0.00392", "blocks": "[0]"}


@pytest.mark.parametrize(
    ("patterns", "notes"),
    [
        (TRIANGLE.float(), {}),
        (TRIANGLE[0], {}),
        (TRIANGLE[..., :2], {}),
        (torch.ones(1, 1, 3, 3, dtype=torch.uint8), {}),
        (TRIANGLE, {"tokens": "[1, 2, 3]"}),
        (TRIANGLE, {"tokens": "[" * 5000}),
        (TRIANGLE, {"tokens": '{"a": 1}'}),
        (TRIANGLE, {"scale": "nan"}),
        (TRIANGLE, {"scale": "many"}),
        (TRIANGLE, {"scale": "9" * 10_000 + "x"}),
        (TRIANGLE, {"blocks": "[9]"}),
        (TRIANGLE, {"blocks": "[true]"}),
        (TRIANGLE, {"blocks": "3"}),
    ],
)
def test_an_example_that_can_not_be_shown_is_refused(folder: Path, patterns: torch.Tensor, notes: Any) -> None:
    content = safetensors.torch.save({"patterns": patterns.contiguous()}, metadata={**NOTES, **notes})
    put_sealed(folder, {EXAMPLE: content})
    with pytest.raises(StoreError, match=r"attention_example.safetensors' can't be read") as told:
        open_run(folder).attention_example  # noqa: B018
    assert len(str(told.value)) < 1000


def test_the_report_of_a_run_of_every_kind_is_made(folder: Path) -> None:
    assert render(folder).is_file()
