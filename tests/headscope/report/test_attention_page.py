"""Attention views: the numbers are the model's, tokens stay text, nothing is asked of a network."""

from __future__ import annotations

import base64
import hashlib
import re
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from headscope.figures.attention_map import attention_map, attention_maps
from headscope.report import attention_page
from interp import view
from interp.errors import HeadscopeError, UsageError
from tests.headscope.accessible import violations
from tests.headscope.tiny_model import HEADS, tiny_model

HOSTILE = "</script><script>alert(1)</script> \"quoted\" 'text' \u202eright to left\u200f 🙂 <b>bold</b> &amp;\n"
LONG = "abcd efgh " * 40


def eager_pattern(text: str, layer: int) -> np.ndarray:
    """Hugging Face's own attention, [head query key]."""
    import copy

    model = tiny_model()
    hf = copy.deepcopy(model.hf)
    hf.set_attn_implementation("eager")
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        return hf(ids, output_attentions=True).attentions[layer][0].numpy()


def causal_pattern(heads: int, length: int, seed: int = 0) -> np.ndarray:
    rows = np.tril(np.random.default_rng(seed).random((heads, length, length)) + 0.01)
    return (rows / rows.sum(-1, keepdims=True)).astype(np.float32)


# ---- the safe call --------------------------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError(f"asked the network for {arguments}")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.mark.parametrize("head", [None, 2])
def test_a_notebook_shows_a_view_without_a_network(no_network: None, head: int | None) -> None:
    shown = tiny_model().attention_view(HOSTILE, 1, head)._repr_html_()
    call = shown.rpartition("CircuitsVis.render(")[2].removesuffix("</script>")
    assert "<" not in call
    assert "unpkg.com" not in call and "import " not in shown[:2000]
    assert shown.lower().count("</script") == 1  # its own end
    assert len(re.findall(r'<div id="circuits-vis-[0-9a-f-]+"></div>', shown)) == 1


def test_a_view_holds_the_models_attention_rounded() -> None:
    text = "abcd efgh abcd efgh"
    made = tiny_model().attention_view(text, 2, 3)
    assert made.names == ("2.3",)
    np.testing.assert_allclose(made.patterns[0], eager_pattern(text, 2)[3], atol=1e-5)
    numbers = re.findall(r"\d\.\d+", made.drawing.call.partition('"attention"')[2].partition("]]")[0])
    assert numbers and max(len(number) for number in numbers) <= len("0.123")


def test_a_layer_has_every_head_and_a_window_begins_where_it_is_asked_to() -> None:
    whole = eager_pattern(LONG, 0)
    made = tiny_model().attention_view(LONG, 0, start=40)
    assert made.patterns.shape == (HEADS, view.WINDOW, view.WINDOW)
    np.testing.assert_allclose(made.patterns, whole[:, 40:104, 40:104], atol=1e-5)
    assert "tokens 40 to 103 of" in made._repr_html_()
    assert tiny_model().attention_view("abcd", 0).caption == ""


@pytest.mark.parametrize(
    ("text", "layer", "head", "start", "says"),
    [
        ("abcd", 9, None, 0, "layer 9 has no attention heads"),
        ("abcd", -1, None, 0, "layer -1"),
        ("abcd", 0, HEADS, 0, rf"head 0\.{HEADS} does not exist"),
        ("abcd", 0, -1, 0, "does not exist"),
        ("abcd", 0, 0, 77, "start must lie between"),
        ("ab " * 600, 0, 0, 0, "context is 512"),
    ],
)
def test_what_is_not_there_is_refused(text: str, layer: int, head: int | None, start: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        tiny_model().attention_view(text, layer, head, start=start)


def test_a_drawing_of_more_than_64_tokens_or_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 64"):
        view.draw(("a",) * 65, causal_pattern(1, 65), ("0.0",))
    with pytest.raises(UsageError, match="do not fit"):
        view.draw(("a", "b"), causal_pattern(2, 2), ("0.0",))


def test_another_circuitsvis_is_noticed() -> None:
    with pytest.raises(UsageError, match=r"circuitsvis 1\.43"):
        view._taken_apart("<div></div>")


# ---- page and picture -----------------------------------------------------------------------------------------------


@given(st.integers(1, 1024))
def test_windows_cover_the_text(length: int) -> None:
    starts = attention_page.window_starts(length)
    covered = {place for start in starts for place in range(start, start + view.WINDOW)}
    assert set(range(length)) <= covered
    assert len(set(starts)) == len(starts) and max(starts) + view.WINDOW <= max(length, view.WINDOW)


def test_the_page_runs_one_script_whose_hash_it_names(tmp_path: Path) -> None:
    (path,) = attention_page.write_attention(tiny_model(), HOSTILE + LONG, 1, out=tmp_path / "layer.html")
    page = path.read_text(encoding="utf-8")
    (script,) = re.findall(r'(?s)<script type="module">(.*)</script>\s*</body>', page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert f"script-src &#39;sha256-{digest}&#39;;" in policy[1] and "default-src &#39;none&#39;" in policy[1]
    assert "unsafe-inline" not in policy[1].partition("style-src")[0]
    assert page.count("CircuitsVis.render(") == len(
        attention_page.window_starts(len(tiny_model().tokenizer(HOSTILE + LONG)["input_ids"]))
    )
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page and "<script>alert(1)" not in page
    assert "U+202Eright to leftU+200F" in page and not re.search("[\u202e\u200f]", page), "no mark turns the text"


@pytest.mark.parametrize(
    ("out", "says"), [("a.gif", r"must end in \.html"), ("nowhere/a.html", "does not exist"), ("plain", "must end in")]
)
def test_outputs_that_can_not_be_written_are_refused_first(tmp_path: Path, out: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        attention_page.write_attention(tiny_model(), "abcd", 0, out=tmp_path / out)
    assert list(tmp_path.iterdir()) == []


def test_a_text_beyond_the_page_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_page, "LIMIT", 20)
    with pytest.raises(UsageError, match="holds at most 20"):
        attention_page.write_attention(tiny_model(), LONG, 0, out=tmp_path / "a.html")


def test_a_png_is_written_beside_the_page() -> None:
    assert attention_page.outputs(Path("a.html"), png=True) == [Path("a.html"), Path("a.png")]
    assert attention_page.outputs(Path("a.PNG"), png=True) == [Path("a.png")]


def test_the_heat_map_is_causal_and_marks_what_lies_beyond_its_scale() -> None:
    pattern = causal_pattern(1, 9)[0]
    pattern[5, 0] = 0.99
    figure = attention_map(pattern, ["<s>", *"abcdabcd"])
    trace = figure.data[0]
    values = np.array(trace.z, dtype=float)
    assert np.isnan(values[np.triu_indices(9, 1)]).all()
    np.testing.assert_allclose(values[np.tril_indices(9)], pattern[np.tril_indices(9)], atol=5e-5)
    end = float(pattern[:, 1:].max())
    assert trace.zmin == 0 and trace.zmax == pytest.approx(end)
    assert (trace.y[1], trace.x[0]) == ("1 a", "0 &lt;s&gt;")
    marked = np.array(trace.text) == "+"
    np.testing.assert_array_equal(marked, pattern > end)
    assert marked[5, 0] and trace.colorbar.tickvals[-1] == trace.zmax
    assert trace.colorbar.ticktext[-1] == f"≥ {end:.2f}"


def test_a_scale_that_holds_every_cell_has_no_marked_end() -> None:
    pattern = np.tril(np.full((4, 4), 0.2))
    pattern[3, 2] = 0.4
    trace = attention_map(pattern, list("abcd")).data[0]
    assert trace.zmax == 0.4 and trace.colorbar.ticktext[-1] == "0.40" and not np.array(trace.text, dtype=bool).any()
    pattern[2, 1], pattern[3, 0] = 0.97, 1.0  # nearly all: the colours run to 1
    trace = attention_map(pattern, list("abcd")).data[0]
    assert trace.zmax == 1 and trace.colorbar.ticktext[-1] == "1.00" and not np.array(trace.text, dtype=bool).any()


def test_a_layers_picture_has_a_map_a_head_on_one_scale() -> None:
    patterns = causal_pattern(7, 6)
    figure = attention_maps(patterns, [f"2.{head}" for head in range(7)])
    assert len(figure.data) == 7
    end = float(patterns[:, :, 1:].max())
    assert figure.layout.coloraxis.cmax == pytest.approx(end)
    for trace, pattern in zip(figure.data, patterns, strict=True):
        np.testing.assert_array_equal(np.array(trace.text) == "+", pattern > end)


def test_a_browser_that_can_not_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kaleido

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("no browser here\nlong trace")

    monkeypatch.setattr(kaleido, "write_fig_from_object_sync", fail)
    with pytest.raises(HeadscopeError, match=r"no browser here\)\. Pictures need Chrome"):
        attention_page.write_attention(tiny_model(), "abcd", 0, head=0, out=tmp_path / "a.png")


def test_the_command_writes_what_it_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headscope.cli import app, options

    monkeypatch.setattr(options, "load", lambda model, **rest: tiny_model())
    out = tmp_path / "head.html"
    done = CliRunner().invoke(app, ["attention", "--text", "abcd efgh", "--layer", "1", "--head", "2", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output.strip() == str(out) and "head 1.2" in out.read_text(encoding="utf-8")
    wrong = CliRunner().invoke(app, ["attention", "--text", "abcd", "--layer", "1", "-o", str(tmp_path / "a.txt")])
    assert isinstance(wrong.exception, UsageError)


# ---- in a browser ---------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_the_page_shows_text_as_text_and_asks_for_nothing(tmp_path: Path, page: Any) -> None:
    from playwright.sync_api import expect

    asked, problems = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
    page.on("pageerror", lambda error: problems.append(str(error)))
    (path,) = attention_page.write_attention(tiny_model(), HOSTILE + LONG, 1, out=tmp_path / "layer.html")
    page.goto(path.as_uri())
    first, second = page.locator(".drawing").nth(0), page.locator(".drawing").nth(1)
    expect(first.get_by_text("Head Selector").first).to_be_visible(timeout=60_000)
    expect(second).to_be_hidden()
    page.select_option("select", "1")
    expect(second.get_by_text("Head Selector").first).to_be_visible(timeout=60_000)
    expect(first).to_be_hidden()
    expect(page.locator("blockquote")).to_contain_text("</script><script>alert(1)</script>")
    assert problems == [] and asked == [path.as_uri()]
    drawn = ".drawing > div"  # by CircuitsVis, whose colours and headings are its own
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page, but=drawn) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 and violations(page, but=drawn) == []
    page.emulate_media(media="print")
    assert not page.locator("select").is_visible()
    assert page.locator(".drawing").nth(1).evaluate("box => getComputedStyle(box).filter") == "none"


@pytest.mark.browser
@pytest.mark.slow
def test_a_picture_is_drawn(tmp_path: Path) -> None:
    paths = attention_page.write_attention(tiny_model(), HOSTILE, 1, head=0, out=tmp_path / "a.html", png=True)
    assert paths[1].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
