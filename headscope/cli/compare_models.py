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
    from headscope.comparison.pair import PairedScore
    from headscope.store.run import Run

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
    parameters or training steps. Of two runs also every score head by head: both mosaics, their difference, a scatter
    and the rank correlation; by relative depth where the shapes differ. Runs of unlike protocol are refused, and the
    same weights twice.

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
        runs = [open_run(folder) for folder in folders]
        found = compared(runs, steps=steps)
        scores, names = pair_of(runs)
        written = write_models(found.table, found.slopes, found.against, out, scores=scores, names=names)
    show(found, written, scores[:1], as_json=as_json)


def pair_of(runs: list[Run]) -> tuple[list[PairedScore], list[str]]:
    """The scores of two runs head by head, and what the runs are called; nothing for more."""
    from headscope.comparison.models import distinct_names
    from headscope.comparison.pair import paired_scores

    if len(runs) != 2:
        return [], []
    return list(paired_scores(*runs)), distinct_names([run.folder for run in runs])


def show(found: ModelComparison, written: list[Path], scores: list[PairedScore], *, as_json: bool) -> None:
    """The table and what it says, or all of it as JSON; of two runs, how far they rank the heads alike."""
    from headscope.findings.models import HEADINGS, cells, paired, sentences

    told = list(sentences(found.table, found.slopes, found.against))
    told += [f"{one.label}, head by head: {paired(one.rho, one.within, one.shapes)}" for one in scores]
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
