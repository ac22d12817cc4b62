"""Options that several subcommands share, and what they do with them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from headscope.stages.cells import TaskChoice
    from interp.model import HookedModel

Model = Annotated[str, typer.Argument(help="smollm2-135m, a hub id, a folder or a .gguf file.", show_default=True)]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Run directory.  [default: runs/<model name>]")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random draws.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, or auto to spread over devices, memory and disk.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, ...  [default: float32 on the CPU]")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code of the model's own.")]
AllowPickle = Annotated[bool, typer.Option("--allow-pickle", help="Load pickled weights, which can run any code.")]
Wheel = Annotated[Path | None, typer.Option(help="Local copy of the embedded model's wheel.")]
Offload = Annotated[Path | None, typer.Option(help="Folder for weights that do not fit in memory (--device auto).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Tasks = Annotated[str, typer.Option(help="Names separated by commas; probes and icl14 are groups of tasks.")]
Shots = Annotated[str, typer.Option(help="Numbers of demonstrations in the prompt, separated by commas.")]
Limit = Annotated[int | None, typer.Option(help="Documents of each task, spread over its passages.")]
Data = Annotated[str, typer.Option(help="A folder with TASK/{train,validation}.jsonl, or hub (after HEADSCOPE_DATA).")]
Demos = Annotated[str, typer.Option(help="document: each has demonstrations of its own. fixed: one set for the task.")]
DemoSeeds = Annotated[int, typer.Option(help="Draws of the demonstrations.")]
Bos = Annotated[str, typer.Option(help="auto: what the tokenizer adds. always or never: the BOS token in front.")]
Ablation = Annotated[str, typer.Option(help="What removed parts give: zero, mean or resample.")]
Folder = Annotated[Path, typer.Argument(help="A run directory, as runs/smollm2-135m.")]

NO_TERMINAL_WIDTH = 132
LEFT = range(1, 10)  # tenths at which an estimate means something


def run_folder(model: str, out: Path | None) -> Path:
    """`-o`, or runs/<last part of the model's name>."""
    return out if out is not None else Path("runs") / (Path(model).name.removesuffix(".gguf") or "model")


def task_choice(tasks: str, shots: str, *, data: str = "hub", **options: Any) -> TaskChoice:
    """What `--tasks`, `--shots` and their companions mean; an unknown task is refused here."""
    from ablation.tasks import expand_task_names
    from headscope.stages.cells import TaskChoice, parse_shots

    parsed = parse_shots(shots)
    with status("looking up the tasks"):
        names = expand_task_names(tasks)
    return TaskChoice(tuple(names), parsed, data=data, **options)


def names(text: str) -> list[str]:
    """`own,random` -> ["own", "random"]."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def numbers(text: str, option: str) -> tuple[int, ...]:
    """`0,10,20` -> (0, 10, 20)."""
    from interp.errors import UsageError

    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() for part in parts):
        raise UsageError(f"{text!r} is no list of whole numbers for {option}: write, for example, {option} 0,20,40")
    return tuple(int(part) for part in parts)


def render_report(folder: Path) -> Path:
    """The page of what is stored, made again."""
    from headscope.report import render

    with status("rendering the report"):
        return render(folder)


def show_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> None:
    """Rows under their headings; the first `left` columns are words, the others numbers. Wide where no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=NO_TERMINAL_WIDTH)
    console.print(title, style="bold", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place < left else "right", no_wrap=place < left)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def load(model: str, **options: Any) -> HookedModel:
    """Load the model, saying so on a terminal."""
    import os

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with status(f"loading {model}"):
        from transformers.utils import logging

        logging.disable_progress_bar()
        from interp import load_model

        return load_model(model, **options)


def configuration(model: str, revision: str | None, trust_remote_code: bool, wheel: Path | None) -> tuple[Any, Any]:
    """A model's configuration, and its tokenizer or None; no weights."""
    from interp.errors import ModelLoadError
    from interp.loading import read_config, read_tokenizer

    where: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code, "wheel": wheel}
    config = read_config(model, **where)
    try:
        return config, read_tokenizer(model, **where)
    except ModelLoadError:
        return config, None


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
def progress(text: str) -> Iterator[Callable[..., None]]:
    """A progress bar with an estimate on standard error; where it is no terminal, a line every tenth.

    Gives `tell(done, total, what="")`; `what` names the task in work.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(text)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
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
