"""Another run beside the inspected one: its numbers by another route, what can't be compared, and the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from headscope.cli.inspect import run_beside
from headscope.inspector import beside
from headscope.inspector.bench import Bench
from headscope.store.manifest import Stage
from headscope.store.run import open_run
from headscope.store.writer import begin_stage
from interp.errors import UsageError
from tests.headscope.accessible import violations
from tests.headscope.browsed import READY, click_cell, overlaps
from tests.headscope.inspected import Heard
from tests.headscope.inspector.test_inspector_states import served
from tests.headscope.synthetic import IDENTITY, Shape, write_run

HOSTILE = "</h2><script>alert(1)</script>"
SHAPE = Shape(6, 9)
LATER = {**IDENTITY, "weight_hash": "0ddba11" * 9 + "0"}


def bench_of(folder: Path, other: Path) -> Bench:
    bench = Bench("tiny", run=open_run(folder))
    bench.beside = run_beside(bench, other)
    return bench


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run, a later state of its model, and a model of another shape."""
    here = tmp_path_factory.mktemp("beside")
    return {
        "one": write_run(here / "one", shape=SHAPE, study=True),
        "later": write_run(here / HOSTILE.replace("/", "|"), shape=SHAPE, seed=12, identity=LATER),
        "small": write_run(here / "small", shape=Shape(4, 6), identity={**LATER, "weight_hash": "f00d" * 16}),
    }


def test_the_correlation_is_that_of_the_stored_scores(folders: dict[str, Path]) -> None:
    made = beside.parts(bench_of(folders["one"], folders["later"]))
    assert made["alike"] and made["name"] == folders["later"].name and made["own"] == "one"
    one, later = (open_run(folders[name]).head_score("copying", "signed").mean.numpy() for name in ("one", "later"))
    told = made["told"]["copying/signed//0"]
    assert f"over heads {spearmanr(one.ravel(), later.ravel()).statistic:+.2f}".replace("-", "\N{MINUS SIGN}") in told
    inside = np.mean([spearmanr(a, b).statistic for a, b in zip(one, later, strict=True)])
    assert f"within layers {inside:+.2f} on average".replace("-", "\N{MINUS SIGN}") in told
    assert not any(name.startswith("importance/") for name in made["told"])  # the later run has none


def test_other_shapes_have_no_partners(folders: dict[str, Path]) -> None:
    made = beside.parts(bench_of(folders["one"], folders["small"]))
    assert not made["alike"] and made["note"] == "" and "no head has a partner" in made["told"]["copying/signed//0"]
    assert (made["scores"]["layers"], made["scores"]["heads"]) == (4, 6)


def test_what_can_not_stand_beside_is_refused_and_what_differs_is_told(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    bench = Bench("tiny", run=open_run(folders["one"]))
    with pytest.raises(UsageError, match="is the run that is inspected already"):
        run_beside(bench, folders["one"])
    with begin_stage(tmp_path / "empty", IDENTITY, Stage("importance", "probes", tasks=("copa",))):
        pass
    with pytest.raises(UsageError, match="holds no score of a head to draw: run `headscope induction"):
        run_beside(bench, tmp_path / "empty")
    again = Stage("induction", "quick", options={"length": 25, "repeats": 4, "sequences": 20})
    with begin_stage(folders["small"], {**LATER, "weight_hash": "f00d" * 16}, again):
        pass
    (note,) = run_beside(bench, folders["small"]).notes
    assert note == "Unlike protocols of the induction scores: length is 50 here and 25 there."
    assert run_beside(Bench("tiny", run=open_run(folders["one"])), folders["later"]).notes == ()


# ---- in the browser -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["later", "small"])
def opened(request: Any, browser: Any, folders: dict[str, Path]) -> Iterator[tuple[str, Any]]:
    with served(bench_of(folders["one"], folders[request.param])) as address:
        context, heard = browser.new_context(viewport={"width": 1440, "height": 900}), Heard()
        heard.listen(context, address)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(f"{address}#head=1.1")
        page.wait_for_selector(READY)
        page.wait_for_selector("#mosaic-beside .js-plotly-plot .heatmaplayer")
        yield request.param, page
        assert page.locator("#defect").inner_text() == "" and heard.messages == [] and heard.elsewhere == []
        context.close()


@pytest.mark.browser
def test_the_other_run_follows_the_left_score_and_the_selection(
    opened: tuple[str, Any], folders: dict[str, Path]
) -> None:
    which, page = opened
    name = folders[which].name
    values = "(id) => Array.from(document.querySelector(`#${id} .js-plotly-plot`).data[0].z, (row) => Array.from(row))"
    page.locator("#score-a").select_option("copying/signed//0")
    title = page.locator("#beside-title", has_text=f"Copying (signed) of {name}")
    title.wait_for()
    runs = [open_run(folders[each]) for each in ("one", which)]
    one, other = (run.head_score("copying", "signed").mean.numpy() for run in runs)
    np.testing.assert_allclose(page.evaluate(values, "mosaic-beside"), other, rtol=1e-3, atol=1e-6)
    if which == "later":
        np.testing.assert_allclose(page.evaluate(values, "mosaic-change"), other - one, atol=2e-3)
        click_cell(page, "#mosaic-change .js-plotly-plot", 7, 4)
        page.wait_for_function("() => String(headscope.state.head) === '4,7'")
        frame = "document.querySelector('#mosaic-beside .js-plotly-plot').layout.shapes[0]"
        page.wait_for_function(f"() => {frame}.x0 === 6.5 && {frame}.y0 === 3.5")
        assert violations(page) == []
        page.keyboard.press("ArrowDown")  # the click has moved the focus
        page.locator("#mosaic-beside").locator("xpath=..").focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("() => String(headscope.state.head) === '5,8'")
        page.wait_for_function(f"() => {frame}.x0 === 7.5 && {frame}.y0 === 4.5")
        with page.expect_download() as download:
            page.locator("[data-plot=mosaic-change][data-kind=svg]").click()
        assert download.value.suggested_filename == "headscope-change-copying-signed.svg"
    else:
        assert page.locator("#change-figure").is_hidden()
        click_cell(page, "#mosaic-beside .js-plotly-plot", 5, 3)
        assert page.evaluate("headscope.state.head") == [1, 1]
        assert page.locator("#beside-panel [tabindex='0']").count() == 0
    missing = page.evaluate("headscope.scores.entries.find(({ id }) => id.startsWith('importance/')).id")
    page.locator("#score-a").select_option(missing)
    page.locator("#beside-told", has_text=f"{name} holds no score").wait_for()
    assert page.locator("#beside-figure").is_hidden() and page.locator("#change-figure").is_hidden()


@pytest.mark.browser
def test_no_label_lies_on_another_whatever_the_fonts(lettered_browser: Any, folders: dict[str, Path]) -> None:
    with served(bench_of(folders["one"], folders["later"])) as address:
        page = lettered_browser.new_page()
        page.goto(f"{address}#head=1.1")
        page.wait_for_selector(READY)
        page.wait_for_selector("#mosaic-change .js-plotly-plot .heatmaplayer")
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(500)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert overlaps(page, "#mosaic-beside, #mosaic-change") == []
        page.close()
