"""What a person sees while a command runs: spinners, progress bars, tables. Programs get plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

NO_TERMINAL_WIDTH = 168
LEFT = range(1, 10)  # tenths at which an estimate means something


def console() -> Console:
    """Standard output, wide where it is no terminal."""
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=NO_TERMINAL_WIDTH)


def show_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
    """Rows under their headings; the first `left` columns are words, the others numbers."""
    from rich import box
    from rich.table import Table

    out = console()
    if title:
        out.print(title, style="bold", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place < left else "right", no_wrap=place < left)
    for row in rows:
        table.add_row(*row)
    out.print(table)


@contextmanager
def status(text: str) -> Iterator[None]:
    """A spinner on standard error while something runs; silent where it is no terminal."""
    from rich.console import Console

    out = Console(stderr=True)
    if not out.is_terminal:
        yield
        return
    with out.status(text):
        yield


@contextmanager
def progress(text: str) -> Iterator[Callable[..., None]]:
    """A progress bar with an estimate on standard error; where it is no terminal, a line every tenth.

    Gives `tell(done, total, what="")`; `what` names the task in work.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    out = Console(stderr=True)
    if not out.is_terminal:
        yield _lines(text)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=out) as bar:
        task = bar.add_task(text, total=None)

        def tell(done: int, total: int, what: str = "") -> None:
            bar.update(task, completed=done, total=total, description=f"{text}: {what}" if what else text)

        yield tell


def _lines(text: str) -> Callable[..., None]:
    said, start = -1, time.monotonic()

    def tell(done: int, total: int, what: str = "") -> None:
        nonlocal said
        tenth = 10 * done // max(1, total)
        if tenth > said:
            said = tenth
            rest = (time.monotonic() - start) * (total - done) / max(1, done)
            left = f", about {duration(rest)} left" if tenth in LEFT else ""
            print(f"{text}{f': {what}' if what else ''}: {10 * tenth}%{left}", file=sys.stderr)

    return tell


def duration(seconds: float) -> str:
    """A length of time in the unit that fits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
