"""The page of the command line has each command, each argument and each option of the program."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from headscope.cli import app
from tests.docs.scripts import script

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", script("hooks/cli_reference.py").reference(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_it_has_every_command_in_order() -> None:
    registered = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    assert list(sections()) == [name.replace("_", "-") for name in registered]


@pytest.mark.parametrize("name", list(sections()))
def test_it_has_everything_that_help_shows(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"]).output
    section = sections()[name]
    options = set(re.findall(r"--[a-z][a-z-]*", "\n".join(re.findall(r"^  (-.*?)(?:  |$)", shown, re.MULTILINE))))
    listed = set(re.findall(r"--[a-z][a-z-]*", "\n".join(re.findall(r"^\| `([^`]*)`", section, re.MULTILINE))))
    assert options and listed == options
    arguments = re.findall(r"^  ([a-z]+) <", shown, re.MULTILINE)
    assert arguments == re.findall(r"^\| `([a-z]+) <", section, re.MULTILINE)
    for extra in re.findall(r"\[(default: [^\]]+|x[<>][^\]]+)\]", shown):
        for part in " ".join(extra.split()).split("; "):
            assert f"`{part.removeprefix('default: ')}`" in section.replace("\\|", "|"), extra


@pytest.mark.parametrize("name", list(sections()))
def test_it_says_what_the_command_does(name: str) -> None:
    callback = next(
        c.callback for c in app.registered_commands if c.callback and c.callback.__name__ == name.replace("-", "_")
    )
    flat = " ".join(str(callback.__doc__).replace("\b", "").split())
    assert " ".join(sections()[name].split("```\nheadscope ")[0].replace("```", "").split()) == flat
