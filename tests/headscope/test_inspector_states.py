"""What the inspector shows while answers are late, overtake each other or are refused: in Chromium, on a tiny model."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headscope.inspector.bench import Bench
from headscope.inspector.server import make_server
from headscope.run import open_run
from interp.errors import UsageError
from tests.headscope.browsed import READY
from tests.headscope.inspected import Heard
from tests.headscope.synthetic import Shape, write_run
from tests.headscope.tiny_model import tiny_model

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
pytestmark = pytest.mark.browser

BLOCK, REPEATS = 12, 4  # of the prompt that the inspector opens with
LENGTH = 1 + BLOCK * REPEATS


@contextmanager
def served(bench: Bench) -> Iterator[str]:
    """The address of an inspector in this process, where a test can hold its answers back."""
    server = make_server(bench, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    expect.set_options(timeout=30_000)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[Bench, str]]:
    bench = Bench("tiny", model=tiny_model())
    with served(bench) as address:
        yield bench, address


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("states") / "run", shape=Shape(4, 4, 2), study=True, tasks=["copa", "rte"])


@pytest.fixture(scope="module")
def stored(folder: Path) -> Iterator[tuple[Bench, str]]:
    """A run without its model."""
    bench = Bench("smollm2-135m", run=open_run(folder), why="it was started with --no-model.")
    with served(bench) as address:
        yield bench, address


@pytest.fixture
def look(browser: Any) -> Iterator[Any]:
    """Opens pages; whatever a test does, they say nothing and ask nobody else."""
    context, heard = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True), Heard()

    def opened(address: str, shared: str = "") -> Any:
        heard.listen(context, address)
        page = context.new_page()
        page.goto(address + shared)
        page.wait_for_selector(READY)
        return page

    yield opened
    defects = [text for page in context.pages for text in page.locator("#defect").all_inner_texts()]
    context.close()
    assert not any(defects)
    assert heard.messages == [] and heard.elsewhere == []


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[threading.Event]:
    """The first call of a function of the server waits until the event is set."""
    module, _, function = name.rpartition(".")
    from importlib import import_module

    whole, go, calls = getattr(import_module(module), function), threading.Event(), iter(range(1 << 20))

    def waits(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 0:
            assert go.wait(60)
        return whole(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(name, waits)
        try:
            yield go
        finally:
            go.set()


def choose(page: Any, layer: int, head: int) -> None:
    page.evaluate("(head) => headscope.select(head)", [layer, head])


def settled(page: Any, head: str, tokens: int = LENGTH) -> None:
    """Everything of this head is there."""
    expect(page.locator("#card-title")).to_have_text(f"Head {head}")
    expect(page.locator("#attention-title")).to_contain_text(f"head {head}")
    expect(page.locator("#strip button[title*=attention]").first).to_be_attached()
    expect(page.locator("#strip button")).to_have_count(tokens)


def shaded(page: Any) -> tuple[int, list[float]]:
    """The framed token, and the attention that the strip tells of the tokens up to it."""
    found = page.locator("#strip button").evaluate_all(
        """(tokens) => {
            const framed = tokens.findIndex((token) => token.getAttribute("aria-pressed") === "true");
            const told = tokens.slice(0, framed + 1).map((token) => token.title.split("attention ")[1]);
            return [framed, told.map((text) => (text === undefined ? -1 : Number(text)))];
        }"""
    )
    return int(found[0]), list(found[1])


# ---- answers that are late ------------------------------------------------------------------------------------------


def test_an_overtaken_answer_does_not_shade_another_tokens_row(
    live: tuple[Bench, str], look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token is chosen while the answer to a selection is held: its row stays when the older answer comes in."""
    from headscope.inspector.asked import Prompt

    bench, address = live
    page = look(address, "#head=1.1&query=20")
    settled(page, "1.1")
    with held(monkeypatch, "headscope.inspector.selection.attention_parts") as go:
        choose(page, 2, 3)
        expect(page.locator("#card-title")).to_have_text("Head 2.3")
        page.locator("#strip button").nth(40).click()
        expect(page.locator("#strip button").nth(40)).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#strip-title")).to_have_text("What head 2.3 looks at")
        go.set()
        settled(page, "2.3")
        page.wait_for_timeout(200)
    rows = bench.attention(Prompt("repeated")).pattern(2, 3)
    framed, told = shaded(page)
    assert framed == 40
    np.testing.assert_allclose(told, rows[40, :41], atol=6e-4)
    assert np.abs(rows[40, :21] - rows[20, :21]).max() > 0.01, "the two rows can be told apart"


def test_the_card_follows_while_a_prompt_is_read_and_remove_takes_what_it_names(
    live: tuple[Bench, str], look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = look(live[1], "#head=1.1")
    settled(page, "1.1")
    with held(monkeypatch, "headscope.inspector.reading.prompt_parts") as go:
        page.locator("#repeated-seed").fill("5")
        page.locator("#read").click()
        choose(page, 0, 2)
        expect(page.locator("#card-title")).to_have_text("Head 0.2")
        expect(page.locator("#attention-title")).to_have_text("Attention of head 0.2")
        expect(page.locator("#prompt-told")).to_contain_text("seed 0")
        expect(page.locator("#remove-head")).to_have_text("Remove 0.2")
        page.locator("#remove-head").click()
        expect(page.locator("#removed .chip")).to_have_text(["0.2"])
        expect(page.locator("#remove-head")).to_have_text("Put back 0.2")
        go.set()
        expect(page.locator("#prompt-told")).to_contain_text("seed 5")
    settled(page, "0.2")


def test_remove_acts_on_the_head_that_the_card_names(live: tuple[Bench, str], look: Any) -> None:
    page = look(live[1], "#head=1.1")
    settled(page, "1.1")
    page.route("**/card/**", lambda route: (page.wait_for_timeout(500), route.continue_()))
    choose(page, 0, 3)
    page.evaluate("document.getElementById('remove-head').click()")
    assert page.locator("#card-title").inner_text() == "Head 1.1"
    assert page.locator("#removed .chip").all_inner_texts() == ["1.1"]
    expect(page.locator("#card-title")).to_have_text("Head 0.3")
    page.unroute("**/card/**")


def test_pairs_and_token_copies_name_their_head_and_pale_until_they_follow(
    live: tuple[Bench, str], look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = look(live[1], "#head=1.1")
    pairs, copies = page.locator("#pairs-title"), page.locator("#copies-title")
    expect(copies).to_have_text("Strongest token copies of head 1.1 (OV circuit)")
    expect(pairs).to_have_text("Strongest query-key pairs of head 1.1")
    with held(monkeypatch, "headscope.inspector.selection.copies_parts") as go:
        choose(page, 2, 0)
        expect(pairs).to_have_text("Strongest query-key pairs of head 2.0")
        expect(page.locator("#copies-panel.stale")).to_have_count(1)
        assert copies.inner_text() == "Strongest token copies of head 1.1 (OV circuit)"
        page.wait_for_timeout(500)
        choose(page, 0, 1)
        expect(copies).to_have_text("Strongest token copies of head 0.1 (OV circuit)")
        go.set()
        page.wait_for_timeout(300)
    assert copies.inner_text() == "Strongest token copies of head 0.1 (OV circuit)"
    expect(page.locator(".stale")).to_have_count(0)


# ---- what is refused ------------------------------------------------------------------------------------------------


def test_a_refused_prompt_leaves_what_was_read_before(live: tuple[Bench, str], look: Any) -> None:
    page = look(live[1], "#head=1.1&prompt=repeated:12:4:3")
    settled(page, "1.1")
    page.locator("[data-prompt=text]").click()
    for _ in range(2):  # reading it again is refused again
        page.locator("#own-text").fill("a " * 900)
        page.locator("#read").click()
        expect(page.locator("#prompt-problem")).to_contain_text("at most 512 can be looked at here")
        expect(page).to_have_url(re.compile("prompt=repeated%3A12%3A4%3A3"))
    expect(page.locator("#prompt-told")).to_have_text(re.compile("^Still shown: 12 random tokens.*seed 3"))
    choose(page, 2, 0)
    settled(page, "2.0")
    expect(page.locator("#strip-title")).to_have_text("What head 2.0 looks at")
    page.locator("[data-prompt=repeated]").click()
    page.locator("#read").click()
    expect(page.locator("#prompt-problem")).to_be_empty()
    expect(page.locator("#prompt-told")).to_have_text(re.compile("^12 random tokens.*seed 3"))


def test_where_attention_can_not_be_had_the_old_one_goes(
    live: tuple[Bench, str], look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*arguments: Any) -> Any:
        raise UsageError("no such attention")

    page = look(live[1], "#head=1.1")
    settled(page, "1.1")
    expect(page.locator("#attention .heatmaplayer image")).to_have_count(1)
    monkeypatch.setattr("headscope.inspector.selection.seen", refuses)
    choose(page, 0, 0)
    expect(page.locator("#attention-problem")).to_have_text("no such attention")
    expect(page.locator("#attention .heatmaplayer image")).to_have_count(0)
    expect(page.locator("#pairs tbody tr")).to_have_count(0)
    expect(page.locator("#strip button[title*=attention]")).to_have_count(0)


# ---- stored figures -------------------------------------------------------------------------------------------------


def test_the_choices_are_those_of_the_stored_figure_that_is_shown(stored: tuple[Bench, str], look: Any) -> None:
    page = look(stored[1], "#figure=pruning_heads:1")
    name, panel, title = (page.locator(what) for what in ("#stored-name", "#stored-panel", "#stored .gtitle"))
    expect(name).to_have_value("pruning_heads")
    expect(panel).to_have_value("1")
    expect(title).to_have_text(panel.locator("option").nth(1).inner_text())
    panel.select_option("2")
    expect(title).to_have_text(panel.locator("option").nth(2).inner_text())
    assert (name.input_value(), panel.input_value()) == (
        "pruning_heads",
        "2",
    ) and "figure=pruning_heads%3A2" in page.url
    name.select_option("retention")
    expect(title).to_contain_text("as the order")
    assert (name.input_value(), panel.input_value()) == ("retention", "0")
