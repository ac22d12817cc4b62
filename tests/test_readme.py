"""The README is true: its table is what the command finds, its code runs, its commands exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from tests.headscope.commands import done

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def script() -> Any:
    """docs/readme.py as a module."""
    found = importlib.util.spec_from_file_location("readme_script", ROOT / "docs" / "readme.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def cells(text: str) -> list[list[str]]:
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_make_target_and_command_it_names_exists() -> None:
    from headscope.cli import app

    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE)) <= targets
    registered = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(re.findall(r"`headscope ([a-z]+)", README)) <= registered


def test_every_file_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_number_of_its_table_has_the_decimals_that_show_its_null() -> None:
    table = README.split(script().BEGIN)[1].split(script().END)[0]
    numbers = [number for row in cells(table)[1:] for cell in row[2:] for number in re.findall(r"-?\d+\.(\d+)", cell)]
    assert len(numbers) == 12 * 5 * 4 and {len(decimals) for decimals in numbers} == {script().DECIMALS} == {3}


@pytest.mark.longest
@pytest.mark.slow
def test_its_table_is_what_the_command_finds(smollm2: Any, tmp_path: Path) -> None:
    import headscope
    from headscope.stages.induction import measure_induction

    measure_induction(smollm2, tmp_path / "run")
    found = cells(script().table(headscope.open_run(tmp_path / "run")))
    written = cells(README.split(script().BEGIN)[1].split(script().END)[0])
    assert [row[0] for row in written] == [row[0] for row in found]
    assert [row[-1] for row in written] == [row[-1] for row in found]
    for old, new in zip(written[1:], found[1:], strict=True):
        for a, b in zip(old[1:-1], new[1:-1], strict=True):
            numbers = [[float(number) for number in re.findall(r"-?\d+\.\d+", cell)] for cell in (a, b)]
            assert numbers[0] == pytest.approx(numbers[1], abs=0.0101), (old[0], a, b)


@pytest.mark.slow
def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  (our own README)
    assert "layer=18, head=6" in capsys.readouterr().out
    assert (tmp_path / "prefix_matching.html").stat().st_size > 1_000_000
    assert not names["logits"].equal(names["logits_without"])


def test_what_takes_how_long_is_what_plans_count_with() -> None:
    from headscope.plan import cost

    assert f"costs as much as {cost.GRADIENT} forward passes" in README
    assert f"runs {cost.SEQUENCE_TOKENS['quick']:,} tokens three times" in README and cost.INDUCTION_PASSES == 3


@pytest.mark.slow
def test_its_prices_are_what_plan_prints() -> None:
    command = re.search(r"<!-- printed by headscope (.*) -->\n```text\n", README)
    assert command is not None
    printed = [line.rstrip() for line in done(*command[1].split()).out.splitlines()]
    block = README[command.end() :].partition("\n```")[0].splitlines()
    assert len(block) > 10 and "\n".join(block) in "\n".join(printed)
