"""Counts of changed lines: from mutmut's own files to the table of docs/reliability.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docs.scripts import script


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Six changes of two files: noticed, without end, two not noticed, two not run."""
    files = {
        "interp/scores.py": {"interp.scores.x__a__mutmut_1": 1, "interp.scores.x__a__mutmut_2": 0},
        "ablation/statistics/looks.py": {
            f"ablation.statistics.looks.x_b__mutmut_{n}": c for n, c in enumerate((36, 33))
        },
        "headscope/store/run.py": {
            "headscope.store.run.x_c__mutmut_1": None,
            "headscope.store.run.x_c__mutmut_2": None,
        },
    }
    for name, codes in files.items():
        path = tmp_path / f"{name}.meta"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"exit_code_by_key": codes, "durations_by_key": {}}))
    return tmp_path


def test_a_row_a_room_and_one_of_all(home: Path) -> None:
    mutants = script("mutants.py")
    found = mutants.results(home)
    rows = {cells[0]: cells[1:] for cells in (line.strip("| ").split(" | ") for line in mutants.table(found))}
    assert list(rows) == ["code", "---", *mutants.ROOMS, "all"]
    assert rows["scores"] == ["2", "2", "1", "0", "1", "50%"]
    assert rows["statistics"] == ["2", "2", "0", "1", "1", "50%"]
    assert rows["store"] == ["2", "0", "0", "0", "0", "-"] and rows["gates"][0] == "0"
    assert rows["all"] == ["6", "4", "1", "1", "2", "50% (7% to 93%)"]
    assert mutants.survivors(found) == ["ablation.statistics.looks.x_b__mutmut_1", "interp.scores.x__a__mutmut_2"]


def test_a_sample_is_drawn_by_names_alone(home: Path) -> None:
    mutants = script("mutants.py")
    found = mutants.results(home)
    whole = mutants.sample(found, 6, 0)
    assert sorted(whole) == sorted(name for codes in found.values() for name in codes)
    assert mutants.sample(found, 3, 0) == whole[:3] and mutants.sample(found, 6, 1) != whole


def test_every_file_that_is_changed_is_of_a_room() -> None:
    """What [tool.mutmut] names and what the table counts are the same files."""
    import tomllib

    mutants = script("mutants.py")
    named = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]["only_mutate"]
    assert {name.removesuffix("*") for name in named} == {
        place for places in mutants.ROOMS.values() for place in places
    }
