"""Whatever comes in from outside is read, or refused with a sentence: never a traceback.

Every door that takes something from outside has a strategy here. HEADSCOPE_FUZZ says how many inputs all doors get
together (`make fuzz`: 100,000); without it the slow tier gives 500 to each, and the default tier 15.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, urlencode

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ablation.tasks import own_files
from ablation.tasks.data import read_rows
from headscope.cli import values
from headscope.comparison.models import parameters_of
from headscope.findings.methods import methods
from headscope.findings.models import paired
from headscope.findings.page import page_of
from headscope.inspector.app import make_app
from headscope.inspector.asked import asked_prompt, asked_removal
from headscope.inspector.bench import Bench
from headscope.inspector.beside import Beside
from headscope.inspector.callback_requests import NotAsked, checked
from headscope.inspector.frame import removal_of
from headscope.inspector.reading import seen
from headscope.stages.cells import parse_shots
from headscope.stages.token_counts import recorded_candidates
from headscope.store.attention_example import decode_example
from headscope.store.canonical import digest
from headscope.store.items import read_items, values_of
from headscope.store.manifest import FILE, read_manifest
from headscope.store.parquet import decode, encode
from headscope.store.run import Run, open_run
from headscope.store.schema import StoredOptions, StoredRecord
from headscope.store.tables import TABLES
from headscope.store.units import UnitStore
from interp.errors import HeadscopeError
from interp.gguf_conversion import read_header
from interp.masks import parse_heads
from tests.headscope.store.stored import UNIT, write_run

ASKED = int(os.environ.get("HEADSCOPE_FUZZ", "0"))

texts = st.text(max_size=12) | st.sampled_from(
    ["²", "①", "9" * 5000, "-0", "1e999", "\x00", "../..", "=1+1", "\ud800", "nan"]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts
any_json = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=10
)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes with some exchanged, taken out or put in."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        what = draw(st.binary(max_size=9))
        content[at : at + draw(st.integers(0, 9))] = what
    return bytes(content)


@st.composite
def changed(draw: st.DrawFn, content: Any) -> Any:
    """The JSON with another value somewhere."""
    if not isinstance(content, dict | list) or not content or draw(st.integers(0, 3)) == 0:
        return draw(any_json)
    place = draw(st.sampled_from(sorted(content) if isinstance(content, dict) else range(len(content))))
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[place] = draw(changed(copy[place]))
    return copy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("fuzz") / "run", layers=2, heads=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a file may be put to be read."""
    return tmp_path_factory.mktemp("fuzzed")


# Of the types that notes have, at one level or another.
almost = st.sampled_from(
    [5, -1, [1], [[1]], ["x"], {"a": 1}, {"a": [1]}, {"a": ["x"]}, [{"a": 1}], [{"documents": "x"}]]
)
COMMANDS = [
    "induction",
    "screen",
    "primary",
    "vectors",
    "contest",
    "importance",
    "study",
    "compare",
    "knockout",
    "prune",
]
Door = Callable[[Path, Path], tuple[st.SearchStrategy[Any], Callable[[Any], Any]]]


def a_manifest(run: Path, place: Path) -> Any:
    """Another value anywhere, or a note of a stage that is one, under a sound hash: pages are made of what is read."""
    folder = Path(shutil.copytree(run, place / "noted", dirs_exist_ok=True))
    whole = json.loads((folder / FILE).read_bytes())
    notes = sorted({*StoredRecord.model_fields, *StoredOptions.model_fields, "ways", "limit", "queries"})

    @st.composite
    def noted(draw: st.DrawFn) -> Any:
        part = draw(st.sampled_from(["record", "protocol", "options"]))
        note = {draw(st.sampled_from(notes)): draw(any_json | almost)}
        stage = {"command": draw(st.sampled_from(COMMANDS)), "protocol": {}, "finished": "2026-01-01T00:00:00+00:00"}
        return {**whole, "stages": [*whole["stages"], {**stage, part: note}]}

    def read(content: Any) -> Any:
        if isinstance(content, dict):
            content = {name: value for name, value in content.items() if name != "sha256"}
            with contextlib.suppress(HeadscopeError):
                content = {**content, "sha256": digest(content)}
        (folder / FILE).write_text(json.dumps(content), encoding="utf-8")
        found = open_run(folder)
        told = [stage.describe() for stage in found.stages], recorded_candidates(found.manifest)
        return told, page_of(found), methods(found), parameters_of(found)

    return changed(whole) | noted(), read


def a_manifests_bytes(run: Path, place: Path) -> Any:
    def read(content: bytes) -> Any:
        (place / FILE).write_bytes(content)
        return read_manifest(place)

    return damaged((run / FILE).read_bytes()) | st.binary(max_size=60), read


columns = st.sampled_from([*{name: None for table in TABLES for name in table.columns}, "more"])
arrays = st.sampled_from(
    [
        np.array([0, 1]),
        np.array([-1, 2**62]),
        np.array([0.5, np.nan], dtype=np.float32),
        np.array([np.inf, -np.inf]),
        np.array(["a", "\x00"], dtype=object),
        np.array([None, "b"], dtype=object),
        np.array([True, False]),
        np.array(["2026-01-01", "NaT"], dtype="datetime64[s]"),
        np.array([b"\xff", b""], dtype=object),
        pd.Series([["a"], []]),
        pd.Series([{"a": 1}, {"a": 2}]),
        pd.Series(["a", "b"], dtype="category"),
    ]
)


def a_table(run: Path, place: Path) -> Any:
    @st.composite
    def tables(draw: st.DrawFn) -> Any:
        table = draw(st.sampled_from(TABLES))
        kinds = {"int64": np.array([0, 1]), "str": np.array(["a", "b"], dtype=object)}
        frame = {
            name: kinds.get(dtype, np.array([0.5, 1], dtype=dtype))
            for name, dtype in table.columns.items()
            if dtype != "str"
        }
        frame |= {name: kinds["str"] for name, dtype in table.columns.items() if dtype == "str"}
        given = {name: frame[name] for name in table.columns}
        given |= draw(st.dictionaries(columns, arrays, max_size=2))
        return table, pd.DataFrame(given)

    def read(asked: Any) -> Any:
        table, frame = asked
        (place / FILE).unlink(missing_ok=True)
        table.path(place).write_bytes(encode(frame))
        return table.read(place)

    return tables(), read


def items(run: Path, place: Path) -> Any:
    whole = {name: Run(run).items(name) for name in Run(run).item_names}
    more = st.dictionaries(
        st.sampled_from(["item", "cluster", "length", "0.0", "0.7", "9" * 5, "0"]), arrays, max_size=2
    )

    def read(asked: Any) -> Any:
        name, given, gone = asked
        frame = whole[name].head(2)
        changed = frame.drop(columns=gone, errors="ignore").assign(**given)
        rows = read_items(encode(changed), place / f"{name}.parquet", name)
        return values_of(rows, (2, 2) if name.startswith("head") else (2,), np.float64)

    gone = st.sampled_from(["", "item", "0.0", "1.1", "1"])
    return st.tuples(st.sampled_from(sorted(whole)), more, gone), read


def a_tables_bytes(run: Path, place: Path) -> Any:
    whole = (run / "metrics.parquet").read_bytes()
    return damaged(whole), lambda content: decode(content, place / "metrics.parquet")


def a_unit(run: Path, place: Path) -> Any:
    store = UnitStore(place / "units", {"a": 1})
    store.put(UNIT, {"x": torch.arange(4.0)})
    path = store.path(UNIT)
    whole = path.read_bytes()

    def read(content: bytes) -> Any:
        path.write_bytes(content)
        found = store.get(UNIT)
        assert found is None or torch.equal(found["x"], torch.arange(4.0))

    return damaged(whole), read


def an_example(run: Path, place: Path) -> Any:
    pattern = torch.ones(1, 1, 2, 2).tril().to(torch.uint8)

    def read(notes: dict[str, str]) -> Any:
        content = safetensors.torch.save({"patterns": pattern}, metadata=notes)
        return decode_example(content, place / "example")

    whole = {"tokens": '["a", "b"]', "scale": "0.004", "blocks": "[0]"}
    words = st.sampled_from(
        [*whole.values(), "[NaN]", "[" * 3000, "null", '["\\ud800", "b"]', "9" * 5000]
    ) | any_json.map(json.dumps)
    return st.dictionaries(st.sampled_from([*whole]), words).map(lambda notes: {**whole, **notes}), read


def a_gguf(run: Path, place: Path) -> Any:
    import gguf

    path = place / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b"])
    writer.add_tensor("token_embd.weight", np.zeros((2, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    whole = path.read_bytes()

    def read(content: bytes) -> Any:
        path.write_bytes(content)
        return read_header(path)

    return damaged(whole) | st.binary(max_size=40), read


def documents(run: Path, place: Path) -> Any:
    line = json.dumps({"question": "a", "label": 1}).encode()

    def read(content: bytes) -> Any:
        path = place / "train.jsonl"
        path.write_bytes(content)
        return read_rows(path)

    lines = damaged(line) | any_json.map(lambda value: json.dumps(value).encode())
    return st.lists(lines, max_size=4).map(b"\n".join), read


def a_task_file(run: Path, place: Path) -> Any:
    """A task of the user's own, in YAML: other values and words, damaged bytes, aliases, tags, names of files."""
    import yaml

    settings = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"train": "train.jsonl"}},
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "metric_list": [{"metric": "acc"}],
    }
    whole = yaml.safe_dump(settings).encode()
    bomb = "a: &a [1, 1]\n" + "".join(
        f"{x}: &{x} [*{y}, *{y}]\n" for x, y in zip("bcdefghijklm", "abcdefghijkl", strict=True)
    )
    words = st.sampled_from(
        [
            f"{bomb}task: *m",
            "task: &a [*a]",
            "[" * 3000,
            "task: !!python/name:os.system",
            "task: !function a.b",
            "include: /",
            "include: [nowhere]",
            "task: mine\ntask: [",
            "? {a: b}\n: c",
            "task: 2026-11-30",
            "%TAG",
            "--- 1\n--- 2",
        ]
    )
    dumped = changed(settings).map(
        lambda content: yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "replace")
    )
    contents = dumped | damaged(whole) | words.map(str.encode) | st.binary(max_size=40)
    names = texts.map(lambda name: f"{name}.yaml") | st.sampled_from(
        ["~nobody-at-all/a.yaml", "/dev/null/a.yaml", ".yaml"]
    )

    def read(asked: bytes | str) -> Any:
        path = place / "mine.yaml"
        if isinstance(asked, bytes):
            path.write_bytes(asked)
        with mock.patch.dict(own_files._FILES, clear=True):  # names are for a whole process
            return own_files.register(asked if isinstance(asked, str) else str(path))

    return contents | names, read


def an_address(run: Path, place: Path) -> Any:
    """What a browser may fetch beside the page: never a defect of the server's, whatever stands in the address."""
    bench = Bench("tiny", run=open_run(run), why="not loaded.")
    bench.beside = Beside(open_run(run), "other", "tiny", paired)
    client = make_app(bench).server.test_client()
    held = asked_prompt({"kind": "stored"})
    seen(bench, {"prompt": {"kind": "stored"}}, None)
    assert bench.asked_before(held.key) == held
    numbers = st.integers(-2, 9).map(str) | st.integers().map(str) | texts
    heads, windows = numbers | st.just("all"), st.none() | numbers
    removed = st.none() | st.sampled_from(["0.1~~zero", "0.1_1.0~1~mean", "~~", "9.9~~zero", "0.²~1e3~"]) | texts
    drawings = st.tuples(st.just(held.key) | texts, numbers, heads, windows, removed).map(
        lambda parts: (
            f"/attention/{'/'.join(quote(part, errors='replace') for part in parts[:3])}",
            parts[3],
            parts[4],
        )
    )
    tables = st.tuples(st.sampled_from(["scores", "beside", "attention", "assets", "shared.js"]), numbers).map(
        lambda parts: (f"/{parts[0]}/{quote(parts[1], errors='replace')}.json", None, None)
    )

    def read(asked: tuple[str, str | None, str | None]) -> Any:
        address, start, without = asked
        told = {name: value for name, value in (("start", start), ("without", without)) if value is not None}
        query = urlencode(told, errors="replace")
        answer = client.get(f"{address}?{query}", base_url="http://127.0.0.1:8050")
        assert answer.status_code in (200, 301, 308, 400, 403, 404, 405, 503), (answer.status_code, answer.text[:500])
        assert "Traceback" not in answer.text
        return answer.status_code

    return drawings | tables, read


def typed(run: Path, place: Path) -> Any:
    doors: list[Callable[[str], Any]] = [
        parse_heads,
        parse_shots,
        values.whole_numbers("--percents", "0,10"),
        values.whole("--seed", high=values.LARGEST_SEED),
        values.positive("--budget", "hours"),
        values.path("-o"),
        values.names("--tasks", "names"),
        values.device,
        values.data,
        lambda text: Run(run)._refuse_other_grammar("pruning_area", text),
        lambda text: asked_removal(removal_of(text), 3, 4),
    ]
    pieces = st.lists(
        texts | st.sampled_from([".", ",", "L1H2", "1.2", "0", "@", "/", "=", "~", "_", "cuda:", " "]), max_size=6
    )

    def read(asked: tuple[int, str]) -> Any:
        return doors[asked[0]](asked[1])

    return st.tuples(st.integers(0, len(doors) - 1), pieces.map("".join)), read


def a_request(run: Path, place: Path) -> Any:
    whole = {
        "output": "a.data",
        "outputs": {"id": "a", "property": "data"},
        "inputs": [{"id": "look", "property": "data", "value": {"head": [0, 1], "prompt": {"kind": "stored"}}}],
        "state": [{"id": "tab", "property": "data", "value": "t"}],
    }
    known = {"a.data": {"callback": 1, **{kind: whole[kind] for kind in ("inputs", "state")}}}

    def read(content: Any) -> Any:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        checked(body, known)
        look = json.loads(body)["inputs"][0].get("value") or {}
        return asked_prompt(look.get("prompt")), asked_removal(look.get("after"), 3, 4)

    return changed(whole) | damaged(json.dumps(whole).encode()), read


DOORS: list[Door] = [
    a_manifest,
    a_manifests_bytes,
    a_table,
    items,
    a_tables_bytes,
    a_unit,
    an_example,
    a_gguf,
    documents,
    a_task_file,
    typed,
    a_request,
    an_address,
]
TIERS = [15, pytest.param(500, marks=pytest.mark.slow)] if not ASKED else [max(1, ASKED // len(DOORS))]


def fuzz(door: Door, count: int, run: Path, place: Path) -> None:
    """Give a door so many inputs; the first that is neither read nor refused is an error."""
    inputs, read = door(run, place)

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=not ASKED,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def holds(given_input: Any) -> None:
        try:
            read(given_input)
        except (HeadscopeError, NotAsked) as error:
            assert str(error).strip() and len(str(error)) < 5000

    holds()


@pytest.mark.parametrize("count", TIERS)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_what_comes_in_is_read_or_refused_with_a_sentence(door: Door, count: int, run: Path, place: Path) -> None:
    fuzz(door, count, run, place)


def test_a_table_in_a_pipe_of_bytes_is_what_was_written() -> None:
    """The strategies begin from what is read without an error."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [0.5, np.nan]})
    back = decode(encode(frame), Path("t.parquet"))
    pd.testing.assert_frame_equal(back, pd.read_parquet(io.BytesIO(encode(frame))))


# What ended in a traceback, or in a sentence of pages, before it was mended.
CRASHED: list[tuple[Callable[[Any], Any], Any]] = [
    (values.data, "9" * 5000),
    (values.path("-o"), "\ud800"),
    (
        lambda notes: decode_example(safetensors.torch.save({"patterns": torch.ones(1)}, notes), Path("e")),
        {"scale": "9"},
    ),
    (parse_heads, "1.²"),
    (parse_shots, "9" * 5000),
    (own_files.register, "~nobody-at-all/a.yaml"),
    (own_files.register, "9" * 5000 + ".yaml"),
]


@pytest.mark.parametrize(("read", "given_input"), CRASHED, ids=[str(n) for n in range(len(CRASHED))])
def test_what_crashed_once_is_refused(read: Callable[[Any], Any], given_input: Any) -> None:
    with pytest.raises(HeadscopeError) as told:
        read(given_input)
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize("key", [b"gpt2", b"llama"])
def test_text_that_is_no_text_in_a_gguf_header_is_refused(run: Path, place: Path, key: bytes) -> None:
    _, read = a_gguf(run, place)
    whole = (place / "model.gguf").read_bytes()
    with pytest.raises(HeadscopeError, match=r"can't be read as a GGUF file"):
        read(whole.replace(key, b"\x80" + key[1:]))
