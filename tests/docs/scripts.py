"""The scripts and hooks of docs/, which is no package, as modules."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@cache
def script(path: str) -> ModuleType:
    """docs/PATH, imported once."""
    name = "docs_" + path.removesuffix(".py").replace("/", "_")
    found = importlib.util.spec_from_file_location(name, DOCS / path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


def page(name: str) -> str:
    """The text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")
