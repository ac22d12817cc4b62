"""What shows itself in a notebook: plotly figures and attention views, in the report's colours, without a network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import plotly.io
import pytest

from headscope.figures import NAMES, style
from headscope.store.run import Run, open_run
from interp import figure
from tests.headscope.report.test_attention_page import HOSTILE, LONG
from tests.headscope.synthetic import Shape, write_run
from tests.headscope.tiny_model import tiny_model

PLOTLY = "application/vnd.plotly.v1+json"
# How JupyterLab and VS Code show HTML: they put it into the page, then run its scripts one by one.
SHOW = """(fragments) => {
    for (const fragment of fragments) {
        const cell = document.createElement("div");
        cell.innerHTML = fragment;
        document.body.append(cell);
        for (const old of cell.querySelectorAll("script")) {
            const script = document.createElement("script");
            for (const { name, value } of old.attributes) script.setAttribute(name, value);
            script.textContent = old.textContent;
            old.replaceWith(script);
        }
    }
}"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(write_run(tmp_path_factory.mktemp("notebook") / "run", shape=Shape(6, 4, 2), study=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_runs_figure_shows_by_its_data_alone(run: Run, name: str) -> None:
    """The mime type that JupyterLab and VS Code draw with a plotly.js of their own; nothing in it has an address."""
    bundle = plotly.io.renderers._build_mime_bundle(run.figure(name).to_dict(), renderers_string="plotly_mimetype")
    assert list(bundle) == [PLOTLY]
    assert bundle[PLOTLY]["data"] and "http" not in json.dumps(bundle)


def test_scores_are_drawn_in_the_reports_colours() -> None:
    assert (style.SEQUENTIAL["light"], style.DIVERGING["light"]) == (figure.SEQUENTIAL, figure.DIVERGING)
    assert style.PALETTE["blue"][0] == figure.BLUE
    values = np.array([[0.1, 0.7], [np.nan, 0.2]])
    plain, signed = figure.mosaic(values).data[0], figure.mosaic(values - 0.5).data[0]
    assert [stop[1] for stop in plain.colorscale] == list(figure.SEQUENTIAL) and (plain.zmin, plain.zmax) == (0, 0.7)
    assert [stop[1] for stop in signed.colorscale] == list(figure.DIVERGING) and signed.zmid == 0
    assert figure.mosaic(values, zmax=1.0).data[0].zmax == 1.0
    assert figure.mosaic(np.full((2, 2), np.nan)).data[0].zmax == 1.0


def test_a_view_that_is_shown_twice_has_two_places() -> None:
    view = tiny_model().attention_view("abcd efgh", 1, 2)
    places = [re.findall("circuits-vis-[0-9a-f-]+", view._repr_html_()) for _ in range(2)]
    assert [len(set(one)) for one in places] == [1, 1] and all(len(one) >= 2 for one in places)
    assert places[0][0] != places[1][0]
    assert re.fullmatch(r"<attention of 1\.2 on \d+ tokens>", repr(view))


def test_a_page_says_that_it_is_a_window() -> None:
    assert "tokens 0 to 63 of" in tiny_model().attention_view(LONG, 1, 2).page(title="x")
    assert "tokens 0" not in tiny_model().attention_view("abcd", 1, 2).page(title="x")


@pytest.mark.browser
def test_views_show_in_a_notebook_and_ask_for_nothing(page: Any, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    asked, problems = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
    page.on("pageerror", lambda error: problems.append(str(error)))
    (tmp_path / "notebook.html").write_text("<!doctype html><meta charset=utf-8><link rel=icon href=data:,>", "utf-8")
    page.goto((tmp_path / "notebook.html").as_uri())
    one, layer = tiny_model().attention_view(HOSTILE, 1, 2), tiny_model().attention_view(HOSTILE, 1)
    page.evaluate(SHOW, [one._repr_html_(), one._repr_html_(), layer._repr_html_()])
    cells = page.locator("body > div")
    for place in range(3):
        expect(cells.nth(place).locator("canvas").first).to_be_visible(timeout=60_000)
    expect(cells.nth(2).get_by_text("Head Selector").first).to_be_visible()
    assert problems == []
    assert [url for url in asked if not url.startswith("data:")] == [(tmp_path / "notebook.html").as_uri()]


@pytest.mark.browser
@pytest.mark.slow
def test_a_figure_is_written_as_an_image(run: Run, tmp_path: Path) -> None:
    run.head_score("prefix_matching").figure().write_image(tmp_path / "mosaic.png")
    run.figure("retention").write_image(tmp_path / "retention.svg")
    assert (tmp_path / "mosaic.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "share left" in (tmp_path / "retention.svg").read_text("utf-8")
