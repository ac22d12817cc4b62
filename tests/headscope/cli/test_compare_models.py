"""`headscope compare-models`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.headscope.accessible import violations
from tests.headscope.browsed import A4, READY, cut_on_paper, overlaps, printed
from tests.headscope.commands import command, done, refused
from tests.headscope.report.test_report import Reader
from tests.headscope.several import model_run
from tests.headscope.synthetic import HOSTILE

SIZES = (1000, 4000, 16_000, 64_000, 256_000)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    home = tmp_path_factory.mktemp("models")
    return [model_run(home / f"m{n}", parameters=size, layers=4, effect=1.0 + n) for n, size in enumerate(SIZES)]


def test_a_table_a_page_and_its_numbers(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "models.html"
    printed = done("compare-models", *runs, "-o", out).out
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.startswith((" m", "m"))}
    assert list(rows) == ["m0", "m1", "m2", "m3", "m4"] and rows["m2"][1] == "16,000"
    assert "+3.00 (1.50 to 4.25)" in printed and "+0.75 (0.55 to 0.85)" in printed and "+1.25" in printed
    assert "In 4 of 5 runs (m1, m2, m3, m4) the choice gain drops further" in printed
    assert "For each tenfold of parameters the standardised effect of the induction heads changes by +1.66 (" in printed
    numbers = pd.read_csv(out.with_suffix(".csv"))
    assert list(numbers["effect"]) == [1, 2, 3, 4, 5] and list(numbers["parameters"]) == list(SIZES)
    assert printed.rstrip().endswith(f"written: {out}, {out.with_suffix('.csv')}")


def test_json_has_the_same_numbers(runs: list[Path], tmp_path: Path) -> None:
    found = json.loads(done("compare-models", *runs[:4], "--json", "-o", tmp_path / "x.html").out)
    assert [row["effect"] for row in found["runs"]] == [1, 2, 3, 4] and found["runs"][0]["removable"] is None
    assert found["slopes"] == [] and found["against"] == "parameters"
    assert any("4 runs: no slope is given, since that takes at least 5" in line for line in found["findings"])
    steps = done("compare-models", *runs, "--steps", "5,5,0,5,0", "--json", "-o", tmp_path / "x.html").out
    found = json.loads(steps)
    assert [row["steps"] for row in found["runs"]] == [5, 5, 0, 5, 0] and not found["slopes"]
    assert any("differ in nothing else" in line for line in found["findings"])


def test_a_name_is_no_formula_in_the_numbers(tmp_path: Path) -> None:
    made = [model_run(tmp_path / f"{sign}1+{n}", parameters=n + 1) for n, sign in enumerate("=@+-")]
    done("compare-models", *made, "-o", tmp_path / "models.html")
    numbers = pd.read_csv(tmp_path / "models.csv", dtype=str)
    assert sorted(numbers["run"]) == sorted(f"'{path.name}" for path in made)
    assert not any(str(cell).startswith(tuple("=@+")) for cell in numbers.to_numpy().flat)


def test_the_page_lets_nothing_in(tmp_path: Path) -> None:
    made = [model_run(tmp_path / f"{n} <b>bold<b> &amp;", source=HOSTILE[0], parameters=n + 1) for n in range(2)]
    done("compare-models", *made, "-o", tmp_path / "models.html")
    text = (tmp_path / "models.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert "0 <b>bold<b> &amp;" in reader.text and "<b>bold" not in text and "alert(1)" not in text
    assert all(address.startswith(("#", "data:", "models.csv")) for address in reader.addresses)
    assert "default-src 'none'" in reader.policy


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_as_it_is_seen(runs: list[Path], tmp_path: Path, lettered_browser: Any, width: int) -> None:
    """Two figures with a point a run, inside the window, and nothing that fails."""
    done("compare-models", *runs, "-o", tmp_path / "models.html")
    page = lettered_browser.new_page(viewport={"width": width, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "models.html").as_uri())
    page.wait_for_selector(READY)
    assert page.locator(".plot .scatterlayer .point").count() == 10 and not said
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not overlaps(page, ".plot")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.close()


@pytest.mark.browser
def test_two_runs_stand_head_by_head(runs: list[Path], tmp_path: Path, browser: Any) -> None:
    """Four figures of the first score; the others are drawn when they are unfolded. More runs have no such part."""
    printed = done("compare-models", *runs[:2], "-o", tmp_path / "pair.html").out
    assert "Prefix matching, head by head: Spearman's rho over heads +1.00" in printed
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto((tmp_path / "pair.html").as_uri())
    page.wait_for_selector(READY)
    assert page.locator("#pair details[open] .main-svg").count() and page.locator("#pair .js-plotly-plot").count() == 4
    page.locator("#pair summary").nth(1).click()
    page.locator("#pair details").nth(1).locator(".heatmaplayer image").first.wait_for()
    assert page.locator("#pair .js-plotly-plot").count() == 8
    assert not overlaps(page, "#pair .plot") and violations(page) == []
    page.close()
    done("compare-models", *runs[:3], "-o", tmp_path / "three.html")
    assert 'id="pair"' not in (tmp_path / "three.html").read_text(encoding="utf-8")
    for scheme, width in (("light", 1440), ("dark", 390)):
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        page.goto((tmp_path / "three.html").as_uri())
        page.wait_for_selector(READY)
        assert violations(page) == []
        page.close()


@pytest.mark.browser
def test_the_page_is_printed_light_and_whole(runs: list[Path], tmp_path: Path, browser: Any) -> None:
    done("compare-models", *runs[:2], "-o", tmp_path / "pair.html")
    page = browser.new_page(color_scheme="dark", viewport={"width": 1440, "height": 900})
    page.goto((tmp_path / "pair.html").as_uri())
    page.wait_for_selector(READY)
    plots = printed(page)
    assert len(plots) == 6 and {tuple(plot[:2]) for plot in plots} == {("#ffffff", "#1c1b19")}
    assert all(width <= A4 / 2 for _, _, width in plots)
    assert page.locator(".plot").first.evaluate("plot => plot.layout.font.color") == "#ebe8e1"
    assert cut_on_paper(page) == []
    page.close()


def test_what_is_no_set_of_runs_is_refused(runs: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "models.html"
    refused(command("compare-models", runs[0], tmp_path, "-o", page), "is no run directory")
    refused(command("compare-models", runs[0], "-o", page), "two run directories or more")
    refused(command("compare-models", *runs[:2], "-o", tmp_path / "models.txt"), "must end in .html")
    refused(command("compare-models", *runs[:2], "-o", tmp_path / "none" / "models.html"), "does not exist")
    refused(command("compare-models", *runs[:2], "--steps", "1,x", "-o", page), "--steps")
    refused(command("compare-models", *runs[:2], "--steps", "1", "-o", page), "there are 2 runs")
    other = model_run(tmp_path / "other", limit=8)
    refused(command("compare-models", runs[0], other, "-o", page), "limit of the primary question is 40 and 8")
    assert not page.exists()
