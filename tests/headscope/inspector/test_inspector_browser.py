"""The inspector in Chromium with the real model, as a person uses it: no request leaves the machine, nothing fails."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from headscope.store.run import Run, open_run
from tests.headscope.browsed import READY, click_cell, intrude, place_of
from tests.headscope.inspected import MINUS, Heard, column, inspector, mosaic_plot, number
from tests.headscope.synthetic import HOSTILE

if TYPE_CHECKING:
    from interp.model import HookedModel

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
pytestmark = [pytest.mark.browser, pytest.mark.slow]

BLOCK, REPEATS = 12, 4  # of the prompt that the inspector opens with
FIRST = (18, 6)  # Method 7: the strongest prefix-matching head
PLOT = "document.querySelector('#attention .js-plotly-plot')"
MODEL_WAIT = 60_000  # milliseconds for what the model must work on, however busy the machine


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """A busy machine takes its time over what is instant on an idle one."""
    expect.set_options(timeout=30_000)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture(scope="module")
def run(smollm2: HookedModel, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What `headscope induction --sequences 2` stores."""
    from headscope.stages.induction import measure_induction

    folder = tmp_path_factory.mktemp("inspected") / "run"
    measure_induction(smollm2, folder, sequences=2)
    return open_run(folder)


@pytest.fixture(scope="module")
def address(run: Run) -> Iterator[str]:
    with inspector(run.folder) as found:
        yield found


@pytest.fixture(scope="module")
def listening(browser: Any, address: str) -> Iterator[tuple[Any, Heard]]:
    """A browser whose pages reach the inspector alone."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    heard = Heard()
    heard.listen(context, address)
    yield context, heard
    context.close()


@pytest.fixture(scope="module")
def shared(listening: tuple[Any, Heard], address: str) -> Any:
    """One page for the tests that only use it."""
    page = listening[0].new_page()
    page.goto(address)
    page.wait_for_selector(READY)
    return page


@pytest.fixture
def opened(shared: Any, listening: tuple[Any, Heard]) -> Iterator[Any]:
    """The inspector as it opens; whatever a test does, no page says anything, and none asks for anything elsewhere."""
    shared.evaluate(
        """() => {
            document.activeElement.blur();
            history.replaceState(null, "", location.pathname);
            headscope.begin(headscope.facts);
            scrollTo(0, 0);
        }"""
    )
    shows(shared, FIRST)
    yield shared
    assert listening[1].messages == [] and listening[1].elsewhere == []


def click_head(page: Any, layer: int, head: int) -> None:
    click_cell(page, mosaic_plot("a"), head, layer)


def shows(page: Any, head: tuple[int, int]) -> None:
    """Card, heat map and strip are those of this head."""
    name = f"{head[0]}.{head[1]}"
    expect(page.locator("#card-title")).to_have_text(f"Head {name}")
    expect(page.locator("#attention-title")).to_contain_text(f"head {name}", timeout=MODEL_WAIT)
    expect(page.locator("#strip-title")).to_have_text(f"What head {name} looks at", timeout=MODEL_WAIT)
    expect(page.locator("#attention .heatmaplayer image")).to_have_count(1)
    drawn(page)


def drawn(page: Any) -> None:
    """The heat map is the one that its heading names: plotly draws a little later than Dash says so."""
    for _ in range(200):
        if page.evaluate(f"{PLOT}.layout.meta") == page.locator("#attention-title").inner_text():
            return
        page.wait_for_timeout(50)
    raise AssertionError("the heat map does not follow its heading")


def pattern(page: Any) -> np.ndarray:
    """The heat map's numbers; later keys are missing."""
    drawn(page)
    number = "Number.isFinite(value) ? value : null"
    found = page.evaluate(f"{PLOT}.calcdata[0][0].z.map((row) => Array.from(row, (value) => {number}))")
    return np.array(found, dtype=float)


def learning(page: Any) -> list[float]:
    """The in-context-learning scores that are shown: before, and after a removal where there is one."""
    return [number(text) for text in page.locator("#learning dd").all_inner_texts()]


def remove_top_five(page: Any) -> None:
    page.locator("#top-k").fill("5")
    page.locator("#top-a").click()
    expect(page.locator("#removed .chip")).to_have_count(5)
    expect(page.locator("#learning dd")).to_have_count(2, timeout=MODEL_WAIT)
    expect(page.locator("#changes thead")).to_contain_text("after", timeout=MODEL_WAIT)


def saved(page: Any, button: Any, folder: Path) -> Path:
    with page.expect_download(timeout=MODEL_WAIT) as download:
        button.click()
    path = folder / str(download.value.suggested_filename)
    download.value.save_as(path)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ---- looking --------------------------------------------------------------------------------------------------------


def test_the_top_induction_head_is_picked_from_the_mosaic(opened: Any, run: Run) -> None:
    """Its card has what is stored, its attention on a repeated sequence the stripe of Method 2.1."""
    best = run.head_score("prefix_matching").top(1)[0]
    assert (best.layer, best.head) == FIRST
    click_head(opened, 2, 2)
    shows(opened, (2, 2))
    assert stripe(pattern(opened)) < 0.1
    values = opened.evaluate("headscope.scores.entries[0].mean")
    darkest = divmod(int(np.argmax(values)), 9)
    click_head(opened, *darkest)
    shows(opened, FIRST)
    row = opened.locator("#card-scores .score").first
    expect(row).to_contain_text(f"{best.score:.3f}")
    expect(row).to_contain_text("rank 1 of 270")
    expect(opened.locator("#card-group")).to_have_text("Key-value head 2, shared with 18.7, 18.8")
    assert stripe(pattern(opened)) > 0.6


def stripe(shown: np.ndarray) -> float:
    """Mean attention, in repeats 2 and later, on the successors of all earlier copies."""
    assert shown.shape == (1 + BLOCK * REPEATS,) * 2
    queries = range(1 + BLOCK, 1 + BLOCK * REPEATS)
    return float(np.mean([sum(shown[i, p + 1] for p in range(i - BLOCK, 0, -BLOCK)) for i in queries]))


def test_hovering_tells_both_scores_with_intervals(opened: Any, run: Run) -> None:
    place = place_of(opened, mosaic_plot("b"), FIRST[1], FIRST[0])
    opened.mouse.move(*place)
    hover = opened.locator("#mosaic-b .hoverlayer")
    expect(hover).to_contain_text("head 18.6")
    for name, variant in (("prefix_matching", ""), ("copying", "signed")):
        score = run.head_score(name, variant)
        mean, low, high = (f"{float(getattr(score, part)[FIRST]):.3f}" for part in ("mean", "ci_low", "ci_high"))
        expect(hover).to_contain_text(f"{mean} [{low}, {high}]".replace("-", MINUS))


def test_arrow_keys_move_the_selection(opened: Any) -> None:
    click_head(opened, 17, 3)
    shows(opened, (17, 3))
    for key, name in (("ArrowDown", "18.3"), ("ArrowRight", "18.4"), ("ArrowUp", "17.4"), ("ArrowLeft", "17.3")):
        opened.keyboard.press(key)
        expect(opened.locator("#card-title")).to_have_text(f"Head {name}")
    shows(opened, (17, 3))


def test_the_card_has_pairs_and_token_copies(opened: Any) -> None:
    """18.6 attends from each token to what followed its earlier copy: the strongest pairs are a multiple apart."""
    pairs = opened.locator("#pairs tbody tr")
    expect(pairs).to_have_count(10)
    for row in range(10):
        query, key = (int(text) for text in pairs.nth(row).locator(".note").all_inner_texts())
        assert (query - key + 1) % BLOCK == 0
    expect(opened.locator("#copies tbody tr")).to_have_count(10, timeout=MODEL_WAIT)
    expect(opened.locator("#copies-note")).to_contain_text("random tokens")


def test_a_tasks_document_and_long_prompts_are_read(opened: Any) -> None:
    opened.locator("[data-prompt=task]").click()
    opened.locator("#task-shots").fill("1")
    opened.locator("#read").click()
    expect(opened.locator("#prompt-name")).to_contain_text("1 shot", timeout=MODEL_WAIT)
    expect(opened.locator("#strip [role=option].target").first).to_be_visible()
    opened.locator("[data-prompt=repeated]").click()
    opened.locator("#repeated-length").fill("60")
    opened.locator("#read").click()
    expect(opened.locator("#prompt-name")).to_contain_text("241 tokens", timeout=MODEL_WAIT)
    expect(opened.locator("#window-row")).to_be_visible()
    opened.locator("#window-queries").select_option("145")
    opened.locator("#window-keys").select_option("48")
    expect(opened.locator("#attention .yaxislayer-above")).to_contain_text(re.compile(r"145 "), timeout=MODEL_WAIT)
    assert pattern(opened).shape == (96, 96)
    assert np.nanmax(np.diagonal(pattern(opened), offset=145 - 48 - 59)) > 0.5, "one copy before, one token on"


# ---- removing -------------------------------------------------------------------------------------------------------


def test_removing_the_top_five_undoes_in_context_learning(opened: Any) -> None:
    """The loss on the repeats goes up, the score falls towards 0; undo brings both back."""
    expect(opened.locator("#learning dd")).to_have_count(1, timeout=MODEL_WAIT)
    whole = learning(opened)[0]
    assert whole < -3
    remove_top_five(opened)
    before, after = (column(opened, "#changes", name)["repeats"] for name in ("whole model", "after"))
    assert after > before + 0.5
    first = {name: column(opened, "#changes", name)["first copy"] for name in ("whole model", "after")}
    assert first["after"] - first["whole model"] < after - before
    scores = learning(opened)
    assert scores[0] == whole and scores[1] > whole + 0.5
    assert opened.locator("#next table").count() == 2 and opened.locator("#next tbody tr").count() == 20
    assert opened.locator("#loss .js-plotly-plot").evaluate("plot => plot.data.length") == 2
    assert "heads=" in opened.url
    opened.locator("#undo").click()
    expect(opened.locator("#removed .chip")).to_have_count(0)
    expect(opened.locator("#learning dd")).to_have_count(1, timeout=MODEL_WAIT)
    assert learning(opened) == [whole]
    expect(opened.locator("#changes thead")).not_to_contain_text("after")
    assert column(opened, "#changes", "whole model")["repeats"] == before


def test_heads_and_ffns_are_removed_by_list_and_by_click(opened: Any) -> None:
    opened.locator("#heads-list").fill("18.7,17.3")
    opened.locator("#ffns-list").fill("11")
    opened.locator("#set-list").click()
    chips = opened.locator("#removed .chip")
    expect(chips).to_have_text(["17.3", "18.7", "FFN 11"])
    opened.locator("#picking").check()
    click_head(opened, 3, 4)
    expect(chips).to_have_text(["3.4", "17.3", "18.7", "FFN 11"])
    chips.nth(3).click()
    expect(chips).to_have_text(["3.4", "17.3", "18.7"])
    opened.locator("#picking").uncheck()
    opened.locator("#heads-list").fill("99.9")
    opened.locator("#set-list").click()
    expect(opened.locator("#removal-problem")).to_contain_text("99 does not exist: the model has layers 0-29")
    expect(chips).to_have_count(3)
    expect(opened.locator("#changes thead")).to_contain_text("after", timeout=MODEL_WAIT)
    by_zero = opened.locator("#changes tbody tr").first.locator("td").nth(1).inner_text()
    opened.locator("[data-ablation=mean]").click()
    expect(opened.locator("[data-ablation=mean]")).to_have_attribute("aria-pressed", "true")
    row = opened.locator("#changes tbody tr").first
    expect(row.locator("td").nth(1)).not_to_have_text(by_zero, timeout=3 * MODEL_WAIT)
    opened.locator("#restore").click()
    expect(chips).to_have_count(0)


def test_a_shared_address_brings_the_view_back_in_a_second_tab(opened: Any, listening: tuple[Any, Heard]) -> None:
    click_head(opened, 17, 3)
    shows(opened, (17, 3))
    opened.locator("#score-b").select_option("previous_token///0")
    opened.locator("#heads-list").fill("18.6")
    opened.locator("#ffns-list").fill("2")
    opened.locator("#set-list").click()
    opened.locator("#repeated-seed").fill("4")
    opened.locator("#read").click()
    expect(opened.locator("#prompt-name")).to_contain_text("seed 4", timeout=MODEL_WAIT)
    opened.locator("#strip [role=option]").nth(20).click()
    opened.locator("#after-box").check()
    expect(opened.locator("#attention-title")).to_have_text("Attention of head 17.3 after removal", timeout=MODEL_WAIT)
    expect(opened.locator("#next-title")).to_contain_text("(20)", timeout=MODEL_WAIT)
    second = listening[0].new_page()
    second.goto(opened.url)
    second.wait_for_selector(READY)
    expect(second.locator("#attention-title")).to_have_text("Attention of head 17.3 after removal", timeout=MODEL_WAIT)
    expect(second.locator("#next-title")).to_contain_text("(20)", timeout=MODEL_WAIT)
    expect(second.locator("#learning dd")).to_have_count(2, timeout=MODEL_WAIT)
    expect(opened.locator("#learning dd")).to_have_count(2, timeout=MODEL_WAIT)
    for what in ("#card-title", "#removed", "#prompt-name", "#next-title", "#next", "#changes", "#learning", "#pairs"):
        assert second.locator(what).inner_text() == opened.locator(what).inner_text() != ""
    for what in ("#score-a", "#score-b", "#heads-list", "#repeated-seed"):
        assert second.locator(what).input_value() == opened.locator(what).input_value()
    np.testing.assert_array_equal(pattern(second), pattern(opened))
    expect(second.locator("#strip [role=option]").nth(20)).to_have_attribute("aria-selected", "true")
    second.close()


def test_two_tabs_do_not_disturb_each_other(opened: Any, listening: tuple[Any, Heard], address: str) -> None:
    """Both ask for work at once; each ends with its own head, prompt and removal."""
    second = listening[0].new_page()
    second.goto(f"{address}#head=3.3&prompt=repeated:10:3:7&heads=24.4")
    opened.locator("#heads-list").fill("17.3,18.6")
    opened.locator("#set-list").click()
    second.wait_for_selector(READY)
    shows(second, (3, 3))
    for page, chips, told in ((opened, ["17.3", "18.6"], "seed 0"), (second, ["24.4"], "seed 7")):
        expect(page.locator("#removed .chip")).to_have_text(chips)
        expect(page.locator("#prompt-name")).to_contain_text(told)
        expect(page.locator("#learning dd")).to_have_count(2, timeout=MODEL_WAIT)
        expect(page.locator("#changes thead")).to_contain_text("after", timeout=MODEL_WAIT)
    assert learning(opened)[0] == learning(second)[0] and learning(opened)[1] > learning(second)[1] + 0.3
    shows(opened, FIRST)
    assert pattern(opened).shape == (49, 49) and pattern(second).shape == (31, 31)
    second.close()


# ---- taking away ----------------------------------------------------------------------------------------------------


def test_views_are_saved_as_csv_and_pictures(opened: Any, run: Run, tmp_path: Path) -> None:
    scores = rows_of(saved(opened, opened.locator("[data-csv=scores]").first, tmp_path))
    prefix = [float(row["mean"]) for row in scores if row["score"] == "prefix_matching" and not row["variant"]]
    np.testing.assert_allclose(prefix, run.head_score("prefix_matching").mean.flatten(), rtol=1e-3)
    attention = rows_of(saved(opened, opened.locator("[data-csv=attention]"), tmp_path))
    assert len(attention) == 49 * 50 // 2
    sums = np.zeros(49)
    for row in attention:
        sums[int(row["query"])] += float(row["attention"])
    np.testing.assert_allclose(sums, 1.0, atol=1e-4)
    head = rows_of(saved(opened, opened.locator("[data-csv=head]"), tmp_path))
    assert {(row["layer"], row["head"]) for row in head} == {("18", "6")}
    for name in ("pairs", "copies", "next", "loss"):
        assert len(rows_of(saved(opened, opened.locator(f"[data-csv={name}]"), tmp_path))) >= 10
    picture = saved(opened, opened.locator("[data-plot=attention][data-kind=png]"), tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000
    drawing = saved(opened, opened.locator("[data-plot=mosaic-a][data-kind=svg]"), tmp_path)
    assert drawing.read_text(encoding="utf-8").startswith("<svg")


# ---- what should not happen -----------------------------------------------------------------------------------------


def test_a_prompt_of_100_000_characters_gets_a_sentence(opened: Any) -> None:
    opened.locator("[data-prompt=text]").click()
    opened.locator("#own-text").fill("lorem " * 16_667)
    opened.locator("#read").click()
    problem = opened.locator("#prompt-problem")
    expect(problem).to_contain_text("The prompt has 100,002 characters, and the inspector reads at most 20,000")
    opened.locator("#own-text").fill("word " * 3000)
    opened.locator("#read").click()
    expect(problem).to_contain_text(re.compile(r"The prompt has [\d,]+ tokens, and at most"), timeout=MODEL_WAIT)
    opened.locator("#own-text").fill("When Mary and John went to the store, John gave a drink to")
    opened.keyboard.press("Control+Enter")
    expect(problem).to_be_empty(timeout=MODEL_WAIT)
    expect(opened.locator("#prompt-name")).to_contain_text("Own text", timeout=MODEL_WAIT)
    expect(opened.locator("#next tbody tr").first).to_contain_text("Mary", timeout=MODEL_WAIT)


def test_hostile_text_is_shown_as_text(opened: Any, shared: Any) -> None:
    """In the strip, the heat map, the tables, the titles, the address and the drawing of CircuitsVis."""
    text = " ".join(HOSTILE)
    opened.locator("[data-prompt=text]").click()
    opened.locator("#own-text").fill(text)
    opened.locator("#read").click()
    expect(opened.locator("#prompt-name")).to_contain_text("Own text", timeout=MODEL_WAIT)
    strip = opened.locator("#strip")
    expect(strip).to_contain_text("script")
    joined = "".join(strip.locator("[role=option]").all_text_contents())
    assert "</script><script>alert(1)</script>" in joined and "\u202e" not in joined and "U+202E" in joined
    for what in ("#strip", "#pairs", "#next", "#next-title", "#attention", "#loss"):
        assert opened.locator(what).locator("script, b:not(.score b), img:not(.heatmaplayer img)").count() == 0
    opened.locator("#strip [role=option]").nth(3).click()
    opened.locator("[data-vis=head]").click()
    frame = opened.frame_locator("#frame")
    expect(frame.locator("canvas").first).to_be_visible(timeout=MODEL_WAIT)  # a script of a token would have spoken
    assert frame.locator("script").filter(has_text=re.compile(r"^\s*alert")).count() == 0
    opened.locator("[data-vis=off]").click()
    shared.reload()
    shared.wait_for_selector(READY)
    expect(shared.locator("#own-text")).to_have_value(text, timeout=MODEL_WAIT)


def test_circuitsvis_draws_one_head_or_its_layer(opened: Any) -> None:
    frame = opened.frame_locator("#frame")
    for kind, told in (("head", "Head 18.6"), ("layer", "The 9 heads of layer 18")):
        opened.locator(f"[data-vis={kind}]").click()
        expect(opened.locator("#vis-note")).to_contain_text(told, timeout=MODEL_WAIT)
        expect(frame.locator("canvas, svg, img").first).to_be_visible(timeout=MODEL_WAIT)
    opened.locator("[data-vis=off]").click()
    expect(opened.locator("#frame")).to_be_hidden()


def test_scripts_that_are_not_the_inspectors_do_not_run(
    listening: tuple[Any, Heard], browser: Any, address: str
) -> None:
    """Under its policy the page runs no foreign script and asks nobody else; the browser refuses before the network."""
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    answer = page.goto(address)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe-eval" not in policy
    assert "unsafe-inline" not in re.search("script-src [^;]*", policy)[0]  # type: ignore[index]
    page.wait_for_selector(READY)
    intrude(page)
    assert sum("Content Security Policy" in text for text in said) >= 3
    page.close()


def test_a_selection_answers_at_once(opened: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """From the click to the card and the heat map, printed for nine heads; no machine is asked to be fast."""
    times = []
    for head in range(9):
        name = f"17.{head}"
        opened.wait_for_timeout(600)  # a person looks before choosing again
        taken = opened.evaluate(
            """(head) => new Promise((done) => {
                const begun = performance.now();
                const shown = (id) => document.getElementById(id).textContent.includes(head.join("."));
                const look = () => (shown("card-title") && shown("attention-title")
                    ? requestAnimationFrame(() => done(performance.now() - begun)) : setTimeout(look, 5));
                headscope.select(head);
                look();
            })""",
            [17, head],
        )
        expect(opened.locator("#card-title")).to_have_text(f"Head {name}")
        times.append(taken)
    with capsys.disabled():
        print(f"\nselection to card and heat map: median {np.median(times):.0f} ms, longest {max(times):.0f} ms")
    assert len(times) == 9


def test_a_new_prompt_answers_soon(opened: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """From the click on Read to the heat map of 100 new tokens, printed for three prompts."""
    times = []
    for seed in (11, 12, 13):
        opened.locator("[data-prompt=repeated]").click()
        opened.locator("#repeated-length").fill("33")
        opened.locator("#repeated-repeats").fill("3")
        opened.locator("#repeated-seed").fill(str(seed))
        taken = opened.evaluate(
            f"""(seed) => new Promise((done) => {{
                const begun = performance.now();
                const before = JSON.stringify({PLOT}.calcdata[0][0].z);
                const look = () => (document.getElementById("prompt-name").textContent.includes(`seed ${{seed}}`)
                    && JSON.stringify({PLOT}.calcdata[0][0].z) !== before
                    ? requestAnimationFrame(() => done(performance.now() - begun)) : setTimeout(look, 10));
                document.getElementById("read").click();
                look();
            }})""",
            seed,
        )
        expect(opened.locator("#prompt-name")).to_contain_text("100 tokens")
        times.append(taken)
    with capsys.disabled():
        print(f"\nnew prompt of 100 tokens to heat map: median {np.median(times):.0f} ms, longest {max(times):.0f} ms")
    assert len(times) == 3
