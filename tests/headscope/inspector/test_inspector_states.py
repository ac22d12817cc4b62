"""What the inspector shows while answers are late, overtake each other or are refused: in Chromium, on a tiny model."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import numpy as np
import pytest

from headscope.inspector.bench import Bench
from headscope.inspector.scoring import ScoringThread
from headscope.inspector.server import make_server
from headscope.store.manifest import Stage
from headscope.store.run import open_run
from headscope.store.writer import begin_stage
from interp.errors import UsageError
from tests.headscope.accessible import violations
from tests.headscope.browsed import A4, READY, cut_on_paper, overlaps, printed
from tests.headscope.inspected import Heard
from tests.headscope.synthetic import IDENTITY, Shape, classes, head_score, write_run
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


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A run of scores alone, without its model: nothing was stored that a prompt could be."""
    folder, shape = tmp_path_factory.mktemp("bare") / "run", Shape(3, 4, 2)
    rng = np.random.default_rng(1)
    with begin_stage(folder, IDENTITY, Stage("induction", "quick")) as writer:
        writer.add_scores(head_score("prefix_matching", "", shape, classes(shape, rng), rng))
    with served(Bench("bare", run=open_run(folder), why="it was started with --no-model.")) as address:
        yield address


@pytest.fixture(scope="module")
def unscored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A run that holds no score of a head, without its model."""
    folder = tmp_path_factory.mktemp("unscored") / "run"
    with begin_stage(folder, IDENTITY, Stage("knockout", "")):
        pass
    with served(Bench("unscored", run=open_run(folder), why="it was started with --no-model.")) as address:
        yield address


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[str, tuple[Any, Heard]]]:
    """For each inspector a page, in a browser of its own, and what it said."""
    found: dict[str, tuple[Any, Heard]] = {}
    yield found
    for page, _ in found.values():
        page.context.close()


@pytest.fixture
def look(browser: Any, pages: dict[str, tuple[Any, Heard]]) -> Iterator[Any]:
    """Opens addresses; whatever a test does with them, the page says nothing and asks nobody else."""

    def opened(address: str, shared: str = "") -> Any:
        if address in pages:
            begin = "(shared) => { history.replaceState(null, '', shared || '#'); headscope.begin(headscope.facts); }"
            pages[address][0].evaluate(begin, shared)
            return pages[address][0]
        context, heard = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True), Heard()
        heard.listen(context, address)
        page = context.new_page()
        pages[address] = page, heard
        page.goto(address + shared)
        page.wait_for_selector(READY)
        return page

    yield opened
    for page, heard in pages.values():
        assert page.is_closed() or page.locator("#defect").inner_text() == ""
        assert heard.messages == [] and heard.elsewhere == []


class Hold(threading.Event):
    """Set: the held call goes on. reached: it has come."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()


def until(page: Any, event: threading.Event, patience: float = 30.0) -> None:
    """Wait for what happens in the server, while the browser's requests go on."""
    end = time.monotonic() + patience
    while not event.is_set():
        assert time.monotonic() < end, "it did not happen"
        page.wait_for_timeout(20)


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[Hold]:
    """The first call of a function of the server waits until the event is set."""
    module, _, function = name.rpartition(".")
    from importlib import import_module

    whole, go, calls = getattr(import_module(module), function), Hold(), iter(range(1 << 20))

    def waits(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 0:
            go.reached.set()
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
    expect(page.locator("#strip [role=option][title*=attention]").first).to_be_attached()
    expect(page.locator("#strip [role=option]")).to_have_count(tokens)


def shaded(page: Any) -> tuple[int, list[float]]:
    """The framed token, and the attention that the strip tells of the tokens up to it."""
    found = page.locator("#strip [role=option]").evaluate_all(
        """(tokens) => {
            const framed = tokens.findIndex((token) => token.getAttribute("aria-selected") === "true");
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
        page.locator("#strip [role=option]").nth(40).click()
        expect(page.locator("#strip [role=option]").nth(40)).to_have_attribute("aria-selected", "true")
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
        expect(page.locator("#prompt-name")).to_contain_text("seed 0")
        expect(page.locator("#remove-head")).to_have_text("Remove 0.2")
        page.locator("#remove-head").click()
        expect(page.locator("#removed .chip")).to_have_text(["0.2"])
        expect(page.locator("#remove-head")).to_have_text("Put back 0.2")
        go.set()
        expect(page.locator("#prompt-name")).to_contain_text("seed 5")
    settled(page, "0.2")


def test_the_card_and_its_button_follow_at_once(live: tuple[Bench, str], look: Any) -> None:
    page = look(live[1], "#head=1.1")
    settled(page, "1.1")
    script = """() => {
        headscope.select([0, 3]);
        return ["card-title", "remove-head"].map((id) => document.getElementById(id).textContent);
    }"""
    assert page.evaluate(script) == ["Head 0.3", "Remove 0.3"]


def test_pairs_and_token_copies_name_their_head_and_pale_until_they_follow(
    live: tuple[Bench, str], look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = look(live[1], "#head=1.1")
    pairs, copies = page.locator("#pairs-title"), page.locator("#copies-title")
    expect(page.locator(".stale")).to_have_count(0)  # an earlier test's titles may be the same; its answers are not due
    expect(copies).to_have_text("Strongest token copies of head 1.1 (OV circuit)")
    expect(pairs).to_have_text("Strongest query-key pairs of head 1.1")
    with held(monkeypatch, "headscope.inspector.selection.copies_parts") as go:
        choose(page, 2, 0)
        expect(pairs).to_have_text("Strongest query-key pairs of head 2.0")
        expect(page.locator("#copies-panel.stale")).to_have_count(1)
        assert copies.inner_text() == "Strongest token copies of head 1.1 (OV circuit)"
        until(page, go.reached)
        choose(page, 0, 1)
        expect(copies).to_have_text("Strongest token copies of head 0.1 (OV circuit)")
        with page.expect_response(lambda answer: "made-copies.data" in (answer.request.post_data or "")) as late:
            go.set()
        assert '"head":[2,0]' in late.value.text().replace(" ", "")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")
    assert copies.inner_text() == "Strongest token copies of head 0.1 (OV circuit)"
    expect(page.locator(".stale")).to_have_count(0)


def test_numbers_of_another_removal_pale_until_the_new_ones_come(
    live: tuple[Bench, str], look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = look(live[1], "#head=1.1&heads=0.0")
    expect(page.locator("#removed .chip")).to_have_text(["0.0"])
    expect(page.locator("#learning dt")).to_have_text(["before removal", "after removal"])
    expect(page.locator(".stale")).to_have_count(0)
    before = page.locator("#learning dd").all_inner_texts()
    with (
        held(monkeypatch, "headscope.inspector.outcome.outcome_parts") as outcome,
        held(monkeypatch, "headscope.inspector.outcome.learning_parts") as learning,
    ):
        page.evaluate("headscope.remove({ heads: [[1, 1], [2, 2]] })")
        for name in ("next", "loss", "changes", "learning"):
            expect(page.locator(f"#{name}.stale")).to_have_count(1)
        learning.set()
        expect(page.locator("#learning.stale")).to_have_count(0)
        assert page.locator("#learning dd").all_inner_texts() != before
        expect(page.locator("#next.stale")).to_have_count(1)
        outcome.set()
        expect(page.locator(".stale")).to_have_count(0)


def test_the_framed_token_of_a_long_prompt_is_in_sight_without_moving_the_page(
    live: tuple[Bench, str], look: Any
) -> None:
    page = look(live[1], "#head=1.1&prompt=repeated:100:5:0&query=20")
    expect(page.locator("#strip [role=option]")).to_have_count(501)
    page.evaluate("() => { scrollTo(0, 0); headscope.set({ query: 480 }); }")
    expect(page.locator("#strip [role=option]").nth(480)).to_have_attribute("aria-selected", "true")
    places = "[box, token].map((one) => one.getBoundingClientRect()).flatMap(({ top, bottom }) => [top, bottom])"
    found = page.locator("#strip").evaluate(
        f"(box) => {{ const token = box.querySelector('[aria-selected=true]'); return [...{places}, scrollY]; }}"
    )
    top, bottom, above, below, scrolled = found
    assert top <= above < below <= bottom and scrolled == 0


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
    expect(page.locator("#prompt-name")).to_have_text(re.compile("^Still shown: 12 random tokens.*seed 3"))
    choose(page, 2, 0)
    settled(page, "2.0")
    expect(page.locator("#strip-title")).to_have_text("What head 2.0 looks at")
    page.locator("[data-prompt=repeated]").click()
    page.locator("#read").click()
    expect(page.locator("#prompt-problem")).to_be_empty()
    expect(page.locator("#prompt-name")).to_have_text(re.compile("^12 random tokens.*seed 3"))


def test_a_number_of_heads_that_is_none_is_told(look: Any, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", shape=Shape(3, 4, 2))
    with served(Bench("tiny", run=open_run(folder), model=tiny_model())) as address:
        page = look(address)
        expect(page.locator("#card-scores .score").first).to_be_attached()
        expect(page.locator("#changes tbody tr").first).to_be_attached()
        for asked in ("", "x", "0", "1.5", "999"):
            page.locator("#top-k").fill(asked)
            page.locator("#top-a").click()
            expect(page.locator("#removal-problem")).to_contain_text(f"“{asked}” is no whole number from 1 to 12")
            assert page.locator("#removed .chip").count() == 0
        page.locator("#top-k").fill("2")
        page.locator("#top-a").click()
        expect(page.locator("#removed .chip")).to_have_count(2)
        expect(page.locator("#removal-problem")).to_be_empty()
        page.close()


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("#head=9.9", "head 9.9"),
        ("#head=x", "head x"),
        ("#head=1.1&heads=0.1,7.7", "some of the heads 0.1,7.7"),
        ("#head=1.1&ffns=99", "some of the FFNs 99"),
        ("#head=1.1&a=nothing///0", "the score nothing///0"),
        ("#head=1.1&prompt=poem:3", "its prompt"),
    ],
)
def test_a_link_to_what_is_not_here_says_so(live: tuple[Bench, str], look: Any, link: str, says: str) -> None:
    page = look(live[1], link)
    expect(page.locator("#link-note")).to_contain_text(f"This link names what is not here: {says}")
    expect(look(live[1], "#head=1.1").locator("#link-note")).to_be_hidden()


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
    expect(page.locator("#strip [role=option][title*=attention]")).to_have_count(0)


def test_a_run_without_a_head_score_says_which_commands_store_one(unscored: str, look: Any) -> None:
    page = look(unscored)
    expect(page.locator("#unscored")).to_contain_text("headscope induction")
    expect(page.locator("#heads")).to_be_hidden()
    assert "No such head" not in page.locator("body").inner_text()


def test_without_a_prompt_or_a_model_panels_say_why_they_are_empty(bare: str, look: Any) -> None:
    page = look(bare)
    expect(page.locator("#card-title")).to_contain_text("Head ")
    expect(page.locator("#attention-panel")).to_contain_text("Attention on a prompt needs the model. The run holds no")
    for gone in ("#attention", "#strip-panel", "#pairs-panel", "#vis-panel", "[data-csv=copies]", "[data-prompt]"):
        expect(page.locator(gone).filter(visible=True)).to_have_count(0)
    expect(page.locator("#copies-note")).to_contain_text("needs the model")
    expect(page.locator("#prompt-problem")).to_be_empty()
    for asked, told in (("attention", "No prompt has been read"), ("loss", "No prompt has been read")):
        page.evaluate("(what) => headscope.store('csv', { what, at: Date.now() })", asked)
        expect(page.locator("#download-problem")).to_contain_text(told)
    expect(page.locator("#busy")).to_be_empty()
    with page.expect_download():
        page.locator("[data-csv=head]").click()
    expect(page.locator("#download-problem")).to_be_empty()
    page.evaluate("headscope.picture.save('attention', 'png')")
    expect(page.locator("#download-problem")).to_contain_text("nothing in this panel")


def test_a_link_that_needs_the_model_keeps_what_is_not_shown(stored: tuple[Bench, str], look: Any) -> None:
    page = look(stored[1], "#head=1.1&prompt=text:two+words&query=3&heads=2.1,3.0&after=1")
    expect(page.locator("#link-note")).to_contain_text("holds a prompt and a removal of heads or FFNs. That needs")
    expect(page.locator("#prompt-name")).to_contain_text("The sequence stored with the run")
    choose(page, 2, 2)
    expect(page.locator("#attention-title")).to_have_text("Attention of head 2.2")
    address = parse_qs(page.url.partition("#")[2])
    kept = {name: address[name] for name in ("head", "prompt", "query", "heads", "after")}
    assert kept == {"head": ["2.2"], "prompt": ["text:two words"], "query": ["3"], "heads": ["2.1,3.0"], "after": ["1"]}
    plain = look(stored[1], "#head=1.1")
    expect(plain.locator("#link-note")).to_be_hidden()


# ---- keys and readers -----------------------------------------------------------------------------------------------


def test_axe_finds_nothing_with_and_without_a_model(
    live: tuple[Bench, str], stored: tuple[Bench, str], look: Any
) -> None:
    for address in (live[1], stored[1]):
        page = look(address, "#head=1.1&heads=0.2")
        expect(page.locator("#strip [role=option]").first).to_be_attached()
        expect(page.locator(".stale")).to_have_count(0)
        for scheme, width in (("light", 1440), ("dark", 1440), ("light", 390)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(300)
            assert violations(page) == [], (scheme, width)
        page.set_viewport_size({"width": 1440, "height": 900})


def test_the_keyboard_removes_undoes_and_chooses(live: tuple[Bench, str], look: Any) -> None:
    page = look(live[1], "#head=1.1")
    settled(page, "1.1")
    chips = page.locator("#removed .chip")
    page.locator("#mosaic-panel-a .focusable").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#card-title")).to_have_text("Head 1.2")
    page.keyboard.press("Delete")
    expect(chips).to_have_text(["1.2"])
    page.keyboard.press("Control+z")
    expect(chips).to_have_count(0)
    page.locator("#heads-list").fill("0.1")
    page.keyboard.press("Backspace")
    assert page.locator("#heads-list").input_value() == "0." and chips.count() == 0
    page.locator("#strip [tabindex='0']").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#next-title")).to_contain_text("(1)")
    assert page.locator("#card-title").inner_text() == "Head 1.2"


def test_the_first_tab_leads_past_the_controls(live: tuple[Bench, str], look: Any) -> None:
    page = look(live[1], "#head=1.1")
    stops = "a[href], button, input, select, textarea, [tabindex='0']"
    first = page.evaluate("(stops) => document.querySelector(stops).outerHTML", stops)
    assert first == '<a class="skip" href="#heads">To the heads</a>'
    page.locator(".skip").focus()
    expect(page.locator(".skip")).to_be_in_viewport()


def test_on_paper_the_inspector_is_light_and_whole(live: tuple[Bench, str], browser: Any) -> None:
    page = browser.new_page(color_scheme="dark", viewport={"width": 1440, "height": 900})
    page.goto(f"{live[1]}#head=1.1&heads=0.2")
    page.wait_for_selector(READY)
    settled(page, "1.1")
    expect(page.locator("#loss .trace")).to_have_count(2)
    plots = printed(page)
    assert len(plots) == 4 and {tuple(plot[:2]) for plot in plots} == {("#ffffff", "#1c1b19")}
    assert all(width <= A4 for _, _, width in plots)
    layout = "document.querySelector('#mosaic-a .js-plotly-plot').layout"
    assert page.evaluate(f"[{layout}.paper_bgcolor, {layout}.width ?? null]") == ["#15171b", None]
    assert cut_on_paper(page) == []
    assert page.locator("#prompt-name").is_visible() and not page.locator("#read").is_visible()
    page.close()


# ---- fonts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_no_label_lies_on_another_whatever_the_fonts(
    lettered_browser: Any, live: tuple[Bench, str], width: int, height: int
) -> None:
    page = lettered_browser.new_page(viewport={"width": width, "height": height})
    page.goto(f"{live[1]}#head=1.1&heads=0.2")
    page.wait_for_selector(READY)
    settled(page, "1.1")
    expect(page.locator("#attention .heatmaplayer image")).to_have_count(1)
    expect(page.locator("#loss .trace")).to_have_count(2)
    page.locator("#ask-writers").click()
    page.locator("#patch-corrupt").fill("abcd efgh")
    page.locator("#ask-patch").click()
    for mosaic in ("written", "patch"):
        expect(page.locator(f"#mosaic-{mosaic} .heatmaplayer image")).to_have_count(1)
    expect(page.locator("#lens .scatterlayer .trace")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    drawn = "#mosaic-a, #mosaic-b, #attention, #loss, #mosaic-written, #parts, #lens, #mosaic-patch"
    assert overlaps(page, drawn) == []
    assert page.locator("#attention .xtick, #attention .ytick").count() > 10
    page.close()


# ---- files ----------------------------------------------------------------------------------------------------------


def test_saved_pictures_say_what_they_show(live: tuple[Bench, str], look: Any, tmp_path: Path) -> None:
    text = "abcd <b>efgh</b> abcd efgh"
    page = look(live[1], f"#head=1.1&heads=0.2&after=1&prompt=text:{quote(text)}")
    expect(page.locator("#attention-title")).to_have_text("Attention of head 1.1 after removal")
    expect(page.locator("#attention .heatmaplayer image")).to_have_count(1)
    expect(page.locator("#loss .trace")).to_have_count(2)
    before = page.locator("#attention .js-plotly-plot").evaluate("plot => JSON.stringify(plot.layout)")
    for plot, name, says in (
        ("attention", "headscope-attention-1.1-after.svg", ["Attention of head 1.1 after removal", "0.2", text]),
        ("loss", "headscope-loss-after.svg", ["Loss of each token before and after removal", "0.2", text]),
    ):
        with page.expect_download() as download:
            page.locator(f"[data-plot={plot}][data-kind=svg]").click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
        drawing = unescape(re.sub("<[^>]*>", " ", (tmp_path / name).read_text(encoding="utf-8")))
        assert all(" ".join(part.split()) in " ".join(drawing.split()) for part in says)
    assert page.locator("#attention .js-plotly-plot").evaluate("plot => JSON.stringify(plot.layout)") == before


# ---- scores that come in --------------------------------------------------------------------------------------------


def test_what_was_chosen_stays_when_scores_come_in(look: Any, tmp_path: Path) -> None:
    """A text too long for the address, the removals with their undo, the selected head; a score the link asked for."""
    scoring = ScoringThread(tmp_path / "none")
    text = "abcd efgh " * 30
    with served(Bench("tiny", model=tiny_model(), scoring=scoring)) as address:
        page = look(address, "#head=1.1&a=previous_token///0")
        settled(page, "1.1")
        read = "(text) => { headscope.address.LONGEST = 100; headscope.set({ prompt: { kind: 'text', text } }); }"
        page.evaluate(read, text)
        page.locator("#remove-head").click()
        expect(page.locator("#removed .chip")).to_have_text(["1.1"])
        scoring.run = open_run(write_run(tmp_path / "run", shape=Shape(3, 4, 2)))
        scoring.version = 1
        expect(page.locator("#card-scores .score").first).to_be_attached()
        expect(page.locator("#score-a")).to_have_value("previous_token///0")
        expect(page.locator("#score-b")).to_have_value("copying/signed//0")
        assert page.evaluate("headscope.state.prompt.text") == text and "prompt=" not in page.url
        assert page.locator("#card-title").inner_text() == "Head 1.1"
        page.locator("#undo").click()
        expect(page.locator("#removed .chip")).to_have_count(0)
        page.close()


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
