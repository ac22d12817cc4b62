"""The door for what a browser sends: what the page sends goes through, anything else is 400 and a sentence."""

from __future__ import annotations

import copy
import csv
import io
import json
import random
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headscope.inspector import make_app
from headscope.inspector.asked import asked_head, asked_prompt, asked_removal, whole
from headscope.inspector.bench import Bench
from headscope.inspector.callback_requests import ROUTE, TYPES, NotAsked, checked
from headscope.inspector.opening import open_run_directory
from headscope.inspector.server import make_server
from headscope.report.csv_text import harmless, text_of
from headscope.store.run import EXAMPLE, open_run
from interp.errors import HeadscopeError, StoreError, UsageError
from interp.masks import parse_heads
from tests.headscope.store.stored import write_run
from tests.headscope.tiny_model import tiny_model

HERE = {"base_url": "http://127.0.0.1:8050"}
PROMPT = {"kind": "repeated", "length": 3, "repeats": 2, "seed": 0}
REMOVAL = {"heads": [[0, 1]], "ffns": [1], "ablation": "zero"}
LOOK = {"head": [0, 1], "prompt": PROMPT, "after": None, "query": 2, "window": [0, 0], "key": "k"}
SENT: dict[str, Any] = {
    "look.data": LOOK,
    "row-asked.data": LOOK,
    "drawing.data": {**LOOK, "vis": {"kind": "head", "start": 0}},
    "reading.data": {"prompt": PROMPT, "tokens": ["a"], "key": "k"},
    "prompt.data": PROMPT,
    "removal.data": REMOVAL,
    "after.data": REMOVAL,
    "resting.data": [0, 1],
    "vis.data": {"kind": "head", "start": 0},
    "query.data": 1,
    "version.data": 0,
    "list-asked.data": {"heads": "0.1", "ffns": "1"},
    "write-asked.data": {"prompt": PROMPT, "removal": REMOVAL, "query": 2, "key": "k", "count": 3},
    "writers-asked.data": {"prompt": PROMPT, "removal": REMOVAL, "query": 2, "key": "k", "answer": "", "other": "a"},
    "patch-asked.data": {"prompt": PROMPT, "query": 2, "key": "k", "answer": "a", "corrupt": "ab cd", "at": "last"},
    "grid-asked.data": {"prompt": PROMPT, "removal": REMOVAL, "key": "k"},
    "average-asked.data": {"prompt": PROMPT, "removal": REMOVAL, "head": [0, 1], "count": 2, "lines": "ab cd\nef gh"},
    "csv.data": {"what": "attention", "head": [0, 1]},
    "stored-choice.data": ["scatter", 0],
    "tab.data": "t1",
    "prompt-name.children": "A prompt",
    "poll.n_intervals": 1,
    "scoring-poll.n_intervals": 1,
}
WRONG: list[Any] = [
    None,
    True,
    -1,
    2**70,
    1e308,
    "",
    "²",
    "9" * 5000,
    "\ud800",
    "a" * 50_000,
    "constructor",
    [],
    [[]],
    [[0]],
    [0, 1, 2],
    [None, None],
    ["0", "1"],
    [1.5, 0],
    {},
    {"kind": []},
    {"kind": {"a": 1}},
    {"head": {}},
    {"heads": {"a": 1}},
    {"kind": "stored"},
    {"kind": "task", "task": ["x"]},
    {"kind": "task", "task": "../../etc/passwd", "shots": 2**80},
    {"kind": "text", "text": 5},
    {"start": -5},
    {"what": ["scores"]},
    {"what": {"a": 1}},
]


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    run = open_run(write_run(tmp_path_factory.mktemp("door") / "run"))
    return {"model": Bench("tiny", model=tiny_model()), "run": Bench("tiny", run=run, why="not loaded.")}


@pytest.fixture(scope="module")
def apps(benches: dict[str, Bench]) -> dict[str, Any]:
    return {name: make_app(bench) for name, bench in benches.items()}


def requests(app: Any) -> list[dict[str, Any]]:
    """What the page sends to every callback of the server's."""
    return [
        {
            "output": output,
            "outputs": outputs_of(output),
            "inputs": [{**part, "value": copy.deepcopy(SENT[name_of(part)])} for part in known["inputs"]],
            "state": [{**part, "value": copy.deepcopy(SENT[name_of(part)])} for part in known["state"]],
            "changedPropIds": [name_of(known["inputs"][0])],
        }
        for output, known in app.callback_map.items()
        if "callback" in known
    ]


def name_of(part: dict[str, Any]) -> str:
    return f"{part['id']}.{part['property']}"


def outputs_of(output: str) -> Any:
    if not output.startswith(".."):
        return dict(zip(("id", "property"), output.rsplit(".", 1), strict=True))
    return [dict(zip(("id", "property"), name.rsplit(".", 1), strict=True)) for name in output[2:-2].split("...")]


def post(app: Any, body: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return app.server.test_client().post(ROUTE, data=data, content_type="application/json", **HERE)


@pytest.mark.parametrize("kind", ["model", "run"])
def test_every_callback_is_answered_and_all_it_reads_has_a_type(apps: dict[str, Any], kind: str) -> None:
    sent = requests(apps[kind])
    assert len(sent) >= 5
    assert {name_of(part) for body in sent for part in (*body["inputs"], *body["state"])} <= {*TYPES}
    for body in sent:
        answer = post(apps[kind], body)
        assert answer.status_code in (200, 204), (body["output"], answer.text)
        assert "defect of the inspector" not in answer.text, body["output"]


def test_the_types_are_those_of_the_page(apps: dict[str, Any]) -> None:
    """Nothing in the table that no callback reads."""
    read = {
        name_of(part) for app in apps.values() for body in requests(app) for part in (*body["inputs"], *body["state"])
    }
    assert {*TYPES} - read <= {"scoring-poll.n_intervals"}  # there while scores are made


BROKEN: list[tuple[Any, str]] = [
    (b"", "not JSON"),
    (b"[" * 10_000, "not JSON"),
    (b"\xff", "not JSON"),
    (b'{"output": NaN}', "not JSON"),
    (b"[]", "the value is '[]'"),
    (b'{"output": 5}', "output is '5'"),
    (b'{"output": ["a"], "outputs": []}', "output is"),
    ({"output": "../../x.data", "outputs": {"id": "a", "property": "b"}}, "There is nothing called"),
    ({"output": "mosaic-a.figure", "outputs": {"id": "mosaic-a", "property": "figure"}}, "There is nothing called"),
]


@pytest.mark.parametrize(("body", "sentence"), BROKEN, ids=lambda part: str(part)[:30])
def test_what_is_no_request_of_the_page_is_400_and_a_sentence(apps: dict[str, Any], body: Any, sentence: str) -> None:
    answer = post(apps["run"], body)
    assert answer.status_code == 400 and sentence in answer.text, answer.text


def test_inputs_of_another_callback_are_refused(apps: dict[str, Any]) -> None:
    first = requests(apps["run"])[0]
    for part in ("inputs", "state"):
        answer = post(apps["run"], {**first, part: [{"id": "other", "property": "data", "value": 1}]})
        assert answer.status_code == 400 and f"brings the {part}" in answer.text
    answer = post(apps["run"], {**first, "outputs": {"id": "other", "property": "data"}})
    assert answer.status_code == 400 and "asks for" in answer.text


def mutated(body: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Another value, or a part of one, in one of the request's places."""
    changed = copy.deepcopy(body)
    holder = chance.choice([*changed["inputs"], *changed["state"]])
    place: Any = "value"
    while isinstance(holder[place], dict | list) and len(holder[place]) and chance.random() < 0.7:
        holder = holder[place]
        place = chance.choice(list(holder) if isinstance(holder, dict) else list(range(len(holder))))
    holder[place] = chance.choice(WRONG)
    return changed


@pytest.mark.parametrize("count", [60, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["model", "run"])
def test_no_mutated_request_is_a_defect(apps: dict[str, Any], kind: str, count: int) -> None:
    chance, sent = random.Random(kind), requests(apps[kind])
    told = {200: 0, 204: 0, 400: 0}
    for _ in range(count):
        body = mutated(chance.choice(sent), chance)
        answer = post(apps[kind], body)
        assert answer.status_code in told, (answer.status_code, body)
        assert "defect of the inspector" not in answer.text, body
        assert answer.status_code != 400 or len(answer.text) < 1000
        told[answer.status_code] += 1
    print(f"{kind}: {told}")
    assert told[400] > count / 4 and told[200] > 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_refused_by_a_sentence_of_its_own(value: Any) -> None:
    with pytest.raises(NotAsked):
        checked(json.dumps(value).encode(), {})


@given(json_values)
def test_what_is_asked_is_read_or_refused_with_a_sentence(value: Any) -> None:
    for read in (
        asked_prompt,
        lambda value: asked_head(value, 3, 4),
        lambda value: asked_removal(value, 3, 4),
        lambda value: whole(value, "n", 0, 9),
        lambda value: parse_heads(str(value)),
    ):
        try:
            read(value)
        except HeadscopeError as error:
            assert str(error)


@pytest.mark.parametrize(
    "typed",
    ["²", "①", "\N{FULLWIDTH DIGIT NINE}", "1" * 5000, "--1", "1e3", "0x1", "nan", "inf", "1.5", "", " ", "1 2"],
)
def test_numbers_are_digits_from_0_to_9(typed: str) -> None:
    with pytest.raises(UsageError):
        whole(typed, "n", 0, 9)
    with pytest.raises(UsageError):
        asked_head([typed, 0], 3, 4)


@pytest.mark.parametrize(
    "address", ["k/99999999999999999999/0", "k/0/²", "k/0/" + "9" * 5000, "%ff/0/0", "k/0/0?without=²"]
)
def test_an_address_that_is_none_is_no_defect(apps: dict[str, Any], address: str) -> None:
    answer = apps["run"].server.test_client().get(f"/attention/{address}", **HERE)
    assert answer.status_code in (400, 404)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("\r\n@SUM(A1)", "'\r\n@SUM(A1)"),
        ("-0.25", "-0.25"),
        ("+1e-05", "+1e-05"),
        ("-", "-"),
        ("=", "="),
        ("copa", "copa"),
        (-3.5, -3.5),
        (None, None),
    ],
)
def test_a_cell_is_never_a_formula(cell: Any, written: Any) -> None:
    assert harmless(cell) == written
    assert list(csv.reader(io.StringIO(text_of(["a"], [[cell]]), newline="")))[1] == [
        "" if written is None else str(written)
    ]


def test_a_damaged_run_is_refused_before_a_page_opens(tmp_path: Path) -> None:
    for name in ("head_scores.parquet", "classes.parquet", "items/head-prefix_matching.parquet", EXAMPLE):
        folder = write_run(tmp_path / name.replace("/", "-"))
        (folder / name).write_bytes(b"PAR1")
        with pytest.raises(StoreError, match=Path(name).name):
            open_run_directory(folder, lambda source: tiny_model(), data="hub", with_model=False)


def test_a_run_that_is_damaged_while_it_is_looked_at_is_told(tmp_path: Path) -> None:
    bench = Bench("tiny", run=open_run(write_run(tmp_path / "run")), why="not loaded.")
    app = make_app(bench)
    (tmp_path / "run" / "head_scores.parquet").write_bytes(b"PAR1")
    for address in ("/scores/0.json", "/_dash-layout"):
        answer = app.server.test_client().get(address, **HERE)
        assert answer.status_code == 503 and "is not what was written" in answer.text


def test_connections_that_say_nothing_are_closed(benches: dict[str, Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, the next person is answered."""
    monkeypatch.setattr("headscope.inspector.server.IDLE_SECONDS", 0.3)
    server = make_server(benches["run"], 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    silent = [socket.create_connection(("127.0.0.1", server.server_port), timeout=20) for _ in range(64)]
    silent[0].sendall(b"GET / HTTP/1.1\r\nHost: 127")
    try:
        assert all(connection.recv(1) == b"" for connection in silent)
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as asked:
            asked.sendall(b"GET /shared.js HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            assert b" 200 " in asked.recv(64)
    finally:
        for connection in silent:
            connection.close()
        server.shutdown()
        server.server_close()
        thread.join()
