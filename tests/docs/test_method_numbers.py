"""Sections of the method page: numbered without gaps, and every "Method n.m" that the repository cites is one of them.

The page is what docstrings cite; no other document about the method exists, so none is named.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from tests.docs.scripts import ROOT, page, script
from tests.docs.test_pages import assert_alike

KINDS = {".py", ".md", ".yaml", ".yml", ".html", ".jinja", ".js", ".css", ".toml", ".json", ".ipynb", ".cff", ""}
# "Method 2.1", "Method 2.1 and 2.2", "Method 3.4-3.7", over the end of a line of a comment too; after a comma a section
# needs its dot, since "Method 3.2, 48 heads" cites one.
NUMBER = r"\d+(?:\.\d+)?"
CITED = re.compile(rf"\bMethod[\s#*]+({NUMBER}(?:\s*(?:-|and|or|to)\s*{NUMBER}|,\s*\d+\.\d+)*)")
HEADING = re.compile(rf"^#{{2,4}} ({NUMBER}) \S", re.MULTILINE)
# The names of documents that are not in the repository, written so that this file does not hold them.
STRANGERS = re.compile(r"\b(METH" + r"ODS|DES" + r"IGN)\b")


@cache
def texts() -> dict[str, str]:
    """Every tracked text file."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files are the repository's is unknown")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in names if (ROOT / name).suffix in KINDS}


def sections() -> list[str]:
    """The numbers of the page's sections, in their order."""
    without_code = re.sub(r"^```.*?^```", "", page("method.md"), flags=re.MULTILINE | re.DOTALL)
    return HEADING.findall(without_code)


def cited(text: str) -> set[str]:
    """The sections that a text cites; both ends of a range."""
    return {number for citation in CITED.findall(text) for number in re.findall(NUMBER, citation)}


def test_what_counts_as_a_citation() -> None:
    assert cited("(Elhage et al. 2021; Method 2.3)") == {"2.3"}
    assert cited("Method 2.1 and 2.2, Method 3-5; Method 3.4, 3.5: 48 heads") == {"2.1", "2.2", "3", "5", "3.4", "3.5"}
    assert cited("# as in Method\n# 3.2, 48 heads") == {"3.2"}
    assert cited("Methods 7, method 8, a Method of 9") == set()


def test_the_sections_are_numbered_without_gaps() -> None:
    numbers = [tuple(int(part) for part in number.split(".")) for number in sections()]
    assert numbers[0] == (0,) and numbers[-1] == (7,) and (2, 11) in numbers and (3, 7) in numbers
    for one, following in pairwise(numbers):
        assert following in {(*one, 1), (*one[:-1], one[-1] + 1), (one[0] + 1,)}, (one, following)


def test_every_section_that_is_cited_exists() -> None:
    known = set(sections())
    missing = {name: sorted(unknown) for name, text in texts().items() if (unknown := cited(text) - known)}
    assert not missing


@pytest.mark.parametrize("package", ["ablation", "headscope", "induction", "interp"])
def test_every_package_cites_the_page(package: str) -> None:
    assert any(cited(text) for name, text in texts().items() if name.startswith(f"{package}/"))


def test_no_file_names_a_document_that_is_not_there() -> None:
    named = {name: sorted(found) for name, text in texts().items() if (found := set(STRANGERS.findall(text)))}
    assert not named


def test_what_version_0_1_did_where_no_model_is_needed() -> None:
    """The last rows of the page's second table."""
    measured = script("deviations.py").table(script("deviations.py").cheap_rows_of_version_0_1()).splitlines()[2:]
    assert_alike("\n".join(table_of_version_0_1()[-len(measured) :]), "\n".join(measured))


@pytest.mark.slow
def test_what_version_0_1_did_on_the_embedded_model(smollm2: Any) -> None:
    deviations = script("deviations.py")
    rows = [*deviations.centring(smollm2), *deviations.outcome(smollm2)]
    measured = deviations.table(rows, deviations.VERSION_0_1).splitlines()
    assert_alike("\n".join(table_of_version_0_1()[: len(measured)]), "\n".join(measured))


def table_of_version_0_1() -> list[str]:
    marks = script("deviations.py")
    return page("method.md").split(marks.VERSION_0_1)[1].split(marks.END)[0].strip().splitlines()
