"""Every refusal that docs/refusals.md lists is provoked, and every one that is provoked here is listed there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from interp.errors import HeadscopeError, UsageError
from tests.headscope.cli.test_mistakes import MISTAKES
from tests.headscope.commands import ROOT, Outcome
from tests.refusals import files, models, numbers, run_directories
from tests.refusals.case import Case, Desk, cases_of

CASES = [case for module in (models, files, numbers, run_directories) for case in cases_of(module)]
PAGE = ROOT / "docs" / "refusals.md"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_refused_with_its_sentence(
    case: Case, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSCOPE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "desk").mkdir()
    try:
        found = case.provoke(Desk(tmp_path / "desk", shelf), *case.given)
    except (HeadscopeError, ImportError) as error:
        assert type(error) is case.kind, repr(error)
        sentence = str(error)
    else:
        assert isinstance(found, Outcome), f"nothing was refused: {found!r}"
        assert found.status == (2 if case.kind is UsageError else 1) and not found.out, found
        assert "Traceback" not in found.error
        sentence = found.error.strip().splitlines()[-1]
        assert sentence.startswith("headscope: "), found.error
    assert pattern(case.words).search(sentence), sentence


# ---- the page -------------------------------------------------------------------------------------------------------


def pattern(words: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in words.split(" ... ")), re.DOTALL)


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
