"""The inspector's server without a browser: whom it answers, under which policy, and what its routes say."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from headscope.inspector import controls, frame, make_app
from headscope.inspector.asked import Prompt
from headscope.inspector.bench import Bench
from headscope.inspector.opening import open_model, open_run_directory
from headscope.inspector.security import BODY, refused
from headscope.inspector.server import check_port, make_server
from headscope.store.run import open_run
from interp.errors import StoreError, UsageError
from tests.headscope.inspected import inspector
from tests.headscope.synthetic import HOSTILE, Shape, write_run
from tests.headscope.tiny_model import HEADS, LAYERS, tiny_model

REPEATED = Prompt("repeated", length=6, repeats=3)
HERE = {"base_url": "http://127.0.0.1:8050"}


@pytest.fixture(scope="module")
def live() -> Bench:
    return Bench("tiny </script><script>alert(1)</script>", model=tiny_model())


@pytest.fixture(scope="module")
def client(live: Bench) -> Any:
    return make_app(live).server.test_client()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "run"
    return write_run(folder, shape=Shape(4, 4, 2), study=True, tasks=["copa", HOSTILE[0]], tokens=["<s>", *HOSTILE])


# ---- who is answered ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8050", "localhost.evil", "[::1]:8050", ""])
def test_other_names_are_not_answered(client: Any, host: str) -> None:
    answer = client.get("/", headers={"Host": host}, **HERE)
    assert answer.status_code in (400, 403) and b"headscope" not in answer.data


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "localhost:9", "localhost"])
def test_its_own_names_are_answered(client: Any, host: str) -> None:
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 200 and b"headscope" in answer.data


def test_pages_elsewhere_may_not_ask_to_compute(client: Any) -> None:
    for site in ("cross-site", "same-site"):
        answer = client.post("/_dash-update-component", json={}, headers={"Sec-Fetch-Site": site}, **HERE)
        assert answer.status_code == 403
    assert refused("127.0.0.1:8050", "same-origin", "POST") == refused("localhost", "", "POST") == ""
    assert "own page" in refused("localhost", "cross-site", "POST")


def test_requests_longer_than_any_prompt_are_refused(client: Any) -> None:
    answer = client.post("/_dash-update-component", data=b"x" * (BODY + 1), content_type="application/json", **HERE)
    assert answer.status_code == 413


def test_pages_load_and_send_nothing_elsewhere(client: Any) -> None:
    answer = client.get("/", **HERE)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'" and policy["frame-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert "'unsafe" not in policy["script-src"] and "'self'" in policy["script-src"]
    assert answer.headers["Referrer-Policy"] == "no-referrer" and answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(rb"""(?:src|href)=["']?(?:https?:)?//""", answer.data), "nothing is loaded from elsewhere"


def test_every_inline_script_is_in_the_policy(client: Any) -> None:
    import base64
    import hashlib

    answer = client.get("/", **HERE)
    allowed = re.findall(r"'(sha256-[^']+)'", answer.headers["Content-Security-Policy"])
    inline = re.findall(r"<script(?![^>]*(?:src=|application/json))[^>]*>(.*?)</script>", answer.text, re.DOTALL)
    assert inline
    for text in inline:
        assert f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}" in allowed


def test_a_models_name_is_text(client: Any) -> None:
    assert b"<script>alert(1)</script>" not in client.get("/", **HERE).data
    layout = client.get("/_dash-layout", **HERE).get_json()
    assert "tiny </script><script>alert(1)</script>" in str(layout)  # as a string for the browser to set as text


# ---- routes ---------------------------------------------------------------------------------------------------------


def test_the_drawing_stands_in_a_sandbox_with_its_tokens_as_text(live: Bench, client: Any) -> None:
    text = "".join(HOSTILE)
    prompt = Prompt("text", text=text)
    live.attention(prompt)
    answer = client.get(f"/attention/{prompt.key}/1/2?start=0", **HERE)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'") and "allow-same-origin" not in policy
    assert "<script>alert(1)" not in answer.text and "</script><script>" not in answer.text.replace("\n", "")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/attention/unknown/0/0", "no longer held"),
        ("/attention/{key}/9/0", "head 9.0 does not exist"),
        ("/attention/{key}/0/x", "is not a head"),
        ("/attention/{key}/0/0?start=-4", "can lie between"),
        ("/attention/{key}/0/0?without=9.9~~zero", "head 9.9 does not exist"),
    ],
)
def test_drawings_that_can_not_be_had_say_why(live: Bench, client: Any, address: str, says: str) -> None:
    live.attention(REPEATED)
    answer = client.get(address.format(key=REPEATED.key), **HERE)
    assert answer.status_code == 404 and says in answer.text


def test_the_stored_sequence_is_drawn_without_the_model(run_folder: Path) -> None:
    bench = Bench("stored", run=open_run(run_folder), why="--no-model")
    served, prompt = make_app(bench).server.test_client(), Prompt("stored")
    bench.attention(prompt)
    answer = served.get(f"/attention/{prompt.key}/1/2?start=0", **HERE)
    assert answer.status_code == 200 and "AttentionHeads" in answer.text


def test_a_removal_in_an_address_is_read_back() -> None:
    removal = {"heads": [[1, 2], [2, 0]], "ffns": [1], "ablation": "mean"}
    told = frame.removal_of(frame.address_of(removal))
    assert told == {"heads": [["1", "2"], ["2", "0"]], "ffns": ["1"], "ablation": "mean"}
    assert frame.removal_of("") == {"heads": [], "ffns": [], "ablation": "zero"}


def test_the_drawing_after_removal_is_the_pass_with_the_gates(live: Bench) -> None:
    live.attention(REPEATED)
    whole, without = (
        frame.drawing(live, REPEATED.key, 2, "all", {"without": removed}) for removed in ("", "0.1_1.3~0~zero")
    )
    assert whole.patterns.shape == without.patterns.shape == (HEADS, 19, 19)
    assert abs(whole.patterns - without.patterns).max() > 1e-3


def test_the_scores_are_those_of_the_report(run_folder: Path) -> None:
    from headscope.report.contents import score_data
    from headscope.store.snapshot import Stored

    run = open_run(run_folder)
    served = make_app(Bench("stored", run=run, why="--no-model")).server.test_client()
    answer = served.get("/scores/0.json", **HERE)
    assert answer.get_json() == score_data(Stored(run)) and len(answer.get_json()["entries"][0]["mean"]) == 16


def test_report_and_inspector_draw_with_the_same_scripts(client: Any) -> None:
    from headscope.report.page import shared_script

    assert client.get("/shared.js", **HERE).text == shared_script()
    page = client.get("/", **HERE).text
    assert page.index("/shared.js") < page.index("assets/1_state.js")


# ---- opening --------------------------------------------------------------------------------------------------------


def test_a_run_without_its_model_says_why(run_folder: Path) -> None:
    def fails(source: str) -> Any:
        raise UsageError(f"there is no {source}")

    off = open_run_directory(run_folder, fails, data="hub", with_model=True)
    assert off.model is None and "could not be loaded (there is no smollm2-135m)" in off.why
    asked_not = open_run_directory(run_folder, fails, data="hub", with_model=False)
    assert "--no-model" in asked_not.why
    other = open_run_directory(run_folder, lambda source: tiny_model(), data="hub", with_model=True)
    assert other.model is None and "now has other weights" in other.why
    assert other.why in str(controls.prompt_bar(other)) and other.why in str(controls.removal_panel(other))


def test_another_models_run_directory_is_refused(run_folder: Path) -> None:
    with pytest.raises(StoreError, match="belongs to another model"):
        open_model(tiny_model(), run_folder, data="hub")


def test_a_model_without_a_run_is_scored_while_it_is_looked_at(tmp_path: Path) -> None:
    bench = open_model(tiny_model(), tmp_path / "run", data="hub")
    assert bench.scoring is not None and bench.scoring.thread is not None
    assert bench.scores.strongest() == (0, 0)
    bench.scoring.thread.join(120)
    assert bench.version == 1 and not bench.scoring.failed
    assert len(bench.scores.by_id["prefix_matching///0"]["mean"]) == LAYERS * HEADS
    again = open_model(tiny_model(), tmp_path / "run", data="hub")
    assert again.scoring is None and again.scores.entries


def test_ports_that_can_not_be_had_are_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match=r"can't be used.*--port"):
            check_port(taken.getsockname()[1])
    with pytest.raises(UsageError, match="is not a port"):
        check_port(70_000)


def test_the_server_listens_on_this_machine_alone(live: Bench) -> None:
    server = make_server(live, 0)
    try:
        assert server.server_address[0] == "127.0.0.1" and server.server_port > 0
    finally:
        server.server_close()


def test_the_program_says_its_address_and_ends_when_told(run_folder: Path) -> None:
    from urllib.request import urlopen

    with inspector(run_folder, "--no-model") as address, urlopen(address, timeout=30) as answer:  # noqa: S310
        assert answer.status == 200 and b"Attention heads of" in answer.read()
