"""Every refusal that docs/refusals.md lists is provoked, and every one that is provoked here is listed there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.headscope.cli.test_mistakes import MISTAKES
from tests.headscope.commands import ROOT
from tests.refusals import files, models, numbers, run_directories
from tests.refusals.case import Case, cases_of

CASES = [case for module in (models, files, numbers, run_directories) for case in cases_of(module)]
PAGE = ROOT / "docs" / "refusals.md"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_refused_with_its_sentence(case: Case, tmp_path: Path, shelf: Path) -> None:
    case.check(tmp_path, shelf)


# ---- the page -------------------------------------------------------------------------------------------------------


def listed() -> Iterator[tuple[str, str]]:
    """What is refused and the words of its message, a pair for each message; " ... " where words are left out."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("| ") or len(cells) != 3 or cells[0] == "refused":
            continue
        told = re.findall(r"\*[^*]+\*", cells[1].replace("* … *", " ... "))
        assert told, f"no words of a message in the row: {cells[0]}"
        yield from ((cells[0], words.strip("*")) for words in told)


def test_every_row_is_provoked() -> None:
    provoked = {case.words for case in CASES}
    assert {name: words for name, words in listed() if words not in provoked} == {}


def test_every_case_stands_in_a_row() -> None:
    rows = {words for _, words in listed()}
    assert {case.name: case.words for case in CASES if case.words not in rows} == {}


def test_there_are_more_than_a_hundred_and_none_twice() -> None:
    assert len({(case.provoke, str(case.given)) for case in CASES}) == len(CASES) >= 100
    assert len(CASES) + len(MISTAKES) >= 200
