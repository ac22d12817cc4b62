"""What report and inspector draw with, in Chromium on a page of its own: numbers as text, ranks, the fit of labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from headscope.report.page import shared_script, style
from interp.theme import PALETTE, SEQUENTIAL, for_scripts

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser

NONE = "\N{EN DASH}"
EMPTY = {name: [] for name in ("low", "high", "null", "p", "family")}
ENTRY = {"id": "x", "label": "X", "task": "", "group": "g", "folded": False, "meaning": "", "signed": False, **EMPTY}
SIZES = "layers: 2, heads: 2, kv: 1, level: 0.05, classes: null, groups: ['g']"
SCORES = f"new display.Scores({{ {SIZES}, entries: [entry] }})"


@pytest.fixture(scope="module")
def shared(browser: Any) -> Iterator[Any]:
    page = browser.new_page()
    page.set_content(f"<style>{style('')}</style><div id=box></div><button id=theme></button>")
    page.add_script_tag(content=shared_script())
    page.evaluate("(palettes) => display.theme.start(palettes, display.$('theme'))", for_scripts())
    yield page
    page.close()


def numbers(page: Any, values: list[float | None], entry: dict[str, Any]) -> list[str]:
    script = f"([values, entry]) => {{ const scores = {SCORES}; return values.map((v) => scores.number(v, entry)); }}"
    told: list[str] = page.evaluate(script, [values, {**ENTRY, **entry}])
    return told


def test_numbers_have_two_digits_of_the_largest_and_three_decimals_beside_a_null(shared: Any) -> None:
    assert numbers(shared, [0.123456, None, -0.001, -0.5], {"mean": [0.9]}) == ["0.12", NONE, "0.00", "\u22120.50"]
    assert numbers(shared, [-0.00012], {"mean": [0.0023]}) == ["\u22120.0001"]
    assert numbers(shared, [0.012, 0.65449], {"mean": [0.9], "null": [0.01]}) == ["0.012", "0.654"]
    assert numbers(shared, [3.2e-7, -1e-6], {"mean": [3.2e-7]}) == ["3.2e\u22127", "\u22121.0e\u22126"]


def test_probabilities_tell_apart_what_is_small(shared: Any) -> None:
    told = shared.evaluate("[0.0005, 0.02, 0.5, null].map((p) => display.probability(p))")
    assert told == ["0.0005", "0.020", "0.50", NONE]


def test_heads_without_a_value_have_no_rank(shared: Any) -> None:
    entry = {**ENTRY, "mean": [None, 0.2, 0.9, 0.2]}
    assert shared.evaluate(f"(entry) => [...{SCORES}.ranks(entry)]", entry) == [[2, 1], [1, 2], [3, 3]]


def test_classes_and_function_vectors_have_marks_of_their_own(shared: Any) -> None:
    """A head can be both; the legend names what is drawn, and no mark of what was not looked for."""
    kinds = ["copying", "", "anti-copying", ""]
    script = """([entry, classes, vectors]) => {
        const sizes = { layers: 2, heads: 2, kv: 1, level: 0.05, groups: ["g"] };
        const scores = new display.Scores({ ...sizes, entries: [entry], classes, vectors });
        display.mosaic.legend(scores, display.$("box"));
        const { data } = display.mosaic.figure(scores, entry, { told: [entry], selected: 0 });
        return [data[0].text.flat(), display.$("box").textContent, data[0].customdata[0][0].split("<br>")[0]];
    }"""
    entry = {**ENTRY, "mean": [0.1, 0.2, 0.3, 0.4]}
    marks, legend, hover = shared.evaluate(script, [entry, kinds, [0, 3]])
    assert marks == ["●◆", "", "▼", "◆"] and "◆ function vector" in legend
    assert hover == "<b>head 0.0</b> copying, function vector"
    marks, legend, _ = shared.evaluate(script, [entry, kinds, None])
    assert marks == ["●", "", "▼", ""] and "function vector" not in legend


def test_ticks_stand_where_the_values_are(shared: Any) -> None:
    entry = {**ENTRY, "mean": [-0.5, None, 0.25, 0.5], "low": [-1.0, None, 0.0, 0.0]}
    path = "(entry) => display.line.drawn(entry, display.line.scale(entry)).querySelector('.ticks').getAttribute('d')"
    assert shared.evaluate(path, entry) == "M333.3 4V12M833.3 4V12M1000.0 4V12"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_on_every_shade_is_read_easily(shared: Any, theme: str) -> None:
    """Contrast of at least 4.5 (WCAG 2.2, 1.4.3) on each step of the scale that shades tokens."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    texts = shared.evaluate("(stops) => stops.map(display.readable)", SEQUENTIAL[theme])
    for stop, text in zip(SEQUENTIAL[theme], texts, strict=True):
        low, high = sorted((luminance(stop), luminance(text)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, stop
    assert {*texts} == {"#000000", "#ffffff"} and PALETTE["paper"]


def test_labels_thin_out_by_the_height_of_the_font(shared: Any) -> None:
    height = shared.evaluate("display.textSize('Åy', display.attentionMap.FONT).height")
    assert 10 <= height <= 20
    for count in (1, 10, 49, 96):
        for pixels in (120, 300, 660):
            every = shared.evaluate("([count, pixels]) => display.attentionMap.every(count, pixels)", [count, pixels])
            assert every * pixels / count >= height, "no label lies on the next"
            assert every == 1 or (every - 1) * pixels / count < height, "no more are left out than must be"


def test_the_map_marks_what_lies_beyond_its_scale(shared: Any) -> None:
    rows = [[1.0, None, None], [0.4, 0.6, None], [0.7, 0.1, 0.2]]
    axis = [{"position": at, "text": f"{at} t"} for at in range(3)]
    made = shared.evaluate(
        "(map) => display.attentionMap.figure(map, { box: display.$('box'), width: 400 })",
        {"rows": rows, "queries": axis, "keys": axis, "blocks": []},
    )
    cells = made["data"][0]
    assert (cells["zmin"], cells["zmax"]) == (0, 0.6)
    assert cells["text"] == [["+", "", ""], ["", "", ""], ["+", "", ""]]
    assert cells["colorbar"]["ticktext"] == ["0.00", "0.15", "0.30", "0.45", "≥0.60"]
    for highest, end in ((0.9, 0.9), (0.97, 1)):
        axes = [axis, [[1.0, None, None], [0.1, highest, None], [0.0, 0.5, 0.5]]]
        assert shared.evaluate("([keys, rows]) => display.attentionMap.end(rows, keys)", axes) == end
