"""Parse, one call, print. One subcommand a file; nothing heavy is imported up here."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
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
    from interp.errors import HeadscopeError, ModelLoadError, StoreError, UsageError
    from interp.memory import out_of_memory

    try:
        status = run()
    except HeadscopeError as error:
        # A refusal may stand for whatever a library failed with. A model's tells it; a stored file may lie about it.
        cause = None if isinstance(error, ModelLoadError | StoreError) else error.__cause__
        if cause is not None and (short := out_of_memory(cause)):
            return told(f"{short}. {less_memory(sys.argv[1:])}", 1)
        return told(str(error), 2 if isinstance(error, UsageError) else 1)
    except Interrupted:
        return told(GOES_ON, INTERRUPTED, before="\n")
    except typer.Abort:
        return told("interrupted", INTERRUPTED, before="\n")
    except Exception as error:
        if short := out_of_memory(error):
            return told(f"{short}. {less_memory(sys.argv[1:])}", 1)
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)
            return 2
        return told(sentence(error), 2)
    if status == INTERRUPTED:
        return told("interrupted", INTERRUPTED, before="\n")
    return int(status or 0)


def less_memory(arguments: Sequence[str]) -> str:
    """What helps where memory ran out, by the options that the command has."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    asked = commands.get(next((word for word in arguments if not word.startswith("-")), ""))
    options = set() if asked is None else {name for option in asked.params for name in option.opts}
    smaller = ["--dtype bfloat16"] if "--dtype" in options else []
    if prompts := [name for name in ("--limit", "--length") if name in options]:
        prompts += ["--shots"] if {"--limit", "--shots"} <= options else []
        smaller.append(f"fewer or shorter prompts ({', '.join(prompts)})")
    if "--offload-folder" in options:
        smaller.append("--device auto with --offload-folder for weights that do not fit")
    if not smaller:
        return "End other programs, or give the command to a machine with more memory"
    kept = "; finished units are kept" if "-o" in options and "--offload-folder" in options else ""
    return f"Take {', or '.join(smaller)}{kept}"


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
