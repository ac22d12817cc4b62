"""What the pages say about the code is what the code says."""

from __future__ import annotations

import re

import pytest

from tests.docs.scripts import ROOT, page

PACKAGES = ("interp", "induction", "ablation", "headscope")


def test_the_page_of_refusals_names_every_error() -> None:
    from interp import errors

    classes = {name for name, value in vars(errors).items() if isinstance(value, type)} - {"HeadscopeError"}
    assert classes == set(re.findall(r"^\| `(\w+Error)`", page("refusals.md"), re.MULTILINE))


def test_the_tables_of_the_run_directory_are_the_stores() -> None:
    from headscope.store.tables import TABLES

    rows = [[re.findall(r"`(\w+)`", cell) for cell in line.split("|")[1:4]] for line in table("rows that are replaced")]
    assert rows == [[[found.name], list(found.columns), list(found.key)] for found in TABLES]


def test_every_kind_of_comparison_is_listed() -> None:
    from headscope.store.comparisons import Kind

    assert {name for line in table("kind | a, b") for name in re.findall(r"`(\w+)`", line.split("|")[1])} == {*Kind}


def table(heading: str) -> list[str]:
    """The rows under a heading of the page of the run directory."""
    lines = page("run-directory.md").splitlines()
    start = next(n for n, line in enumerate(lines) if heading in line) + 2
    return lines[start : next(n for n in range(start, len(lines)) if not lines[n].startswith("|"))]


def test_the_families_listed_are_those_the_tests_run() -> None:
    from tests.interp.families import FAMILIES

    part = page("families.md").split("<!-- families -->")[1].split("<!-- end -->")[0]
    listed = [name for line in part.strip().splitlines()[2:] for name in re.findall(r"`([\w-]+)`", line.split("|")[2])]
    assert sorted(listed) == sorted(FAMILIES)


@pytest.mark.parametrize("name", ["index.md", "tutorial.md", "scaling.md", "tasks.md", "method.md", "run-directory.md"])
def test_options_that_pages_name_exist(name: str) -> None:
    import typer

    from headscope.cli import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {option for command in commands.values() for p in command.params for option in (*p.opts, *p.secondary_opts)}
    written = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page(name)))
    assert written <= known | {"--help"}


def test_commands_that_pages_name_exist() -> None:
    from headscope.cli import app

    registered = {command.callback.__name__ for command in app.registered_commands if command.callback}
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        fenced = "".join(re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL))
        named = re.findall(r"`headscope ([a-z]+)", text)
        named += re.findall(r"^(?:\$ )?headscope ([a-z]+)", fenced, re.MULTILINE)
        assert set(named) <= registered, path.name


def test_the_names_that_a_new_family_needs_exist() -> None:
    code = (ROOT / "interp" / "architecture.py").read_text(encoding="utf-8")
    for name in ("_POST_NORM", "ln2_post", "residual_multiplier"):
        assert f"`{name}`" in page("families.md") and name in code
    assert re.search(r"^FAMILIES\b", (ROOT / "tests" / "interp" / "families.py").read_text(), re.MULTILINE)


def test_every_figure_is_named() -> None:
    from headscope.figures.catalogue import NAMES

    listed = page("looking.md").split("`run.figure` knows")[1].split(".")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(NAMES)
