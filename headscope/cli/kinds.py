"""Kinds of options: a choice, a whole number, text, a path, numbers of shots. Each reads its value while parsing.

panel: the heading in `--help`. default: what help says where a command finds its default out by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer

from headscope.cli import help as panels
from headscope.cli import values
from headscope.stages.cells import parse_shots


def option(
    *flags: str,
    help: str,
    metavar: str,
    parser: Callable[[Any], Any],
    panel: str | None = None,
    default: str | bool = True,
    **more: Any,
) -> Any:
    """What all kinds have."""
    return typer.Option(
        *flags, help=help, metavar=metavar, parser=parser, rich_help_panel=panel, show_default=default, **more
    )


MANY = 8  # names that do not stand in a line of 80 columns


def choice(
    flag: str,
    names: tuple[str, ...],
    *,
    help: str,
    panel: str | None = None,
    default: str | bool = True,
    also: Mapping[str, str] | None = None,
) -> Any:
    """One of `names`: completion offers them, and a wrong one is refused. also: other ways to write them."""
    return option(
        flag,
        help=help,
        metavar=f"<{'|'.join(names)}>" if len(names) < MANY else "<name>",
        parser=values.one_of(flag, names, also=also),
        panel=panel,
        default=default,
        autocompletion=lambda: list(names),
    )


def whole(
    flag: str,
    *,
    help: str,
    low: int = 0,
    high: int = values.MOST,
    why: str = "",
    panel: str | None = None,
    default: str | bool = True,
) -> Any:
    """A whole number within bounds."""
    return option(
        flag,
        help=help,
        metavar="<n>",
        parser=values.whole(flag, low, high, why=why),
        panel=panel,
        default=default,
        min=low,
        max=high if high < values.MOST else None,
    )


def text(
    flag: str,
    *,
    help: str,
    metavar: str,
    panel: str | None = None,
    default: str | bool = True,
    expected: str = "some text",
) -> Any:
    """Text; `expected` says which."""
    parser = values.text(flag, expected)
    return option(flag, help=help, metavar=metavar, parser=parser, panel=panel, default=default)


def path(*flags: str, help: str, panel: str | None = None, default: str | bool = True) -> Any:
    """A path, given by any of the flags."""
    return option(*flags, help=help, metavar="<path>", parser=values.path(flags[0]), panel=panel, default=default)


def listed(
    flag: str,
    parse: Callable[[str], object],
    *,
    help: str,
    of: str = "name",
    offered: tuple[str, ...] = (),
    panel: str | None = None,
    default: str | bool = True,
) -> Any:
    """A list with commas, kept as text; `parse` refuses a wrong one."""

    return option(
        flag,
        help=help,
        metavar=f"<{of},{of},...>",
        parser=values.checked(parse),
        panel=panel,
        default=default,
        autocompletion=lambda: list(offered),
    )


def shots(help: str, default: str | bool = True) -> Any:
    """Numbers of shots."""
    return listed("--shots", parse_shots, help=help, of="n", panel=panels.PROMPTS, default=default)
