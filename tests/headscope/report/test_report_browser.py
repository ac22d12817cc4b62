"""The report in Chromium, as a person uses it: nothing is requested, nothing fails, heads can be chosen and sorted."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headscope.report import render
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run
from headscope.store.writer import begin_stage
from induction.definitions import DEFINITIONS
from interp.scores import HeadScores
from interp.token_display import shown
from tests.headscope.accessible import violations
from tests.headscope.browsed import A4, READY, click_cell, cut_on_paper, intrude, overlaps, printed
from tests.headscope.synthetic import HOSTILE, IDENTITY, SCORES, Shape, write_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
pytestmark = pytest.mark.browser

SHAPE = Shape(6, 4, 2)
TOKENS = ["<s>", *HOSTILE, *HOSTILE, *HOSTILE]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "run"
    return render(write_run(folder, shape=SHAPE, study=True, tasks=["copa", HOSTILE[0]], tokens=TOKENS))


@pytest.fixture(scope="module")
def run(report: Path) -> Run:
    return open_run(report.parent)


@dataclass
class Heard:
    """All that a page said or asked for."""

    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def listen(page: Any) -> Heard:
    heard = Heard()
    page.on("console", lambda message: heard.messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: heard.messages.append(f"error: {error}"))
    page.on("dialog", lambda dialog: heard.messages.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: heard.requests.append(request.url))
    return heard


@pytest.fixture(scope="module")
def shared(browser: Any, report: Path) -> Iterator[tuple[Any, Heard]]:
    """One page for the tests that only use it; loading it takes longer than any of them."""
    page = browser.new_page(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    heard = listen(page)
    page.goto(report.as_uri())
    page.wait_for_selector(READY)
    expect(page.locator("#attention .heatmaplayer image")).to_have_count(1)
    yield page, heard
    page.close()


@pytest.fixture
def opened(shared: tuple[Any, Heard], report: Path) -> Iterator[Any]:
    """The report as it opens; whatever the test does, the page says nothing and asks for nothing but itself."""
    page, heard = shared
    page.evaluate(
        """() => {
            document.activeElement.blur();
            document.getElementById("filters").reset();
            history.replaceState(null, "", location.pathname);
            page.recall();
            selection.listeners.forEach((listener) => listener());
            mosaic.show(mosaic.score);
            table.columnsOf(scores.groups[0]);
            scrollTo(0, 0);
        }"""
    )
    yield page
    page.wait_for_timeout(20)
    assert heard.messages == []
    addresses = {url.partition("#")[0] for url in heard.requests if not url.startswith(("data:", "blob:"))}
    assert addresses == {report.as_uri()}


def click_head(page: Any, layer: int, head: int) -> None:
    click_cell(page, "#mosaic", head, layer)


def walk_down(page: Any) -> None:
    """Bring every figure into view, one after the other, until each is drawn and keeps its place."""
    while left := page.evaluate("figures.waiting().length"):
        page.evaluate("figures.waiting()[0].scrollIntoView({ block: 'center' })")
        page.wait_for_function("(left) => figures.waiting().length < left", arg=left)
    page.wait_for_function("() => [...figures.drawn.keys()].every((box) => box.querySelector('.main-svg'))")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def column(page: Any, name: str) -> list[float]:
    """The shown numbers of a column of the table."""
    names = [text.strip() for text in page.locator("#table thead th").all_inner_texts()]
    place = next(index for index, text in enumerate(names) if text.startswith(name))
    cells = page.locator(f"#table tbody tr > :nth-child({place + 1})").all_inner_texts()
    return [float(cell.split()[0].replace("\u2212", "-")) for cell in cells]


def first_column(page: Any) -> list[str]:
    return page.locator("#table tbody th").all_inner_texts()


def test_it_opens_on_the_strongest_head(opened: Any, run: Run) -> None:
    best = run.head_score("prefix_matching").top(1)[0]
    expect(opened.locator("#card-title")).to_have_text(f"Head {best.layer}.{best.head}")
    row = opened.locator("#card-scores .score").first
    expect(row).to_contain_text(f"{best.score:.3f}")
    expect(row).to_contain_text("rank 1 of 24")


def test_a_click_chooses_a_head_everywhere(opened: Any, run: Run) -> None:
    click_head(opened, 2, 3)
    expect(opened.locator("#card-title")).to_have_text("Head 2.3")
    expect(opened.locator("#attention-head")).to_have_text("2.3")
    expect(opened.locator("#strip-title")).to_contain_text("2.3")
    expect(opened.locator("#card-group")).to_have_text("Key-value head 1, shared with 2.2")
    expect(opened.locator("#table tr[aria-selected=true]")).to_have_attribute("data-place", "11")
    assert opened.evaluate("location.hash").startswith("#head=2.3&")
    score = run.head_score("prefix_matching")
    row = opened.locator("#card-scores .score").first
    expect(row).to_contain_text(f"null {float(score.null_mean[2, 3]):.3f}")
    expect(row).to_contain_text(
        f"[{float(score.ci_low[2, 3]):.3f}, {float(score.ci_high[2, 3]):.3f}]".replace("-", "\u2212")
    )


def test_hovering_tells_the_head_and_its_numbers(opened: Any, run: Run) -> None:
    click_head(opened, 2, 3)
    hover = opened.locator("#mosaic .hoverlayer")
    expect(hover).to_contain_text("head 2.3")
    expect(hover).to_contain_text("family-wise")
    expect(hover).to_contain_text(f"{float(run.head_score('prefix_matching').mean[2, 3]):.3f}")


def test_arrow_keys_move_the_selection(opened: Any) -> None:
    click_head(opened, 2, 2)
    title = opened.locator("#card-title")
    for key, name in (
        ("ArrowDown", "3.2"),
        ("ArrowRight", "3.3"),
        ("ArrowRight", "3.3"),
        ("ArrowUp", "2.3"),
        ("ArrowLeft", "2.2"),
    ):
        opened.keyboard.press(key)
        expect(title).to_have_text(f"Head {name}")
    opened.locator("#score").focus()
    opened.keyboard.press("ArrowDown")
    expect(title).to_have_text("Head 2.2")
    expect(opened.locator("#score")).to_have_value("copying/signed//0")


def test_sideways_arrows_work_without_a_click(opened: Any) -> None:
    opened.evaluate("location.hash = '#head=1.1'")
    expect(opened.locator("#card-title")).to_have_text("Head 1.1")
    opened.keyboard.press("ArrowLeft")
    expect(opened.locator("#card-title")).to_have_text("Head 1.0")


def test_another_score_is_shown_in_its_own_scale(opened: Any, run: Run) -> None:
    opened.locator("#score").select_option(label="Copying (signed)")
    values, low, high = opened.locator("#mosaic").evaluate("({ data: [t] }) => [t.z, t.zmin, t.zmax]")
    np.testing.assert_allclose(values, run.head_score("copying", "signed").mean, rtol=1e-3)
    assert low == -high < 0
    expect(opened.locator("#meaning")).to_contain_text("anti-copying")
    expect(opened.locator("#card-scores .chosen")).to_contain_text("Copying (signed)")


def test_attention_is_decoded_as_it_was_stored(opened: Any, run: Run) -> None:
    example = run.attention_example
    assert example is not None
    for layer, head in ((0, 0), (5, 3)):
        opened.evaluate(f"location.hash = '#head={layer}.{head}'")
        expect(opened.locator("#attention-head")).to_have_text(f"{layer}.{head}")
        opened.wait_for_timeout(150)
        drawn = np.array(opened.evaluate("document.getElementById('attention').data[0].z"), dtype=float)
        wanted = (example.patterns[layer, head] * example.scale).numpy()
        np.testing.assert_allclose(np.nan_to_num(drawn), wanted, atol=1e-6)
        assert np.isnan(drawn).sum() == len(TOKENS) * (len(TOKENS) - 1) // 2, "later positions stay blank"


def test_tokens_are_shown_as_text(opened: Any) -> None:
    assert opened.locator("#strip [role=option]").all_text_contents() == [shown(token) for token in TOKENS]
    assert opened.locator("#strip script, #strip b").count() == 0
    labels = opened.evaluate("document.getElementById('attention').layout.xaxis.ticktext")
    assert not any("\u202e" in text or "<" in text for text in labels)
    drawn = opened.locator("#attention .xaxislayer-above").text_content()
    assert "</script>" in drawn and "&amp;" in drawn and "<b>" in drawn
    places = opened.locator("#strip [role=option]").evaluate_all(
        "all => all.map((token) => [token.offsetTop, token.offsetLeft])"
    )
    row = places[1 : 1 + len(HOSTILE)]
    assert row == sorted(row), "a right-to-left mark in one token moves no other"


def test_a_token_can_be_asked_what_it_looks_at(opened: Any, run: Run) -> None:
    example = run.attention_example
    assert example is not None
    opened.evaluate("location.hash = '#head=3.1'")
    tokens = opened.locator("#strip [role=option]")
    tokens.nth(9).click()
    expect(tokens.nth(9)).to_have_attribute("aria-selected", "true")
    expect(opened.locator("#strip [aria-selected=true]")).to_have_count(1)
    wanted = float(example.patterns[3, 1, 9, 0]) * example.scale
    expect(tokens.nth(0)).to_have_attribute("title", f"0: attention {wanted:.3f}")


def test_the_table_sorts_both_ways_by_any_column(opened: Any) -> None:
    assert column(opened, "Prefix") == sorted(column(opened, "Prefix"), reverse=True)
    for name in ("Copying", "Signed", "OV"):
        header = opened.locator("#table thead button").filter(has_text=re.compile(f"^{name}$"))
        header.click()
        assert column(opened, name) == sorted(column(opened, name), reverse=True)
        header.click()
        assert column(opened, name) == sorted(column(opened, name))
        expect(opened.locator("#table [aria-sort=ascending]")).to_have_text(name)
    opened.locator("#table thead button").first.click()
    places = [tuple(map(int, text.split("."))) for text in first_column(opened)]
    assert places == sorted(places) and len(places) == 24


def test_the_table_filters(opened: Any, run: Run) -> None:
    opened.locator("#filter-text").fill("3")
    assert sorted(first_column(opened)) == ["3.0", "3.1", "3.2", "3.3"]
    opened.locator("#filter-text").fill("3.2")
    assert first_column(opened) == ["3.2"]
    opened.locator("#filter-text").fill("99")
    expect(opened.locator("#table-note")).to_have_text("No head passes the filters.")
    opened.locator("#filter-text").fill("")
    opened.locator("#filter-class").select_option("copying")
    classes = run.classes[run.classes["class"] == "copying"]
    wanted = sorted(f"{layer}.{head}" for layer, head in zip(classes["layer"], classes["head"], strict=True))
    assert sorted(first_column(opened)) == wanted != []
    opened.locator("#filter-class").select_option("*")
    opened.locator("#filter-null").check()
    above = run.head_score("prefix_matching").above_null()
    assert sorted(first_column(opened)) == sorted(f"{layer}.{head}" for layer, head in above.nonzero().tolist())


def test_importance_has_columns_of_its_own(opened: Any) -> None:
    opened.locator("#columns").select_option("Importance (token), 5 shots")
    names = opened.locator("#table thead button").all_inner_texts()
    assert names[2:] == [HOSTILE[0], "copa"]
    folded = opened.locator("#card-scores details").filter(has_text="Importance (token), 5 shots")
    folded.locator("summary").click()
    expect(folded.locator("tbody tr")).to_have_count(2)


def test_a_row_chooses_its_head(opened: Any) -> None:
    opened.locator("#table tbody tr[data-place='6'] td").last.click()
    expect(opened.locator("#card-title")).to_have_text("Head 1.2")
    opened.locator("#table tbody tr[data-place='7'] th button").click()
    expect(opened.locator("#card-title")).to_have_text("Head 1.3")
    expect(opened.locator("#card-title")).to_be_in_viewport()


def test_the_tables_header_stays_in_sight(opened: Any) -> None:
    opened.locator("#table-scroll").evaluate("box => { box.scrollIntoView(); box.style.maxHeight = '300px'; }")
    opened.locator("#table-scroll").evaluate("box => { box.scrollTop = 400; }")
    top = "id => document.querySelector(id).getBoundingClientRect().top"
    assert abs(opened.evaluate(top, "#table thead th") - opened.evaluate(top, "#table-scroll")) <= 1
    opened.locator("#table-scroll").evaluate("box => { box.style.maxHeight = ''; }")


def test_printing_keeps_every_column(page: Any, report: Path) -> None:
    """On A4, landscape, between margins of 14 mm: 269 mm, at 96 pixels an inch."""
    page.goto(report.as_uri())
    page.wait_for_selector(READY)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1016, "height": 700})
    cells = page.locator("#table thead th")
    assert cells.count() == 12
    right = cells.last.evaluate("cell => cell.getBoundingClientRect().right")
    assert right <= 1016 and page.locator("#table").evaluate("table => table.scrollWidth") <= 1016


def test_printing_keeps_the_columns_of_all_scores_there_are(page: Any, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", shape=Shape(30, 9, 3))
    with begin_stage(folder, IDENTITY, Stage("all", "more")) as writer:
        for entry in DEFINITIONS:
            if (entry.name, entry.variant) not in SCORES and entry.variant != "bansal_released":
                values = torch.rand(20, 30, 9, generator=torch.Generator().manual_seed(0))
                writer.add_scores(HeadScores.from_items(entry.name, values, variant=entry.variant))
    page.goto(render(folder).as_uri())
    page.wait_for_selector(READY)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1016, "height": 700})
    assert page.locator("#table thead th").count() >= 22
    assert page.locator("#table").evaluate("table => table.getBoundingClientRect().right") <= 1016


def test_the_report_is_printed_light_and_whole(browser: Any, report: Path) -> None:
    """Every figure, those that nobody scrolled to as well, in the light theme on white; the screen's stays dark."""
    page = browser.new_page(color_scheme="dark", viewport={"width": 1440, "height": 900})
    page.goto(report.as_uri())
    page.wait_for_selector(READY)
    plots = printed(page)
    assert len(plots) >= 12 and {(paper, ink) for paper, ink, _ in plots} == {("#ffffff", "#1c1b19")}
    assert all(width <= A4 for _, _, width in plots)
    assert page.evaluate("document.getElementById('mosaic').layout.paper_bgcolor") == "#15171b"
    walk_down(page)
    sections = [line for line in cut_on_paper(page) if "table" not in line.lower()]  # its page is landscape
    assert sections == []
    page.close()


def test_the_table_can_be_saved(opened: Any, run: Run, tmp_path: Path) -> None:
    with opened.expect_download() as download:
        opened.locator("#csv").click()
    path = tmp_path / "heads.csv"
    download.value.save_as(path)
    rows = list(csv.reader(path.open(encoding="utf-8")))
    assert rows[0][:4] == ["layer", "head", "class", "Prefix matching mean"] and len(rows) == 25
    assert [(int(row[0]), int(row[1])) for row in rows[1:]] == [divmod(place, 4) for place in range(24)]
    np.testing.assert_allclose(
        [float(row[3]) for row in rows[1:]], run.head_score("prefix_matching").mean.flatten(), rtol=1e-3
    )


def test_a_name_is_no_formula_in_what_is_saved_or_copied(page: Any, tmp_path: Path) -> None:
    """The names of classes are whatever a run's maker wrote."""
    folder = write_run(tmp_path / "run", shape=SHAPE, tokens=TOKENS)
    made = open_run(folder)
    with begin_stage(folder, made.identity, made.stages[0]) as writer:
        writer.add_classes(np.full((SHAPE.layers, SHAPE.heads), "=1+1"))
    page.goto(render(folder).as_uri())
    page.wait_for_selector(READY)
    for text, separator in (("table.csv()", ","), ("kit.tsv(table.lines())", "\t")):
        rows = list(csv.reader(io.StringIO(page.evaluate(text), newline=""), delimiter=separator))
        assert {row[2] for row in rows[1:]} == {"'=1+1"}
        assert all(float(row[3]) for row in rows[1:]), "numbers stay numbers"


def saved(page: Any, button: Any, folder: Path) -> tuple[str, str]:
    """The name and the text of what a button saves."""
    with page.expect_download() as download:
        button.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path.name, path.read_text(encoding="utf-8")


def test_figures_are_saved_as_svg_with_a_titled_bar(opened: Any, tmp_path: Path) -> None:
    opened.locator("#score").select_option(label="Copying (signed)")
    name, text = saved(opened, opened.get_by_label("Save as SVG: the mosaic of heads"), tmp_path)
    assert name == "mosaic-copying-signed.svg" and text.startswith("<svg") and "Copying (signed)</text>" in text
    opened.evaluate("location.hash = '#head=3.1'")
    expect(opened.locator("#attention-head")).to_have_text("3.1")
    opened.wait_for_timeout(150)
    name, text = saved(opened, opened.get_by_label("Save as SVG: the attention of the head"), tmp_path)
    assert name == "attention-3.1.svg" and "attention of head 3.1</text>" in text
    matrix = opened.locator("#figure-cross_task")
    matrix.scroll_into_view_if_needed()
    name, text = saved(opened, matrix.locator("button.save").first, tmp_path)
    assert name == "cross_task-1.svg" and "correlation (* Holm" in text and "Spearman" in text
    assert not re.search(r"https?://(?!www\.w3\.org)", text) and "<script" not in text.replace("&lt;script", "")


def test_a_saved_figure_is_light_on_a_dark_page(opened: Any, tmp_path: Path) -> None:
    opened.locator("#theme").click()
    _, text = saved(opened, opened.get_by_label("Save as SVG: the mosaic of heads"), tmp_path)
    opened.locator("#theme").click()
    assert "rgb(21, 23, 27)" not in text and "rgb(255, 255, 255)" in text
    assert opened.evaluate("display.theme.printing") is False


def copied(page: Any, button: Any) -> str:
    """What a button puts on the clipboard; the page says that it did."""
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.taken = text; }")
    button.click()
    expect(page.locator("#told")).to_contain_text("copied")
    return str(page.evaluate("window.taken"))


def test_the_table_of_heads_is_copied(opened: Any, run: Run) -> None:
    form = opened.locator("#filters")
    lines = [line.split("\t") for line in copied(opened, form.get_by_text("Copy", exact=True)).splitlines()]
    assert lines[0][:4] == ["layer", "head", "class", "Prefix matching mean"] and len(lines) == 25
    means = [float(line[3]) for line in lines[1:]]
    np.testing.assert_allclose(means, run.head_score("prefix_matching").mean.flatten(), rtol=1e-3)
    text = copied(opened, form.get_by_text("Copy LaTeX"))
    rows = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert r"\toprule" in text and r"\begin{tabular}{ll" in text and len(rows) == 25
    assert all(row.count(" & ") == rows[0].count(" & ") for row in rows)
    best = run.head_score("prefix_matching").top(1)[0]
    assert rows[1].startswith(f"{best.layer}.{best.head} & ") and rf"\textbf{{{best.score:.3f}}}" in rows[1]
    assert "null" not in rows[1] and "\u2212" not in text
    assert "24 of 24 heads." in text, "the caption says how many rows of how many heads it has"


def test_other_tables_and_the_words_are_copied(opened: Any) -> None:
    section = opened.locator("#tasks")
    text = copied(opened, section.get_by_text("Copy LaTeX"))
    assert r"\bottomrule" in text and r"$<$/script$>$" in text and "<" not in text.replace("$<$", "")
    cells = copied(opened, section.get_by_text("Copy", exact=True)).splitlines()
    assert len(cells) == 1 + section.locator("tbody tr").count()
    words = opened.locator("#kit")
    assert copied(opened, words.get_by_text("Copy", exact=True)).startswith("We measured")
    assert copied(opened, words.get_by_text("Copy BibTeX")).startswith("@software{headscope,")


def test_the_address_brings_the_view_back(page: Any, report: Path) -> None:
    page.goto(f"{report.as_uri()}#head=4.2&score=copying/signed//0")
    page.wait_for_selector(READY)
    expect(page.locator("#card-title")).to_have_text("Head 4.2")
    expect(page.locator("#score option:checked")).to_have_text("Copying (signed)")
    page.goto("about:blank")
    page.goto(f"{report.as_uri()}#head=99.0&score=<script>")
    page.wait_for_selector(READY)
    expect(page.locator("#card-title")).to_have_text(re.compile(r"Head \d\.\d"))


def test_scripts_that_are_not_in_the_policy_do_not_run(page: Any, report: Path) -> None:
    heard = listen(page)
    page.goto(report.as_uri())
    page.wait_for_selector(READY)
    intrude(page)
    assert sum("Content Security Policy" in message for message in heard.messages) >= 3
    assert not [url for url in heard.requests if url.startswith("http")]


def test_no_button_sends_a_figure_away(opened: Any) -> None:
    walk_down(opened)
    titles = opened.locator(".modebar-btn").evaluate_all("all => all.map((one) => one.dataset.title)")
    assert titles and not [title for title in titles if re.search("share|cloud|plotly", title or "", re.I)]
    options = opened.evaluate("[...document.querySelectorAll('.js-plotly-plot')].map((one) => one._context)")
    assert all(not one["showSendToCloud"] and not one["plotlyServerURL"] for one in options)


@pytest.mark.parametrize(("scheme", "width", "height"), [("light", 1440, 900), ("dark", 390, 844)])
def test_every_panel_is_drawn_and_fits(
    lettered_browser: Any, report: Path, scheme: str, width: int, height: int
) -> None:
    """Nothing is wider than the window, no panel stays empty, no text of a figure lies on another."""
    page = lettered_browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})
    heard = listen(page)
    page.goto(report.as_uri())
    page.wait_for_selector(READY)
    walk_down(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    plots = page.locator(".figure .grid:not(.small) .plot")
    assert plots.count() >= 12
    for index in range(plots.count()):
        expect(plots.nth(index).locator(".main-svg").first).to_be_attached()
        box = plots.nth(index).bounding_box()
        assert box and box["width"] <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(21, 23, 27)") == (scheme == "dark")
    assert overlaps(page, ".figure .plot, #mosaic, #attention") == []
    assert page.locator("#attention .xtick, #attention .ytick").count() > 10, "labels thin out, they do not vanish"
    assert heard.messages == []
    page.close()


def test_the_fonts_are_those_of_the_set(lettered_browser: Any, request: pytest.FixtureRequest) -> None:
    """Another set of fonts has lines of another height: what holds under both was not measured by accident."""
    page = lettered_browser.new_page()
    page.set_content("<p style='font: 100px/normal system-ui, sans-serif'>Åy</p>")
    height = page.locator("p").bounding_box()["height"]
    assert ("noto" in request.node.name) == (height > 130) and 110 < height < 140
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 1440), ("light", 390)])
def test_axe_finds_nothing(browser: Any, report: Path, scheme: str, width: int) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    page.goto(report.as_uri())
    page.wait_for_selector(READY)
    walk_down(page)
    assert violations(page) == []
    page.close()


def test_the_tokens_are_one_stop_for_the_keyboard(opened: Any) -> None:
    """Arrows move among them without moving the head; Enter chooses."""
    opened.evaluate("location.hash = '#head=3.1'")
    tokens = opened.locator("#strip [role=option]")
    assert opened.locator("#strip [tabindex='0']").count() == 1
    tokens.nth(5).click()
    expect(tokens.nth(5)).to_be_focused()
    for key, at in (("ArrowRight", 6), ("ArrowLeft", 5), ("End", len(TOKENS) - 1), ("Home", 0)):
        opened.keyboard.press(key)
        expect(tokens.nth(at)).to_be_focused()
    opened.keyboard.press("ArrowDown")
    first, below = (tokens.nth(at).bounding_box()["y"] for at in (0, 1))
    focused = opened.evaluate("document.activeElement.getBoundingClientRect().top")
    assert first < focused and below == pytest.approx(focused, abs=1)
    expect(tokens.nth(5)).to_have_attribute("aria-selected", "true")
    opened.keyboard.press("Enter")
    expect(opened.locator("#strip [aria-selected=true]")).to_be_focused()
    expect(tokens.nth(5)).to_have_attribute("aria-selected", "false")
    expect(opened.locator("#card-title")).to_have_text("Head 3.1")
    assert opened.locator("#strip [tabindex='0']").count() == 1


def test_the_theme_can_be_changed(opened: Any) -> None:
    opened.locator("#figure-ffn_knockout").scroll_into_view_if_needed()
    first = opened.locator(".figure .plot").first
    expect(first.locator(".main-svg").first).to_be_attached()
    colours = []
    for text in ("Dark", "Light"):
        button = opened.locator("#theme")
        expect(button).to_have_text(text)
        colours.append(
            [
                opened.evaluate("getComputedStyle(document.body).backgroundColor"),
                opened.evaluate("document.getElementById('mosaic').layout.paper_bgcolor"),
                first.evaluate("plot => plot.layout.font.color"),
            ]
        )
        button.click()
    assert all(light != dark for light, dark in zip(*colours, strict=True))
    assert colours[1] == ["rgb(21, 23, 27)", "#15171b", "#ebe8e1"]
