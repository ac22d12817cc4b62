"""Run the commands and the Python of pages and write down what they print: `python docs/record.py docs/tutorial.md`.

1. A `console` block holds commands (`$ headscope ...`, `$ python examples/...`), each followed by what it prints, or
   by the last lines of that, behind `| tail -n N`.
2. A `python` block is run, all of a page in one namespace; a `text` block right behind it is what it prints.
3. A block with `title="FILE"` is written to that file instead.
Everything runs in a folder of its own, as on a terminal of 100 columns; progress and errors are not recorded. The tests
run the pages in the same way and compare what is printed with what stands there.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```(?P<kind>\w*)(?P<options>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')
TERMINAL = {"TTY_COMPATIBLE": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100", "LINES": "50"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its body stands at [start, end) of the page."""

    kind: str
    title: str
    body: str
    start: int
    end: int


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    found = []
    for match in FENCE.finditer(text):
        title = TITLE.search(match["options"])
        place = (match.start("body"), match.end("body"))
        found.append(Block(match["kind"], title[1] if title else "", match["body"], *place))
    return found


def run_page(text: str) -> Iterator[tuple[Block, str]]:
    """Run a page in the current folder: every block that shows output, with what it should hold."""
    names: dict[str, Any] = {"__name__": "__page__"}
    said: str | None = None
    for block in blocks(text):
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.body, encoding="utf-8")
        elif block.kind == "console":
            yield block, "".join(f"$ {line}\n{command(line)}" for line in commands(block.body))
        elif block.kind == "python":
            said = python(block.body, names)
        elif block.kind == "text" and said is not None:
            yield block, said
            said = None


def commands(body: str) -> list[str]:
    """The commands of a console block; a backslash at the end of a line goes on with the next."""
    return re.findall(r"^\$ ((?:.*\\\n)*.*)$", body, flags=re.MULTILINE)


def command(line: str) -> str:
    """What a command of headscope, or one of the example scripts, prints to standard output."""
    line, _, last = line.partition(" | tail -n ")
    program, *arguments = shlex.split(line.replace("\\\n", " "))
    if last:
        return "".join(command(line).splitlines(keepends=True)[-int(last) :])
    if program == "python" and arguments[0].startswith("examples/"):
        return example(*arguments)
    if program != "headscope":
        raise ValueError(f"only headscope's commands and the examples are run, not: {line}")
    if arguments[0] == "inspect":
        return first_line([sys.executable, "-m", "headscope", *arguments])
    from headscope.cli import main

    with printed() as out, replaced_arguments(["headscope", *arguments]):
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"{line} left with status {end.code}: {out.getvalue()}") from end
    return tidy(out.getvalue())


def example(path: str, *arguments: str) -> str:
    """What a script of examples/ prints, as a program of its own; `*` stands for all files that fit."""
    given = [name for word in arguments for name in (sorted(glob(word)) if "*" in word else [word])]
    environment = {**os.environ, **TERMINAL, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, str(ROOT / path), *given]
    done = subprocess.run(program, capture_output=True, text=True, env=environment)  # noqa: S603  (our own script)
    if done.returncode:
        raise RuntimeError(f"{path} left with status {done.returncode}: {done.stderr}")
    return tidy(done.stdout)


def first_line(arguments: list[str]) -> str:
    """What a program that goes on until Ctrl+C says first."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(arguments, text=True, **pipes) as program:  # noqa: S603  (our own page)
        try:
            return program.stdout.readline() if program.stdout is not None else ""
        finally:
            program.terminate()


def python(code: str, names: dict[str, Any]) -> str:
    """What a piece of Python prints."""
    with printed() as out:
        exec(compile(code, "page", "exec"), names)  # noqa: S102  (our own page)
    return tidy(out.getvalue())


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    """Standard output as text, with the settings of a plain terminal; standard error is dropped."""
    before = {name: os.environ.get(name) for name in TERMINAL}
    os.environ.update(TERMINAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
            yield out
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


@contextlib.contextmanager
def replaced_arguments(arguments: list[str]) -> Iterator[None]:
    """sys.argv for as long as the context lasts."""
    before, sys.argv = sys.argv, arguments
    try:
        yield
    finally:
        sys.argv = before


def tidy(text: str) -> str:
    """Without spaces at the ends of lines and empty lines at either end; long lines wrapped as a terminal does."""
    lines = [part for line in text.splitlines() for part in wrapped(line.rstrip())]
    return "\n".join(lines).strip("\n") + "\n" if any(lines) else ""


def wrapped(line: str) -> list[str]:
    """A line as it stands, or in parts as wide as the terminal."""
    width = int(TERMINAL["COLUMNS"])
    if len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def recorded(text: str) -> str:
    """The page with what its blocks print today."""
    whole, position = [], 0
    for block, said in run_page(text):
        whole += [text[position : block.start], said]
        position = block.end
    return "".join([*whole, text[position:]])


def load_once() -> None:
    """A model that is asked for again in the same way is the one that is there."""
    import interp.loading

    load, held = interp.loading.load_model, {}

    def again(source: Any = interp.loading.DEFAULT_MODEL, **options: Any) -> Any:
        key = (source, *sorted((name, str(value)) for name, value in options.items() if value))
        if key not in held:
            held[key] = load(source, **options)
        return held[key]

    interp.loading.load_model = again


def main() -> None:
    load_once()
    for page in [Path(name).resolve() for name in sys.argv[1:]]:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            sys.path.insert(0, folder)  # pages write modules and import them
            text = recorded(page.read_text(encoding="utf-8"))
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
