"""`--help` in plain text: options and commands under headings, and no summary cut off at the terminal's edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand, TyperGroup

ARGUMENTS, OWN = "Arguments", "Options"
PROMPTS, REMOVED, OUTPUT, MODEL = "Tasks and prompts", "What is removed", "Output", "Loading the model"
POWER, WHERE = "What could be shown", "Where it runs"
ORDER = (ARGUMENTS, OWN, PROMPTS, REMOVED, POWER, WHERE, OUTPUT, MODEL)


class Command(TyperCommand):
    """A command whose options stand in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_groups(formatter, grouped(self, ctx))


class Group(TyperGroup):
    """All commands, in groups too, each with the whole of its first sentence."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_groups(formatter, grouped(self, ctx))
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            title = str(getattr(command, "rich_help_panel", None) or "Commands")
            groups.setdefault(title, []).append((name, summary(command)))
        write_groups(formatter, groups)


def summary(command: Any) -> str:
    """The first paragraph of a command's help, on one line."""
    return " ".join(str(command.help).strip().split("\n\n")[0].split())


def grouped(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """Heading -> (how it is written, its help) of every argument and option."""
    groups: dict[str, list[tuple[str, str]]] = {title: [] for title in ORDER}
    for parameter, record in records(command, ctx):
        groups[heading(parameter)].append(record)
    return {title: rows for title, rows in groups.items() if rows}


def records(command: Any, ctx: Any) -> Iterator[tuple[Any, tuple[str, str]]]:
    """Every argument and option that help shows."""
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            yield parameter, record


def heading(parameter: Any) -> str:
    """The group that an argument or an option stands in."""
    own = ARGUMENTS if parameter.param_type_name == "argument" else OWN
    return str(getattr(parameter, "rich_help_panel", None) or own)


def write_groups(formatter: Any, groups: dict[str, list[tuple[str, str]]]) -> None:
    """Each group under its heading."""
    for title, rows in groups.items():
        with formatter.section(title):
            formatter.write_dl(rows)
