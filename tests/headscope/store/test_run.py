"""The run directory: what goes in comes out, foreign folders are refused, a kill costs at most the unit in flight."""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock, Timeout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headscope.store import tables
from headscope.store.atomic import remove_empty, remove_stale, write_atomically
from headscope.store.attention_example import AttentionExample, byte_patterns, decode_example, quantise
from headscope.store.canonical import canonical, digest
from headscope.store.manifest import Stage
from headscope.store.run import check_output_folder, open_run
from headscope.store.units import UnitStore
from headscope.store.writer import RunWriter, begin_stage
from interp.errors import StoreError, UsageError
from interp.scores import FFNScores, HeadScores, Null
from tests.headscope import killed_writer
from tests.headscope.forking import DONE, Forks, forks

IDENTITY = {"source": "tiny", "revision": "main", "weight_hash": "ab" * 32, "dtype": "float32"}
QUICK = Stage("induction", "quick", versions={"torch": "1"})

ANY_FOLDER = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def head_scores(name: str = "prefix_matching", *, seed: int = 0, variant: str = "", nulls: int = 2) -> HeadScores:
    generator = torch.Generator().manual_seed(seed)
    items = torch.rand(5, 3, 4, generator=generator)
    items[:, 1] = torch.nan  # a layer without attention heads
    scores = HeadScores.from_items(
        name,
        items,
        variant=variant,
        n_kv_heads=2,
        provenance={"lengths": (50, 52), "chance": torch.tensor([0.5, torch.nan])},
    )
    draws = torch.rand(19, 3, 4, generator=generator)
    return scores.with_nulls(*(Null.from_draws(f"N{k + 1}", scores.mean, draws) for k in range(nulls)))


def metric_rows(**changed: Any) -> pd.DataFrame:
    row = {
        "task": "copa",
        "shots": 0,
        "demo_seed": 0,
        "component": "head",
        "order": "own",
        "order_seed": 0,
        "ablation": "zero",
        "percent_heads": 10.0,
        "percent_ffns": 0.0,
        "removed_heads": 27,
        "removed_ffns": 0,
        "metric": "acc",
        "value": 0.5,
        "stderr": 0.01,
        "n": 100,
    }
    return pd.DataFrame([{**row, **changed}])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def writer(folder: Path) -> RunWriter:
    return begin_stage(folder, IDENTITY, QUICK)


# --- what goes in comes out ----------------------------------------------------------------------------------------


def test_a_head_score_comes_back_as_it_was(writer: RunWriter, folder: Path) -> None:
    scores = head_scores(variant="olsson")
    writer.add_scores(scores, task="copa", shots=5, item_columns={"length": [50] * 5})
    found = open_run(folder).head_score("prefix_matching", "olsson", task="copa", shots=5)
    for name in ("mean", "std", "ci_low", "ci_high", "null_mean", "p", "p_family", "per_item"):
        torch.testing.assert_close(getattr(found, name), getattr(scores, name), rtol=0, atol=0, equal_nan=True)
    assert (found.n, found.n_kv_heads, found.provenance) == (5, 2, {"lengths": [50, 52], "chance": [0.5, None]})
    assert [null.name for null in found.nulls] == ["N1", "N2"]
    items = open_run(folder).items("head-prefix_matching-olsson-copa-5shot")
    assert list(items.columns[:3]) == ["item", "length", "0.0"]


def test_an_ffn_score_comes_back_as_it_was(writer: RunWriter, folder: Path) -> None:
    scores = FFNScores.from_items("knock_out", torch.rand(5, 3))
    writer.add_scores(scores, task="rte")
    found = open_run(folder).ffn_score("knock_out", task="rte")
    assert torch.equal(found.mean, scores.mean) and torch.equal(found.ci_high, scores.ci_high)
    assert found.per_item is not None and scores.per_item is not None and torch.equal(found.per_item, scores.per_item)
    assert list(open_run(folder).ffn_scores.columns) == [
        name for name in open_run(folder).head_scores.columns if name not in ("head", "kv_head")
    ]


def test_the_frames_of_a_new_run_are_empty_and_have_their_columns(writer: RunWriter, folder: Path) -> None:
    run = open_run(folder)
    for table in tables.TABLES:
        frame = getattr(run, table.name)
        assert frame.empty and list(frame.columns) == list(table.columns)
        assert frame.dtypes.astype(str).to_dict() == dict(table.columns)
    assert run.item_names == [] and run.attention_example is None


def test_columns_are_those_of_the_design(writer: RunWriter) -> None:
    heads = "layer head kv_head score variant task shots mean std ci_low ci_high null_mean p p_family n"
    sweep = "task shots demo_seed component order order_seed ablation percent_heads percent_ffns removed_heads"
    assert " ".join(tables.HEAD_SCORES.columns) == heads
    assert " ".join(tables.METRICS.columns) == f"{sweep} removed_ffns metric value stderr n"
    assert " ".join(tables.COMPARISONS.columns) == "kind a b shots level value ci_low ci_high p p_holm n"


def test_scoring_again_replaces_and_leaves_the_others(writer: RunWriter, folder: Path) -> None:
    writer.add_scores(head_scores(seed=1))
    writer.add_scores(head_scores("copying", seed=2))
    writer.add_scores(head_scores(seed=3, nulls=0))
    run = open_run(folder)
    assert len(run.head_scores) == 2 * 12
    torch.testing.assert_close(run.head_score("prefix_matching").mean, head_scores(seed=3).mean, equal_nan=True)
    assert run.head_score("prefix_matching").nulls == (), "the nulls of the replaced score are gone too"
    assert len(run.head_score("copying").nulls) == 2


def test_the_order_of_writing_leaves_no_trace(tmp_path: Path) -> None:
    told = [head_scores(name, seed=k) for k, name in enumerate(["a", "b", "c"])]
    contents = []
    for place, order in enumerate([told, told[::-1], [told[1], *told]]):
        writer = begin_stage(tmp_path / str(place), IDENTITY, QUICK)
        for scores in order:
            writer.add_scores(scores)
        contents.append((writer.folder / "head_scores.parquet").read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_metrics_comparisons_classes_and_items(writer: RunWriter, folder: Path) -> None:
    writer.add_metrics(metric_rows())
    writer.add_metrics(metric_rows(value=0.7))
    writer.add_metrics(metric_rows(percent_heads=20.0, removed_heads=54))
    comparison = {"kind": "cross_task", "a": "copa", "b": "rte", "shots": 0, "level": "global", "value": 0.4}
    rest = {"ci_low": 0.1, "ci_high": 0.6, "p": 0.01, "p_holm": 0.02, "n": 270}
    writer.add_comparisons(pd.DataFrame([{**comparison, **rest}]))
    writer.add_classes(np.array([["copying", ""], ["", "anti-copying"]]))
    writer.store_items("documents", pd.DataFrame({"document": [1, 2]}))
    run = open_run(folder)
    assert run.metrics["value"].tolist() == [0.7, 0.5]
    assert run.comparisons.iloc[0].to_dict() == {**comparison, **rest}
    assert run.classes["class"].tolist() == ["copying", "", "", "anti-copying"]
    assert run.items("documents")["document"].tolist() == [1, 2]


def test_the_attention_example_comes_back(writer: RunWriter, folder: Path) -> None:
    tokens = ["</script>", "é", "\u202e", "🙂"]
    attention = torch.tril(torch.rand(2, 3, 4, 4))
    attention[0] = torch.nan
    writer.store_attention_example(tokens, quantise(attention).tril(), blocks=(1, 3))
    found = open_run(folder).attention_example
    assert found is not None and found.tokens == tuple(tokens) and found.blocks == (1, 3)
    assert (found.patterns[1] * found.scale - attention[1]).abs().max() <= 0.5 / 255 + 1e-6
    assert int(found.patterns[0].sum()) == 0
    triangle = found.patterns[1, 2][torch.ones(4, 4).tril().bool()]
    assert list(byte_patterns(found.patterns, 1, 2)) == triangle.tolist()


def test_an_attention_example_must_be_causal_and_of_the_tokens_length(writer: RunWriter) -> None:
    with pytest.raises(UsageError, match=r"later positions"):
        writer.store_attention_example(["a", "b"], torch.ones(1, 1, 2, 2, dtype=torch.uint8))
    with pytest.raises(UsageError, match=r"3 tokens need"):
        writer.store_attention_example(["a", "b", "c"], torch.zeros(1, 1, 2, 2, dtype=torch.uint8))


# --- wrong rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (metric_rows().drop(columns="value"), "lack the columns \\['value'\\]"),
        (metric_rows(extra=1), "unknown columns \\['extra'\\]"),
        (pd.concat([metric_rows(), metric_rows()]), "two rows"),
        (metric_rows(task=None), "empty"),
    ],
)
def test_rows_that_do_not_belong_are_refused(writer: RunWriter, rows: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        writer.add_metrics(rows)
    assert open_run(writer.folder).metrics.empty


def test_scores_of_another_shape_are_refused(writer: RunWriter) -> None:
    writer.add_scores(head_scores())
    with pytest.raises(UsageError, match=r"shape"):
        writer.add_scores(HeadScores.from_items("copying", torch.rand(5, 2, 4)))


def test_unknown_scores_and_items_are_named_with_what_there_is(writer: RunWriter) -> None:
    writer.add_scores(head_scores())
    with pytest.raises(UsageError, match=r"no score 'copying'; it holds prefix_matching"):
        writer.head_score("copying")
    with pytest.raises(UsageError, match=r"holds head-prefix_matching"):
        writer.items("copying")
    for name in ("../escape", "", ".hidden", "a/b"):
        with pytest.raises(UsageError, match=r"can't name items"):
            writer.store_items(name, pd.DataFrame({"a": [1]}))


def test_item_columns_must_fit(writer: RunWriter) -> None:
    for columns in ({"length": [1, 2]}, {"0.0": [0] * 5}, {"item": [0] * 5}):
        with pytest.raises(UsageError, match=r"item"):
            writer.add_scores(head_scores(), item_columns=columns)
    assert open_run(writer.folder).head_scores.empty


def test_provenance_that_cannot_be_written_is_refused_before_anything_is(writer: RunWriter) -> None:
    with pytest.raises(UsageError, match=r"finite numbers"):
        writer.add_scores(replace(head_scores(), provenance={"ids": object()}))
    assert open_run(writer.folder).head_scores.empty


# --- whose folder it is --------------------------------------------------------------------------------------------


def test_another_model_is_refused_and_both_are_named(writer: RunWriter, folder: Path) -> None:
    other = {**IDENTITY, "source": "facebook/opt-125m", "weight_hash": "cd" * 32}
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(
        StoreError, match=r"holds tiny .*abababababab.*asked for facebook/opt-125m .*cdcd.*source, weight_"
    ):
        begin_stage(folder, other, QUICK)
    with pytest.raises(StoreError, match=r"differ in kernel_route"):
        begin_stage(folder, {**IDENTITY, "kernel_route": "flex"}, QUICK)
    assert (folder / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("other", [replace(QUICK, protocol="paper"), replace(QUICK, seed=1)])
def test_another_protocol_of_a_command_is_refused(writer: RunWriter, folder: Path, other: Stage) -> None:
    for attempt in (lambda: begin_stage(folder, IDENTITY, other), lambda: check_output_folder(folder, other)):
        with pytest.raises(StoreError, match=rf"protocol '{QUICK.protocol}' with seed 0, and you asked"):
            attempt()
    assert len(open_run(folder).stages) == 1


def test_stages_are_added_and_the_same_one_is_continued(writer: RunWriter, folder: Path) -> None:
    writer.record(vocabulary={"rule": "merges", "ids": [3, 1, 2]})
    importance = Stage("importance", {"positions": "token", "limit": 48}, tasks=("copa",), options={"shots": [0, 5]})
    begin_stage(folder, IDENTITY, importance).finish()
    begin_stage(folder, IDENTITY, replace(importance, tasks=("rte",)))
    continued = begin_stage(folder, IDENTITY, replace(QUICK, versions={"torch": "2"}))
    stages = open_run(folder).stages
    assert [(stage.command, stage.tasks) for stage in stages] == [
        ("induction", ()),
        ("importance", ("copa",)),
        ("importance", ("rte",)),
    ]
    assert stages[0].record == {"vocabulary": {"rule": "merges", "ids": [3, 1, 2]}}
    assert stages[0].versions == {"torch": "2"} and bool(stages[1].finished) and not stages[0].finished
    with continued:
        pass
    assert open_run(folder).stages[0].finished


def test_a_stage_that_fails_is_not_marked_finished(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), begin_stage(folder, IDENTITY, QUICK):
        raise ZeroDivisionError
    assert not open_run(folder).stages[0].finished


def test_a_stage_refused_in_a_new_folder_takes_it_away_while_no_other_can_write(folder: Path) -> None:
    free = []

    def removed(path: Path) -> None:
        try:
            FileLock(path / ".lock", timeout=0).acquire().lock.release()
            free.append(path)
        except Timeout:
            remove_empty(path)

    with (
        mock.patch("headscope.store.writer.remove_empty", side_effect=removed) as called,
        pytest.raises(UsageError, match="too few"),
        begin_stage(folder, IDENTITY, QUICK),
    ):
        raise UsageError("too few")
    assert called.call_count == 1 and not free and not folder.exists()
    with begin_stage(folder, IDENTITY, QUICK):
        pass
    assert open_run(folder).stages[0].finished


def test_another_format_is_refused(writer: RunWriter, folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    for attempt in (
        lambda: open_run(folder),
        lambda: begin_stage(folder, IDENTITY, QUICK),
        lambda: check_output_folder(folder),
    ):
        with pytest.raises(StoreError, match=r"store format 99.*reads format 1"):
            attempt()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "\ufffd"])
def test_a_damaged_manifest_is_refused(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "manifest.json").write_text(content)
    with pytest.raises(StoreError, match=r"manifest.json|store format"):
        open_run(folder)


def test_a_folder_without_a_manifest_is_no_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(StoreError, match=r"holds no manifest.json.*headscope induction -o"):
            open_run(path)


def test_tables_without_a_manifest_are_refused(writer: RunWriter, folder: Path) -> None:
    writer.add_scores(head_scores())
    (folder / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"head_scores.parquet but no manifest.json"):
        begin_stage(folder, IDENTITY, QUICK)


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(StoreError, match=r"can't be written to.*-o"):
            begin_stage(place, IDENTITY, QUICK)
        with pytest.raises(StoreError, match=r"can't be written to.*-o"):
            check_output_folder(place, QUICK)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match=r"can't be written to"):
        check_output_folder(tmp_path / "run")


def test_an_identity_names_its_source_and_is_json(folder: Path) -> None:
    for identity in ({}, {"source": ""}, {"source": "tiny", "size": float("nan")}, {"source": "tiny", "path": Path()}):
        with pytest.raises(UsageError):
            begin_stage(folder, identity, QUICK)
    assert not folder.exists()


def test_a_damaged_table_is_named(writer: RunWriter, folder: Path) -> None:
    writer.add_scores(head_scores())
    path = folder / "head_scores.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match=r"head_scores.parquet' is not what was written"):
        open_run(folder).head_scores  # noqa: B018


def test_no_file_is_a_pickle(writer: RunWriter, folder: Path) -> None:
    writer.add_scores(head_scores())
    writer.units.put({"a": 1}, {"x": torch.ones(2)})
    for path in folder.rglob("*"):
        if path.is_file():
            assert not path.read_bytes().startswith((b"\x80", b"PK")), path


# --- units ---------------------------------------------------------------------------------------------------------

texts = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
keys = st.dictionaries(texts, values, max_size=4)
dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
shapes = st.lists(st.integers(0, 3), max_size=3)


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    named = draw(st.dictionaries(texts, st.tuples(shapes, dtypes, st.integers(0, 99)), max_size=3))
    return {
        name: torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
        for name, (shape, dtype, seed) in named.items()
        if name != "__metadata__"
    }


@given(key=keys, other=keys, content=tensors())
@ANY_FOLDER
def test_a_unit_comes_back_under_its_key_alone(
    tmp_path_factory: pytest.TempPathFactory, key: Any, other: Any, content: dict[str, torch.Tensor]
) -> None:
    store = UnitStore(tmp_path_factory.mktemp("units"), common={"weights": "ab"})
    assert store.get(key) is None and key not in store
    store.put(key, content)
    found = store.get(key)
    assert found is not None and found.keys() == content.keys()
    for name, value in content.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value)
    if canonical(other) != canonical(key):
        assert store.get(other) is None
    assert UnitStore(store.folder, common={"weights": "cd"}).get(key) is None


@given(content=tensors(), place=st.integers(0, 10**6), bit=st.integers(0, 7), cut=st.booleans())
@ANY_FOLDER
def test_a_damaged_unit_is_noticed_and_made_again(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, torch.Tensor], place: int, bit: int, cut: bool
) -> None:
    store = UnitStore(tmp_path_factory.mktemp("units"))
    key = {"task": "copa", "mask": [0, 1]}
    store.put(key, content)
    path = store.path(key)
    data = bytearray(path.read_bytes())
    place %= len(data)
    data[place] ^= 1 << bit
    path.write_bytes(data[:place] if cut else data)
    assert store.get(key) is None
    assert store.get_or_compute(key, lambda: content).keys() == content.keys()
    assert key in store and len(store) == 1


def test_a_damaged_unit_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = UnitStore(tmp_path)
    store.put({"a": 1}, {"x": torch.ones(2)})
    store.path({"a": 1}).write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert store.get({"a": 1}) is None
    assert "is damaged" in caplog.text and "made again" in caplog.text


def test_a_unit_moved_under_another_key_is_not_believed(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    store.put({"a": 1}, {"x": torch.ones(2)})
    store.path({"a": 1}).rename(store.path({"a": 2}))
    assert store.get({"a": 2}) is None


def test_a_stored_unit_is_not_computed_again(tmp_path: Path) -> None:
    store, calls = UnitStore(tmp_path), []

    def compute() -> dict[str, torch.Tensor]:
        calls.append(1)
        base = torch.arange(4.0)
        return {"x": base, "view": base.view(2, 2).T, "gradient": torch.ones(1, requires_grad=True)}

    first, second = (store.get_or_compute({"a": 1}, compute) for _ in range(2))
    assert len(calls) == 1 and all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(first["view"], torch.tensor([[0.0, 2.0], [1.0, 3.0]]))


def test_keys_that_differ_have_different_hashes() -> None:
    told = [{"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": [1]}, {"a": {"b": 1}}, {"b": 1}, {"a": None}, {}]
    assert len({digest(key) for key in told}) == len(told)
    assert digest({"a": (1, 2), "b": 0}) == digest({"b": 0, "a": [1, 2]})


@pytest.mark.parametrize(
    "key", [{"a": float("nan")}, {"a": {1: 2}}, {"a": [{None: 1}]}, {"a": object()}, {"a": b"x"}, {"a": "\ud800"}]
)
def test_keys_that_json_would_change_are_refused(key: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        digest(key)


@given(
    old=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers()), max_size=6),
    new=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers()), max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_a_merge_is_a_dictionary_update(old: list[Any], new: list[Any]) -> None:
    table = tables.Table("t", {"a": "str", "b": "int64", "v": "object"}, ("a", "b"), ("a", "b"), {})
    first, second = ({(a, b): v for a, b, v in rows} for rows in (old, new))

    def frame(rows: dict[Any, Any]) -> pd.DataFrame:
        return pd.DataFrame([(*key, value) for key, value in rows.items()], columns=["a", "b", "v"])

    merged = table.merged(table.checked(frame(first)), frame(second))
    assert [((a, b), v) for a, b, v in merged.itertuples(index=False)] == sorted({**first, **second}.items())


# --- kills ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script() -> Iterator[Forks]:
    """killed_writer.py, waiting for the folders to write."""
    with forks("killed_writer.py") as started:
        yield started


def run_once(script: Forks, folder: Path, *, kill_after: float | None) -> tuple[str, float]:
    """Let a child work on the folder, kill it after so many seconds; how it ended, and how long it took."""
    child = script.begin(folder)
    begin = time.monotonic()
    if kill_after is not None:
        time.sleep(kill_after)
        script.kill(child)
    return script.ended(), time.monotonic() - begin


def stored(folder: Path) -> dict[str, bytes]:
    """All files but what may differ: the times in the manifest, the lock, leftovers of kills."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]  # over the times, too
    for stage in manifest["stages"]:
        assert stage["finished"] and stage["started"]
        stage["finished"] = stage["started"] = ""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.name != "manifest.json"
    }
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def test_a_killed_run_goes_on_and_ends_as_one_never_killed(script: Forks, tmp_path: Path) -> None:
    ended, seconds = run_once(script, tmp_path / "whole", kill_after=None)
    assert ended == DONE
    whole = stored(tmp_path / "whole")
    assert sum(name.endswith(".unit") for name in whole) == killed_writer.UNITS
    chance = random.Random(7)
    kills = finished = 0
    for attempt in range(8):
        ended, _ = run_once(script, tmp_path / "killed", kill_after=chance.uniform(0.0, seconds))
        kills += ended != DONE
        units = len(list((tmp_path / "killed").glob("units/*.unit")))
        assert units >= finished, "a finished unit was lost"
        finished = units
        if (tmp_path / "killed" / "manifest.json").exists():
            run = open_run(tmp_path / "killed")
            for table in tables.TABLES:
                getattr(run, table.name)
            assert set(run.head_scores["score"]) <= {"score_1", "score_3", "score_5"}, attempt
    assert kills >= 3, "most children must have been killed at work, or this test shows nothing"
    assert run_once(script, tmp_path / "killed", kill_after=None)[0] == DONE
    assert stored(tmp_path / "killed") == whole


def test_a_kill_between_write_and_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table"
    write_atomically(path, b"old")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    leftovers = list(tmp_path.glob(".*.tmp"))
    remove_stale(tmp_path)
    assert list(tmp_path.glob(".*.tmp")) == leftovers != [], "younger than an hour: may be another process's"
    remove_stale(tmp_path, older_than=-1.0)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left on device"):
        write_atomically(tmp_path / "table", b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_turned_read_only_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the write nor the clean-up behind it is allowed."""

    def denied(*given: Any, **named: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("headscope.store.atomic._write_to_disk", denied)
    monkeypatch.setattr(Path, "unlink", denied)
    with pytest.raises(StoreError, match=r"a\.bin could not be written into the folder '.*': Read-only file system"):
        write_atomically(tmp_path / "a.bin", b"1")


def test_an_attention_example_is_the_same_file_every_time() -> None:
    patterns = torch.randint(0, 200, (2, 3, 3, 3), generator=torch.Generator().manual_seed(0)).tril().to(torch.uint8)
    example = AttentionExample(("a", "é", '"'), patterns, blocks=(1,))
    files = {example.encoded() for _ in range(50)}
    (content,) = files
    again = decode_example(content, Path("x"))
    assert again is not None and torch.equal(again.patterns, patterns)
    assert (again.tokens, again.scale, again.blocks) == (example.tokens, example.scale, example.blocks)
