"""`headscope report`: render the page again from what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(folder: Annotated[Path, typer.Argument(help="A run directory, as runs/smollm2-135m.")]) -> None:
    """Render report.html again from a run directory; nothing is computed."""
    from headscope.report import render

    print(render(folder))
