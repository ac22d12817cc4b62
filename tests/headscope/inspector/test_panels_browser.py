"""The panels that ask the model, in Chromium: what a person does there, and that the numbers are the server's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from headscope.inspector import writers, writing_on
from headscope.inspector.asked import Prompt, RemovedParts
from headscope.inspector.bench import Bench
from headscope.inspector.outcome import plain
from headscope.store.run import open_run
from tests.headscope.accessible import violations
from tests.headscope.browsed import READY
from tests.headscope.inspected import Heard
from tests.headscope.inspector.test_inspector_states import served
from tests.headscope.synthetic import Shape, write_run
from tests.headscope.tiny_model import HEADS, LAYERS, tiny_model

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
pytestmark = pytest.mark.browser

PROMPT = {"kind": "repeated", "length": 12, "repeats": 4, "seed": 0}
VALUES = "(id) => document.querySelector(`#${id} .js-plotly-plot`).calcdata[0][0].z.map((row) => Array.from(row))"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = write_run(tmp_path_factory.mktemp("panels") / "run", shape=Shape(LAYERS, HEADS, 2))
    return Bench("tiny", run=open_run(folder), model=tiny_model())


@pytest.fixture(scope="module")
def address(bench: Bench) -> Iterator[str]:
    with served(bench) as address:
        yield address


@pytest.fixture(scope="module")
def shared(browser: Any, address: str) -> Iterator[tuple[Any, Heard]]:
    context, heard = browser.new_context(viewport={"width": 1440, "height": 900}), Heard()
    heard.listen(context, address)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(address)
    page.wait_for_selector(READY)
    yield page, heard
    context.close()


@pytest.fixture
def page(shared: tuple[Any, Heard]) -> Iterator[Any]:
    page, heard = shared
    expect.set_options(timeout=30_000)
    page.evaluate(
        "() => { history.replaceState(null, '', '#head=1.1'); headscope.begin(headscope.facts); scrollTo(0, 0); }"
    )
    expect(page.locator("#strip [role=option][title*=attention]").first).to_be_attached()
    yield page
    expect.set_options(timeout=5_000)
    assert page.locator("#defect").inner_text() == "" and heard.messages == [] and heard.elsewhere == []


def test_a_removal_is_told_above_the_page_and_beside_the_mosaic(page: Any, bench: Bench) -> None:
    expect(page.locator("#removal-line")).to_be_hidden()
    page.locator("#heads-list").fill("1.*, 0.2-3")
    page.locator("#set-list").click()
    expect(page.locator("#removed .chip")).to_have_text(["0.2", "0.3", "1.*"])
    assert page.locator("#heads-list").input_value() == "0.2, 0.3, 1.*"
    removed = RemovedParts(((0, 2), (0, 3), *((1, head) for head in range(HEADS))))
    scores = [plain(bench.repeat_score(one)) for one in (RemovedParts(), removed)]
    line = page.locator("#removal-line")
    expect(line).to_contain_text(f"repeat score {scores[0]} → {scores[1]}")
    expect(line).to_contain_text("Without 0.2, 0.3, 1.*:")
    expect(line).to_contain_text(re.compile(r"% → "))
    expect(page.locator(".stale")).to_have_count(0)
    page.evaluate("scrollTo(0, 0)")
    for seen in ("#removal-line", "#brief-panel"):
        box = page.locator(seen).bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 900, seen
    page.evaluate("scrollTo(0, 2000)")
    expect(line).to_be_in_viewport()
    page.locator("#removed .chip").nth(2).click()
    expect(page.locator("#removed .chip")).to_have_text(["0.2", "0.3"])


def test_sets_have_names_and_stand_in_the_address(page: Any) -> None:
    page.evaluate("headscope.remove({ heads: [[0, 1], [2, 3]], ffns: [1] })")
    page.locator("#set-name").fill("my set~|")
    page.locator("#keep-set").click()
    expect(page.locator("#named-set option", has_text="my set~| (2 heads, 1 FFN)")).to_have_count(1)
    page.locator("#set-name").fill("induction heads")
    page.locator("#keep-set").click()
    expect(page.locator("#removal-problem")).to_contain_text("The run has a set called")
    page.locator("#named-set").select_option("induction heads")
    sizes = page.evaluate("[headscope.facts.sets[0].heads.length, headscope.state.removal.heads.length]")
    assert sizes[0] == sizes[1] > 0
    page.evaluate("headscope.begin(headscope.facts)")  # as a colleague's tab does, from the address alone
    page.locator("#named-set").select_option("my set~|")
    expect(page.locator("#removed .chip")).to_have_text(["0.1", "2.3", "FFN 1"])


def test_the_model_writes_on_with_and_without_heads(page: Any, bench: Bench) -> None:
    page.evaluate("headscope.remove({ heads: [[1, 2], [0, 0]] })")
    page.locator("#write-count").fill("5")
    page.locator("#write-on").click()
    expect(page.locator("#written h4")).to_have_count(2)
    removal = {"heads": [[1, 2], [0, 0]], "ffns": []}
    _, made = writing_on.both(bench, {"prompt": PROMPT, "removal": removal, "count": 5})
    expect(page.locator("#written .tokens .token")).to_have_count(sum(len(one.ids) for one in made))
    page.evaluate("headscope.undo()")
    expect(page.locator("#written.outdated")).to_have_count(1)


def test_the_mosaics_of_what_heads_write_are_the_servers(page: Any, bench: Bench) -> None:
    page.evaluate("headscope.set({ query: 9 })")
    page.locator("#ask-writers").click()
    expect(page.locator("#writers-sum")).to_contain_text("together")
    expect(page.locator("#mosaic-written .heatmaplayer image")).to_have_count(1)
    expect(page.locator("#lens .scatterlayer .trace")).to_have_count(1)
    found = writers.question(bench, {"prompt": PROMPT, "query": 9})
    np.testing.assert_allclose(
        page.evaluate(VALUES, "mosaic-written"), writers.direct(bench, found).heads[-1], rtol=1e-3, atol=1e-6
    )
    assert "removed by" not in page.evaluate("headscope.picture.words('lens').below")
    page.evaluate("headscope.remove({ heads: [[1, 2]] })")
    page.locator("#ask-writers").click()
    expect(page.locator("#lens .scatterlayer .trace")).to_have_count(2)
    below = page.evaluate("['lens', 'parts'].map((name) => headscope.picture.words(name).below)")
    assert ["removed by zero: 1.2" in text for text in below] == [True, False]
    page.evaluate("headscope.undo()")
    page.locator("#patch-corrupt").fill("abcd efgh")
    page.locator("#ask-patch").click()
    expect(page.locator("#patch-note")).to_contain_text("in the other prompt")
    expect(page.locator("#mosaic-patch .heatmaplayer image")).to_have_count(1)
    patched = writers.patched(bench, found, "abcd efgh", "last").mean
    np.testing.assert_allclose(page.evaluate(VALUES, "mosaic-patch"), patched, rtol=1e-3, atol=1e-6)
    page.locator("#patch-corrupt").fill("")
    page.locator("#ask-patch").click()
    expect(page.locator("#patch-problem")).to_contain_text("Write the other prompt")


def test_all_heads_are_pictures_and_one_is_averaged(page: Any) -> None:
    page.locator("[data-grid=on]").click()
    expect(page.locator("[data-picture]")).to_have_count(LAYERS * HEADS)
    page.locator("[data-picture='2.3']").click()
    expect(page.locator("#card-title")).to_have_text("Head 2.3")
    expect(page.locator("[data-picture][aria-pressed=true]")).to_have_attribute("data-picture", "2.3")
    page.locator("#average-lines").fill("abcd efgh abcd\naa bb aa bb")
    page.locator("#ask-average").click()
    expect(page.locator("#average h3")).to_have_text("Head 2.3 over 2 prompts")
    expect(page.locator("#average tbody").first.locator("tr")).to_have_count(5)
    page.evaluate("headscope.select([0, 0])")
    expect(page.locator("#average.outdated")).to_have_count(1)
    expect(page.locator(".stale")).to_have_count(0)
    page.wait_for_timeout(700)  # colours return by a transition
    assert violations(page) == []
    page.locator("[data-grid=off]").click()
    expect(page.locator("[data-picture]")).to_have_count(0)


def fill_what_the_model_says(page: Any) -> None:
    """The panels about the next token, in another prompt and of what is written on, by Enter in their fields."""
    page.evaluate("headscope.remove({ heads: [[1, 2]] })")
    for field, text, answer in (
        ("#writers-answer", "b", "#writers-sum"),
        ("#patch-corrupt", "abcd efgh", "#patch-note"),
        ("#write-count", "6", "#written h4"),
    ):
        page.locator(field).fill(text)
        page.locator(field).press("Enter")
        expect(page.locator(answer).first).not_to_be_empty()
    expect(page.locator("#lens .scatterlayer .trace")).to_have_count(2)
    expect(page.locator("#mosaic-patch .heatmaplayer image")).to_have_count(1)
    expect(page.locator(".stale")).to_have_count(0)


def test_axe_finds_nothing_in_what_the_model_says(page: Any) -> None:
    fill_what_the_model_says(page)
    for scheme, width in (("light", 1440), ("dark", 1440), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(700)  # colours return by a transition
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(page) == [], (scheme, width)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1440, "height": 900})


def test_the_keyboard_reaches_sets_and_pictures(page: Any) -> None:
    page.locator("#heads-list").fill("0.1")
    page.locator("#heads-list").press("Enter")
    expect(page.locator("#removed .chip")).to_have_text(["0.1"])
    page.locator("#set-name").fill("mine")
    page.locator("#set-name").press("Enter")
    page.locator("#restore").press("Enter")
    expect(page.locator("#removed .chip")).to_have_count(0)
    page.locator("#named-set").focus()
    page.keyboard.press("End")  # the person's own come last
    expect(page.locator("#removed .chip")).to_have_text(["0.1"])
    page.locator("#undo").press("Enter")
    page.locator("[data-grid=on]").press("Enter")
    expect(page.locator("[data-picture]")).to_have_count(LAYERS * HEADS)
    assert page.locator("[data-picture][tabindex='0']").count() == 1
    page.locator("[data-picture='1.1']").focus()
    page.evaluate("headscope.grid.draw()")  # an answer comes late
    expect(page.locator("[data-picture='1.1']")).to_be_focused()
    for key, head in (("ArrowRight", "1.2"), ("ArrowDown", "2.2"), ("ArrowUp", "1.2")):
        page.keyboard.press(key)
        expect(page.locator("#card-title")).to_have_text(f"Head {head}")
        expect(page.locator(f"[data-picture='{head}']")).to_be_focused()
    page.locator("[data-grid=off]").press("Enter")


def test_an_average_over_a_task_holds_for_all_its_documents_and_for_no_other_task(page: Any) -> None:
    script = """([lines, prompts]) => prompts.map((prompt) => {
        const { reading } = headscope;
        headscope.reading = { ...reading, prompt };
        const { task } = headscope.questions.present("average", { lines });
        headscope.reading = reading;
        return task ?? null;
    })"""
    tasks = [{"kind": "task", "task": "copa", "shots": shots, "document": at} for shots, at in ((1, 0), (1, 5), (2, 0))]
    first, again, more, text = page.evaluate(script, ["", [*tasks, {"kind": "text", "text": "ab"}]])
    assert first == again == {"task": "copa", "shots": 1} and more == {"task": "copa", "shots": 2} and text is None
    assert page.evaluate(script, ["ab cd", tasks]) == [None] * 3


def test_the_tokens_tell_who_attends_to_the_framed_one(page: Any, bench: Bench) -> None:
    page.evaluate("headscope.set({ query: 20 })")
    page.locator("#toward-box").check()
    expect(page.locator("#strip-title")).to_have_text("Who looks at the framed token through head 1.1")
    expect(page.locator("#strip [role=option]").nth(30)).to_have_attribute("title", re.compile("attention"))
    column = bench.attention(Prompt("repeated")).pattern(1, 1)[:, 20]
    titles = page.locator("#strip [role=option]").evaluate_all("(tokens) => tokens.map((token) => token.title)")
    told = [float(title.split("attention ")[1]) for title in titles[20:]]
    np.testing.assert_allclose(told, column[20:], atol=6e-4)
    assert all("attention" not in title for title in titles[:20])


def test_a_run_without_scores_opens_with_what_to_do(browser: Any) -> None:
    with served(Bench("tiny", model=tiny_model())) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector(READY)
        expect(page.locator("#unscored")).to_contain_text("No head has been scored yet")
        assert "o such head" not in page.locator("body").inner_text()
        page.close()


def test_function_vector_heads_are_marked_beside_the_class(page: Any) -> None:
    """Each cell's mark: the class of the head, and a diamond where the run found it among its FV heads."""
    expect(page.locator("#legend")).to_contain_text("copying")
    script = """() => {
        const scores = new display.Scores({ ...headscope.scores, vectors: [0, 5] });
        const marked = { told: [], selected: 0 };
        const { text, customdata } = display.mosaic.figure(scores, scores.entries[0], marked).data[0];
        return [text.flat(), customdata.flat(), scores.classes];
    }"""
    marks, told, classes = page.evaluate(script)
    own = {"copying": "●", "anti-copying": "▼", "matching only": "○", "": ""}
    assert marks == [own[name] + ("◆" if place in (0, 5) else "") for place, name in enumerate(classes)]
    assert ["function vector" in line for line in told] == [place in (0, 5) for place in range(len(told))]
