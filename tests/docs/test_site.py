"""The site builds strictly, asks the network for nothing, and its page on Python has every public name."""

from __future__ import annotations

import html
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.docs.scripts import ROOT

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")
pytest.importorskip("material", reason="mkdocs-material is not installed: pip install '.[docs]'")
pytest.importorskip("latex2mathml", reason="latex2mathml is not installed: pip install '.[docs]'")

pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: pip install '.[docs]'")

PACKAGES = ("interp", "induction", "ablation", "headscope")
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}
# The theme's script can fetch these, each only for something that no page has.
ON_DEMAND = {"mermaid": 'class="mermaid"', "api.github.com": 'data-md-component="source"'}


class Loads(HTMLParser):
    """Addresses that a page makes the browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if tag in LOADED and named.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(named.get(LOADED[tag]) or "")
        self.found += re.findall(r"url\(\s*['\"]?([^'\")]+)", named.get("style") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, str]:
    return {str(path.relative_to(site)): path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}


def test_no_page_loads_anything_from_elsewhere(pages: dict[str, str]) -> None:
    assert len(pages) > 10
    for name, text in pages.items():
        reader = Loads()
        reader.feed(text)
        assert len(reader.found) > 3, name
        foreign = [address for address in reader.found if re.match(r"(\w+:)?//", address)]
        assert not foreign, (name, foreign)


def test_no_style_sheet_loads_anything_from_elsewhere(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = sheet.read_text(encoding="utf-8")
        assert not re.findall(r"@import[^;]*//|url\(\s*['\"]?(?:https?:)?//", text), sheet.name


def test_what_the_theme_could_fetch_is_not_asked_for(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        for what, mark in ON_DEMAND.items():
            assert mark not in text, (name, what)


def test_every_equation_is_drawn(pages: dict[str, str]) -> None:
    assert pages["method.html"].count("<math") > 60
    for name, text in pages.items():
        assert "arithmatex" not in text and "merror" not in text, name


def test_scripts_and_hooks_are_not_published(site: Path) -> None:
    assert not list(site.rglob("*.py"))


@pytest.fixture(scope="module")
def entries(pages: dict[str, str]) -> dict[str, str]:
    """What stands below the heading of every name on the page on Python, as text."""
    parts = re.split(r'<h[34] id="([^"]+)"[^>]*>', pages["api.html"])
    texts = (" ".join(html.unescape(re.sub(r"<[^>]+>", "", part)).split()) for part in parts[2::2])
    return dict(zip(parts[1::2], texts, strict=True))


def test_the_page_on_python_has_every_public_name_with_its_words(entries: dict[str, str]) -> None:
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            found = getattr(module, name)
            place = f"{package}.{name}"
            text = entries[place if place in entries else f"{place}.{name}"]  # a function in a file of its own name
            if inspect.isfunction(found):
                missing = [parameter for parameter in inspect.signature(found).parameters if parameter not in text]
                assert not missing, name
            if inspect.isfunction(found) or inspect.isclass(found):
                first = " ".join(re.split(r"[.(]", str(found.__doc__))[0].replace("`", "").split())
                assert first in text, name


def test_defaults_and_shapes_stay_as_they_are_written(entries: dict[str, str]) -> None:
    assert 'protocol: Protocol = "quick"' in entries["induction.repeated_sequences"]
    assert 'variant: Variant = ""' in entries["induction.retrieval_score"]
    assert "-> Bool[Tensor, 'layer head']" in entries["induction.retrieval_heads"]


def test_a_class_has_its_methods_and_properties(entries: dict[str, str]) -> None:
    for name in ("run_with_cache", "gates", "generate", "weight_hash", "attention_view"):
        assert f"interp.HookedModel.{name}" in entries, name
    assert "tokens: Given, names" in entries["interp.HookedModel.run_with_cache"]
    assert not [name for name in entries if "._" in name and not name.endswith(("__call__", "__getitem__"))]


def test_the_gallery_has_every_picture() -> None:
    text = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    taken = {path.name for path in (ROOT / "docs" / "images" / "screenshots").iterdir()}
    assert set(re.findall(r"images/screenshots/([\w.-]+)#only-", text)) == taken
    for name, scheme in re.findall(r"images/screenshots/[\w.-]+-(light|dark)\.png#only-(light|dark)", text):
        assert name == scheme


@pytest.fixture
def requests(context: Any) -> Iterator[list[str]]:
    """Everything that a browser asks for but files."""
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    yield asked


@pytest.mark.browser
def test_a_browser_asks_for_files_only(site: Path, pages: dict[str, str], page: Any, requests: list[str]) -> None:
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 844})
        for name in pages:
            page.goto((site / name).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), (name, width)
    assert len(requests) > len(pages)
    assert all(url.startswith(("file:", "data:")) for url in requests)
