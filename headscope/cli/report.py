"""`headscope report`: render the page again from what is stored, and write the files that a paper takes along."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from headscope.cli import help as panels
from headscope.cli import options as opt
from headscope.cli.kinds import choice, path
from headscope.cli.run_folders import check_run
from headscope.cli.terminal import status

FORMATS = ("pdf", "svg", "png")


def report(
    folder: opt.Folder,
    kit: Annotated[
        Path | None,
        path(
            "--kit", help="A folder for the figures, the methods and the BibTeX.", panel=panels.OUTPUT, default="none"
        ),
    ] = None,
    kind: Annotated[
        str, choice("--format", FORMATS, help="What the figures of --kit are written as.", panel=panels.OUTPUT)
    ] = FORMATS[0],
) -> None:
    """Render report.html again from a run directory; nothing is computed.

    With --kit every figure is written as a file, beside a methods paragraph and the BibTeX of what to cite; this needs
    kaleido and a Chrome or Chromium.

    \b
      headscope report runs/smollm2-135m
      headscope report runs/smollm2-135m --kit paper --format svg
    """
    check_run(folder, "headscope report")
    print(opt.render_report(folder))
    if kit is not None:
        from headscope.report.kit import write_kit
        from headscope.store.run import open_run

        with status("drawing the figures"):
            written = write_kit(open_run(folder), kit, kind=kind)
        for file in written:
            print(file)
