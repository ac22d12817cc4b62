"""`headscope compare-models`: runs of several models or checkpoints beside each other, from what is stored."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headscope.cli import help as panels
from headscope.cli import options as opt
from headscope.cli import values
from headscope.cli.kinds import option, path
from headscope.cli.run_folders import check_run
from headscope.cli.terminal import show_table, status

if TYPE_CHECKING:
    from headscope.comparison.models import ModelComparison

STEPS_HELP = "Training steps of the runs, in their order; else read from names such as step-000200."


def compare_models(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Run directories.", parser=values.path("RUN"))
    ],
    steps: Annotated[
        Any,
        option(
            "--steps",
            help=STEPS_HELP,
            metavar="<n,n,...>",
            parser=values.whole_numbers("--steps", "0,1000,4000", repeated=True),
            default="from the names",
        ),
    ] = None,
    out: Annotated[
        Path, path("-o", "--out", help="A .html page; its table, .csv, is written beside it.", panel=panels.OUTPUT)
    ] = Path("models.html"),
    as_json: opt.Json = False,
) -> None:
    """Put several models' runs beside each other; no model is loaded.

    How much the induction heads carry of the choice gain, at which depth they stand, and how many heads can go, beside
    parameters or training steps. Runs of unlike protocol are refused, and the same weights twice.

    \b
      headscope compare-models runs/gpt2 runs/smollm2-135m
      headscope compare-models runs/step-* -o training.html
    """
    from headscope.comparison.models import compare_models as compared
    from headscope.report.models_page import check_page, write_models
    from headscope.store.run import open_run

    check_page(out)
    for folder in folders:
        check_run(folder, "headscope compare-models")
    with status("reading the runs"):
        found = compared([open_run(folder) for folder in folders], steps=steps)
        written = write_models(found.table, found.slopes, found.against, out)
    show(found, written, as_json=as_json)


def show(found: ModelComparison, written: list[Path], *, as_json: bool) -> None:
    """The table and what it says, or all of it as JSON."""
    from headscope.findings.models import HEADINGS, cells, sentences

    told = list(sentences(found.table, found.slopes, found.against))
    if as_json:
        rows = json.loads(found.table.to_json(orient="records"))
        slopes = [asdict(slope) for slope in found.slopes]
        whole = {"runs": rows, "against": found.against, "slopes": slopes, "findings": told, "page": str(written[0])}
        print(json.dumps(whole, indent=2))
        return
    show_table("", HEADINGS, (cells(row) for row in found.table.itertuples(index=False)))
    for sentence in told:
        print(f"- {sentence}")
    print("written: " + ", ".join(map(str, written)))
