"""The page of the command line, made from the program itself at every build: it can't fall behind.

A hook of mkdocs (mkdocs.yml). One section a command, in the order of `headscope --help`: its docstring, its usage, and
a table of its arguments and options, each with the help and the default that `--help` prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from headscope.cli import app

PAGE = "cli.md"
EXTRA = re.compile(r"\s*\[((?:default: |required|x[<>]|\d+<).*?)\]$")  # what --help puts behind an option's help
AS_IT_STANDS = "\b"  # in front of a paragraph whose lines are not to be joined
OPENING = """# Command line

MODEL is `smollm2-135m` (ships inside a package, the default), a hub id such as `facebook/opt-125m`, a folder, or a
`.gguf` file. DIR is a run directory. Layers and heads count from 0; head 6 of layer 18 is written `18.6`.

Results go to standard output, progress and errors to standard error. The status is 0 when all went well, 1 when a model
or a folder was refused or a check of `doctor` failed, 2 when the command line was wrong, 130 after Ctrl+C. This page is
made from the program itself.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to the site."""
    files.append(File.generated(config, PAGE, content=reference()))
    return files


def commands() -> dict[str, Any]:
    """Every subcommand by name."""
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def reference() -> str:
    """The whole page as Markdown."""
    sections = (section(name, command) for name, command in commands().items())
    return "\n".join([OPENING, "\n".join(overview()), *sections])


def overview() -> Iterator[str]:
    """A table of all commands."""
    yield "| command | what it does |"
    yield "|---|---|"
    for name, command in commands().items():
        first = str(command.help).strip().split("\n\n")[0]
        yield f"| [`{name}`](#{name}) | {joined(first)} |"
    yield ""


def section(name: str, command: Any) -> str:
    """One command: what it does, how it is called, what it takes."""
    names = app.info.context_settings["help_option_names"]
    context = command.context_class(command, info_name=name, help_option_names=names)
    text = "\n\n".join(paragraph(part) for part in str(command.help).strip().split("\n\n"))
    usage = " ".join(["headscope", name, *command.collect_usage_pieces(context)])
    rows = (row(*record) for record in records(command, context))
    head = "| argument or option | what it is | default, range |\n|---|---|---|"
    return f"## {name}\n\n{text}\n\n```\n{usage}\n```\n\n{head}\n" + "\n".join(rows) + "\n"


def paragraph(text: str) -> str:
    """A paragraph of a docstring; its lines stay apart where `--help` keeps them apart."""
    if not text.startswith(AS_IT_STANDS):
        return joined(text)
    return "```\n" + text.removeprefix(AS_IT_STANDS).strip("\n") + "\n```"


def records(command: Any, context: Any) -> Iterator[tuple[str, str]]:
    """(how it is written, its help) of every argument and option, as `--help` prints them."""
    for parameter in command.get_params(context):
        found = parameter.get_help_record(context)
        if found is not None:
            yield found


def row(written: str, text: str) -> str:
    """A row of the table; the default and the range stand in a column of their own."""
    flat = joined(text)
    extra = EXTRA.search(flat)
    parts = extra[1].split("; ") if extra else []
    told = ", ".join(f"`{part.removeprefix('default: ')}`" for part in parts)
    cells = (f"`{written}`", marked(EXTRA.sub("", flat)), told)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def joined(text: str) -> str:
    """One line of Markdown."""
    return re.sub(r"\s+", " ", text.replace("\b", "")).strip()


def marked(text: str) -> str:
    """Angle brackets and underscores as text."""
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("*", "\\*")
