"""The command line: one subcommand a file; each parses, makes one call, prints. Nothing heavy is imported up here."""

from __future__ import annotations

import sys

import typer

from headscope.cli import (
    attention,
    compare,
    doctor,
    export,
    importance,
    induction,
    inspect,
    knockout,
    plan,
    prune,
    report,
    study,
)

EXAMPLES = """
Which attention heads and feed-forward networks carry in-context learning, and are they the induction heads?

MODEL is `smollm2-135m` (ships inside a package, the default), a hub id such as `facebook/opt-125m`, a folder, or a
`.gguf` file.

\b
  headscope induction                       score every head of the embedded model, write a report
  headscope induction gpt2 -o runs/gpt2     the same for a model of the hub
  headscope attention --text "..." --layer 18 --head 6 -o head.html
                                            what a head looks at
  headscope inspect                         look at heads in the browser, and remove them
  headscope doctor MODEL                    check that the numbers would mean what they claim
  headscope report runs/gpt2                render the report again
"""

app = typer.Typer(
    name="headscope",
    help=EXAMPLES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    study.study,
    induction.induction,
    importance.importance,
    knockout.knockout,
    prune.prune,
    compare.compare,
    export.export,
    plan.plan,
    report.report,
    attention.attention,
    inspect.inspect,
    doctor.doctor,
):
    app.command()(command)


INTERRUPTED = 130  # the status typer leaves with when Ctrl-C is pressed


def main() -> None:
    """Run the command; an error of the caller's is one sentence and a non-zero status."""
    from interp.errors import HeadscopeError, UsageError

    try:
        app()
    except HeadscopeError as error:
        print(f"headscope: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            print("\nheadscope: interrupted; the same command goes on from the last finished unit", file=sys.stderr)
        raise
