"""Kinds of options: a choice, a whole number, text, a path, numbers of shots. Each reads its value while parsing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from headscope.cli import help as panels
from headscope.cli import values
from headscope.stages.cells import parse_shots


def choice(flag: str, names: tuple[str, ...], *, help: str, panel: str | None = None, **more: Any) -> Any:
    """An option that takes one of `names`; completion offers them, and a wrong one is refused while parsing."""
    return typer.Option(
        flag,
        help=help,
        metavar=f"<{'|'.join(names)}>",
        parser=values.one_of(flag, names, **more),
        autocompletion=lambda: list(names),
        rich_help_panel=panel,
    )


def whole(
    flag: str, *, help: str, low: int = 0, high: int = values.MOST, panel: str | None = None, why: str = ""
) -> Any:
    """An option that takes a whole number within bounds."""
    return typer.Option(
        flag,
        help=help,
        metavar="<n>",
        min=low,
        max=high if high < values.MOST else None,
        parser=values.whole(flag, low, high, why=why),
        rich_help_panel=panel,
    )


def text(*flags: str, help: str, metavar: str, panel: str | None = None, expected: str = "some text") -> Any:
    """An option that takes text."""
    return typer.Option(
        *flags, help=help, metavar=metavar, parser=values.text(flags[0], expected), rich_help_panel=panel
    )


def path(*flags: str, help: str, metavar: str = "<path>", panel: str | None = None) -> Any:
    """An option that takes a path."""
    return typer.Option(*flags, help=help, metavar=metavar, parser=values.path(flags[0]), rich_help_panel=panel)


def checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """The text as it stands, if it can be parsed."""

    def parser(value: str) -> str:
        parse(value)
        return value

    return parser


def shots(help: str) -> Any:
    """Numbers of shots, as text: a command may leave them to a budget."""
    parser = checked(parse_shots)
    return typer.Option("--shots", help=help, metavar="<n,n,...>", parser=parser, rich_help_panel=panels.PROMPTS)
