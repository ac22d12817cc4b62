"""Parse, one call, print. One subcommand a file; nothing heavy is imported up here."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from headscope.cli import (
    attention,
    compare,
    compare_models,
    contest,
    doctor,
    export,
    importance,
    induction,
    inspect,
    knockout,
    patch,
    plan,
    prune,
    report,
    study,
    vectors,
)
from headscope.cli.help import Command, Group

EXAMPLES = """
Which attention heads and feed-forward networks carry in-context learning, and are they the induction heads?

MODEL is `smollm2-135m` (ships inside a package, the default), a hub id such as `facebook/opt-125m`, a folder, or a
`.gguf` file. RUN is a run directory, where all results of one model stand. `headscope COMMAND --help` has examples.

\b
  headscope induction                 score every head of the embedded model
  headscope induction gpt2            the same for a model of the hub
  headscope inspect                   look at its heads in the browser
  headscope plan gpt2                 what a whole study would cost
  headscope study gpt2                all of it; may be stopped and goes on
"""
GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "The whole study": (study.study, plan.plan),
    "Its parts": (
        induction.induction,
        vectors.vectors,
        importance.importance,
        knockout.knockout,
        contest.contest,
        prune.prune,
        compare.compare,
        export.export,
    ),
    "Several models": (compare_models.compare_models,),
    "Looking": (report.report, attention.attention, patch.patch, inspect.inspect),
    "Trust": (doctor.doctor,),
}

app = typer.Typer(
    name="headscope",
    cls=Group,
    help=EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for title, commands in GROUPS.items():
    for command in commands:
        app.command(cls=Command, rich_help_panel=title)(command)


def show_version(asked: bool) -> bool:
    """Print the version, and be done."""
    if asked:
        from importlib.metadata import version

        print(f"headscope {version('headscope')}")
        raise typer.Exit
    return asked


@app.callback()
def headscope(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Options of the program itself."""


INTERRUPTED = 130  # the status typer leaves with when Ctrl-C is pressed
GOES_ON = "interrupted; the same command goes on from the last finished unit"


def main() -> None:
    """Run the command; an error of the caller's is one sentence and a non-zero status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    with ended_in_words():
        sys.exit(status_of(lambda: app(prog_name="headscope", standalone_mode=False)))


@contextmanager
def ended_in_words() -> Iterator[None]:
    """A request to end (SIGTERM, which schedulers send before they kill) is answered as Ctrl-C is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def status_of(run: Callable[[], Any]) -> int:
    """The status to leave with; what went wrong is printed."""
    from headscope.cli.options import Interrupted
    from interp.errors import HeadscopeError, UsageError

    try:
        status = run()
    except HeadscopeError as error:
        return told(str(error), 2 if isinstance(error, UsageError) else 1)
    except Interrupted:
        return told(GOES_ON, INTERRUPTED, before="\n")
    except typer.Abort:
        return told("interrupted", INTERRUPTED, before="\n")
    except Exception as error:
        if memory := out_of_memory(error):
            return told(memory, 1)
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)
            return 2
        return told(sentence(error), 2)
    if status == INTERRUPTED:
        return told("interrupted", INTERRUPTED, before="\n")
    return int(status or 0)


LESS = (
    "Take --dtype bfloat16, fewer or shorter prompts (--limit, --length, --shots), or --device auto with "
    "--offload-folder for weights that do not fit; finished units are kept"
)


def out_of_memory(error: Exception) -> str:
    """The sentence for memory that ran out, with how much was asked for where that is known; else empty."""
    said = str(error)
    wanted = re.search(r"allocate ([\d.]+ ?(?:[KMGT]iB|bytes)|[\d.]+)", said)
    signs = ("can't allocate memory", "out of memory", "Unable to allocate", "Cannot allocate memory")
    broke = isinstance(error, SystemError) and "without exception set" in said  # what a mapped file does without room
    if not (isinstance(error, MemoryError) or broke or any(sign.lower() in said.lower() for sign in signs)):
        return ""
    return (
        f"there is not enough memory{f': the next {sized(wanted[1])} could not be allocated' if wanted else ''}. {LESS}"
    )


def sized(text: str) -> str:
    """`1610612736 bytes` -> `1.5 GiB`."""
    number = text.removesuffix("bytes").strip()
    return f"{int(number) / 2**30:.1f} GiB" if number.isdigit() else text


def told(what: str, status: int, *, before: str = "") -> int:
    """Print the sentence, and return the status."""
    print(f"{before}headscope: {what}", file=sys.stderr)
    return status


def sentence(error: Any) -> str:
    """What the parser of the command line found: an option that is not there, an argument too many."""
    said = str(error.format_message()).rstrip(".")
    if possible := getattr(error, "possibilities", None):
        said = f"{error.message}; did you mean {' or '.join(sorted(possible))}?"
    context = getattr(error, "ctx", None)
    help_of = context.command_path if context is not None else "headscope"
    return f"{said[:1].lower()}{said[1:]} (see `{help_of} --help`)"
