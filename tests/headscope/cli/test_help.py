"""What `--help`, `--version` and completion show: whole sentences at 80 columns, and examples that parse."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ablation.names import ABLATIONS, NORMALISATIONS
from ablation.tasks.names import BOS, DEMOS, LABELS
from headscope.cli import app
from headscope.cli.help import MODEL, ORDER
from headscope.cli.kinds import MANY
from headscope.cli.options import loading_options
from headscope.cli.prune import RANKINGS
from headscope.plan.names import STAGES
from headscope.store.names import FFN_RANKINGS, KNOCKED_OUT, PROTOCOLS, PRUNABLE
from tests.headscope.commands import command, done

ROOT = Path(__file__).resolve().parents[3]
COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
LOADING = [name for name in COMMANDS if name not in ("compare", "compare-models", "report")]


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_no_summary_is_cut() -> None:
    shown = done("--help").out
    assert "..." not in shown.replace("[ARGS]...", "") and all(len(line) <= 80 for line in shown.splitlines())
    flat = " ".join(shown.split())
    for name, one in COMMANDS.items():
        assert f" {name} {' '.join(one.help.split(chr(10) + chr(10))[0].split())} " in f"{flat} ", name


@pytest.mark.parametrize("name", COMMANDS)
def test_options_stand_in_groups_and_those_for_loading_are_alike(name: str) -> None:
    shown = done(name, "--help").out
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("    headscope"))
    headings = re.findall(r"^([A-Z].*):$", shown, re.MULTILINE)
    known = [title for title in headings if title in ORDER]
    assert known == [title for title in ORDER if title in known] and "Options" in known
    if name in LOADING:
        part = shown.split(f"\n{MODEL}:\n")[1]
        offered = re.findall(r"^  (--[a-z-]+)", part, re.MULTILINE)
        every = [
            f"--{parameter.replace('_', '-')}" for parameter in loading_options.__annotations__ if parameter != "return"
        ]
        assert offered == [option for option in every if option in offered]
        assert {"--revision", "--trust-remote-code", "--wheel"} <= set(offered)


def examples() -> Iterator[list[str]]:
    for name, one in COMMANDS.items():
        lines = [line.strip() for line in one.help.splitlines() if line.startswith("  headscope ")]
        assert lines, f"{name} has no example"
        yield from (shlex.split(line.partition(" > ")[0], comments=True)[1:] for line in lines)


@pytest.mark.parametrize("arguments", list(examples()), ids=" ".join)
def test_every_example_parses(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words with an option that is not there: it is the first thing that is wrong with them."""
    monkeypatch.chdir(tmp_path)
    found = command(*arguments, "--not-an-option")
    assert found.error.startswith("headscope: no such option: --not-an-option"), found.error
    one = COMMANDS[arguments[0]]
    with one.make_context(arguments[0], arguments[1:], resilient_parsing=False) as context:
        assert context.params


@pytest.mark.parametrize(
    ("name", "option", "names"),
    [
        ("induction", "--protocol", PROTOCOLS),
        ("importance", "--labels", LABELS),
        ("importance", "--demos", DEMOS),
        ("importance", "--bos", BOS),
        ("importance", "--normalise", NORMALISATIONS),
        ("knockout", "--component", KNOCKED_OUT),
        ("knockout", "--ablation", ABLATIONS),
        ("prune", "--component", PRUNABLE),
        ("prune", "--ranking", RANKINGS),
        ("prune", "--ffn-ranking", FFN_RANKINGS),
        ("study", "--only", STAGES),
    ],
)
def test_choices_are_those_of_the_library_in_any_case(name: str, option: str, names: tuple[str, ...]) -> None:
    parameter = next(one for one in COMMANDS[name].params if option in one.opts)
    assert parameter.metavar == (f"<{'|'.join(names)}>" if len(names) < MANY else "<name>")
    assert len(names) < MANY or all(word in str(parameter.help) for word in names)
    for word in names:
        with COMMANDS[name].make_context(name, [option, word.upper()]) as context:
            assert context.params[parameter.name] == word


def test_the_library_takes_what_the_command_line_offers() -> None:
    """Lists that the library reads from the light modules need no test; this one it has beside its numbers."""
    from headscope.stages.knock_out import SHARDS
    from induction.sequences import SEQUENCES

    assert set(PROTOCOLS) == set(SEQUENCES) and set(KNOCKED_OUT) == set(SHARDS)


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert done("--version").out == f"headscope {version('headscope')}\n"


def test_without_a_command_there_is_help() -> None:
    found = command()
    assert found.status == 2 and found.error.startswith("Usage: headscope [OPTIONS] COMMAND")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("headscope kn", {"knockout"}),
        ("headscope knockout --ablation ", set(ABLATIONS)),
        ("headscope prune --order l", {"layer_matched"}),
        ("headscope study --tasks pro", {"probes", "probe_capitals"}),
    ],
)
def test_the_shell_completes(typed: str, offered: set[str]) -> None:
    words = typed.split(" ")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "_HEADSCOPE_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = "from headscope.cli import main; main()"
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    lines = set(found.stdout.split())
    assert offered <= lines, found.stderr
    assert all(line.startswith(words[-1]) for line in lines)
