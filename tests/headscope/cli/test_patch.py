"""`headscope patch`: the library's effects in a table and a file, and every refusal as a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ablation
import interp
from headscope.cli.patch import parse_at
from interp.errors import UsageError
from tests.headscope import tiny
from tests.headscope.accessible import violations
from tests.headscope.browsed import READY, cut_on_paper, overlaps
from tests.headscope.commands import Outcome, command, done, refused

CLEAN, CORRUPT = "ab cd ef ab cd", "ab cd gh ab cd"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> interp.HookedModel:
    return interp.load_model(str(folder), check=False)


def asked(folder: Path, **options: object) -> Outcome:
    given = {"clean": CLEAN, "corrupt": CORRUPT, "answer": " ef", "other": " gh", **options}
    flags = [part for name, value in given.items() if value is not None for part in (f"--{name}", value)]
    return command("patch", folder, *flags, "--check", "off")


@pytest.mark.parametrize("method", ["exact", "attribution", "ig"])
def test_the_table_is_the_librarys(folder: Path, model: interp.HookedModel, method: str) -> None:
    found = asked(folder, method=method, top=5)
    assert found.status == 0, found.error
    wanted = ablation.patch(model, CLEAN, CORRUPT, answer=" ef", other=" gh", method=method)
    order = wanted.mean.abs().flatten().argsort(descending=True)[:5].tolist()
    for place in order:
        layer, head = divmod(place, wanted.mean.shape[1])
        assert any(
            line.split() == [f"{layer}.{head}", f"{float(wanted.mean[layer, head]):+.4f}"]
            for line in found.out.splitlines()
        )
    assert f"of the clean prompt {wanted.clean:+.3f}" in found.out
    assert ("beside exact patching of 12 heads" in found.out) is (method != "exact")


def test_numbers_for_scripts_and_a_page_that_works_offline(
    folder: Path, model: interp.HookedModel, tmp_path: Path
) -> None:
    page = tmp_path / "effects.html"
    flags = ("--clean", CLEAN, "--corrupt", CORRUPT, "--answer", " ef", "--other", " gh", "--method", "attribution")
    found = json.loads(done("patch", folder, *flags, "--at", "all", "--json", "-o", page, "--check", "off").out)
    assert found["agreement"]["heads"] == 12 and -1 <= found["agreement"]["spearman"] <= 1
    assert found["positions"] == list(range(len(found["positions"]))) and len(found["effects"]) == 12
    text = page.read_text()
    assert 'src="http' not in text and "default-src &#39;none&#39;" in text and "ab cd gh ab cd" in text
    parts = found["by_position"]
    whole = ablation.patch(model, CLEAN, CORRUPT, answer=" ef", other=" gh", method="attribution", at="all")
    assert parts["positions"] == found["positions"] and len(parts["tokens"]) == len(parts["positions"])
    np.testing.assert_allclose(np.sum(parts["layers"], 1), whole.mean.sum(-1), atol=1e-5)


def test_direct_attribution_has_every_position_and_exact_patching_where_asked(
    folder: Path, model: interp.HookedModel
) -> None:
    flags = ("patch", folder, "--clean", CLEAN, "--answer", "a", "--json", "--check", "off")
    parts = json.loads(done(*flags, "--method", "direct").out)["by_position"]
    made = ablation.direct_attribution(model, CLEAN, "a").heads
    assert parts["positions"] == list(range(len(made))) and "".join(parts["tokens"]).endswith(CLEAN)
    np.testing.assert_allclose(parts["layers"], made.sum(-1).T, atol=1e-5)
    assert json.loads(done(*flags, "--corrupt", CORRUPT).out)["by_position"] is None
    exact = json.loads(done(*flags, "--corrupt", CORRUPT, "--at", "-3,-1", "--by-position").out)["by_position"]
    for place, row in zip((-3, -1), np.transpose(exact["layers"]), strict=True):
        alone = ablation.patch(model, CLEAN, CORRUPT, answer="a", at=place)
        np.testing.assert_allclose(row, alone.mean.sum(-1), atol=1e-5)


# ---- the page, and the picture --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "effects.html"
    flags = ("--clean", CLEAN, "--corrupt", CORRUPT, "--answer", " ef", "--other", " gh", "--method", "attribution")
    done("patch", folder, *flags, "--at", "all", "-o", out, "--check", "off")
    return out


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_the_page_as_it_is_seen(page_file: Path, browser: Any, scheme: str, width: int) -> None:
    """Both maps are drawn inside the window, axe finds nothing, nothing is asked for or said."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.goto(page_file.as_uri())
    page.wait_for_selector(READY)
    assert page.locator(".plot .heatmaplayer image").count() == 2
    assert (
        page.locator("h1").inner_text()
        == "What patching one head adds (by attribution) to the logit difference, in nats"
    )
    assert page.locator("#effects tbody tr").count() == 12
    assert page.evaluate("document.documentElement.scrollWidth") <= width and not overlaps(page, ".plot")
    assert (page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 27)") == (scheme == "dark")
    assert [line for line in said if not line.startswith("data:")] == [page_file.as_uri()]
    assert violations(page) == [] and cut_on_paper(page) == []
    page.close()


@pytest.mark.browser
def test_the_mosaic_is_a_drawing_too(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "effects.svg"
    flags = ("--clean", CLEAN, "--answer", "a", "--method", "direct", "--check", "off")
    assert done("patch", folder, *flags, "-o", out).out.endswith(f"{out}\n")
    drawing = out.read_text(encoding="utf-8")
    assert drawing.startswith("<svg") and "what each head writes straight to the logit difference" in drawing
    texts = re.findall(r'<text class="x2?tick"[^>]*>|class="[xy]tick">', drawing)
    assert "head</text>" in drawing and "layer</text>" in drawing and len(texts) == tiny.LAYERS + tiny.HEADS


def test_ffns_and_what_is_written_straight_to_the_logits(folder: Path, model: interp.HookedModel) -> None:
    found = asked(folder, component="ffn")
    wanted = ablation.patch(model, CLEAN, CORRUPT, answer=" ef", other=" gh", component="ffn")
    assert found.status == 0 and f"{float(wanted.mean.abs().max()):.4f}" in found.out
    direct = command("patch", folder, "--clean", CLEAN, "--answer", "a", "--method", "direct", "--check", "off")
    largest = ablation.patch(model, CLEAN, None, answer="a", method="direct").mean.abs().max()
    assert direct.status == 0 and f"{float(largest):.4f}" in direct.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"corrupt": "  "}, ("--corrupt", "some text")),
        ({"corrupt": None}, ("compares two prompts", "method='direct'")),
        ({"other": " abcdefgh"}, ("splits the answers unlike each other", "equally many tokens")),
        ({"other": " ef"}, ("two of the answers are the same tokens",)),
        ({"corrupt": "ab cd gh gh ab cd", "at": "all"}, ("tokens and the corrupt one", "they part at token")),
        ({"corrupt": "ab cd gh gh ab cd", "method": "attribution"}, ("needs prompts of equal length",)),
        ({"at": "99"}, ("positions lie between 0 and",)),
        ({"at": "first"}, ("'first' is not a place in a prompt", "--at")),
        ({"method": "attribution", "component": "ffn"}, ("FFNs are patched exactly", "method='exact'")),
        ({"method": "direct", "answer": " ef gh"}, ("token",)),
        ({"clean": "ab cd "}, ("the clean prompt ends with a space",)),
        ({"out": "effects.txt"}, ("must end in .html", ".svg")),
    ],
)
def test_what_cant_be_asked_is_said(folder: Path, options: dict[str, object], words: tuple[str, ...]) -> None:
    refused(asked(folder, **options), *words)


def test_places() -> None:
    assert parse_at("last") == "last" and parse_at("3,-1") == (3, -1)
    with pytest.raises(UsageError):
        parse_at("1;2")
