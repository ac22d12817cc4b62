"""What axe finds on a page (axe-core, MPL-2.0, from the package axe-playwright-python, which tests alone use)."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# What waits for its next value is pale on purpose, and for a moment after it too.
AT_REST = """() => !document.querySelector(".stale")
    && !document.getAnimations().some((one) => one instanceof CSSTransition)"""


def violations(page: Any, *, but: str = "") -> list[str]:
    """One line for each rule that an element breaks; skips the test where axe is not installed.

    but: what another program drew, which is left out.
    """
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    page.wait_for_function(AT_REST)
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    options = {"runOnly": {"type": "tag", "values": RULES}}
    script = "([where, options]) => axe.run(where, options).then(({ violations }) => violations)"
    found = page.evaluate(script, [{"exclude": [[but]]} if but else {"include": [["html"]]}, options])
    return [f"{rule['id']}: {node['html'][:160]}" for rule in found for node in rule["nodes"]]
