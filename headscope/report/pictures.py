"""Figures as files: pixels, or the lines and letters of an SVG or PDF file, through kaleido."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from headscope.store.atomic import write_atomically
from interp.errors import HeadscopeError, UsageError

if TYPE_CHECKING:
    import plotly.graph_objects as go

PICTURES = (".png", ".svg", ".pdf")


def check_output(out: Path) -> None:
    """Raises UsageError for a file that is neither a page nor a picture, and for a folder that is not there."""
    if out.suffix.lower() not in (".html", *PICTURES):
        raise UsageError(f"'{out}' must end in .html (a page) or in {', '.join(PICTURES)} (a picture)")
    if not out.parent.is_dir():
        raise UsageError(
            f"the folder '{out.parent}' of '{out}' does not exist: make it first, or choose another with -o"
        )


def write_pictures(figures: Mapping[Path, go.Figure], *, width: int = 960, scale: float = 2) -> None:
    """Write figures, all with one start of a browser: kaleido needs a Chrome or Chromium on the machine.

    An SVG file of the same figure is the same bytes every time. Raises UsageError where kaleido is not installed,
    HeadscopeError where its browser can't be started.
    """
    try:
        import kaleido
    except ImportError as error:
        raise UsageError("pictures need kaleido: pip install 'headscope[images]', or write a .html page") from error
    wanted = [
        {"fig": figure, "path": str(path), "opts": {"scale": scale, "width": width}} for path, figure in figures.items()
    ]
    try:
        kaleido.write_fig_from_object_sync(wanted, kopts={"mathjax": False})
    except Exception as error:  # whatever the browser, or the way to it, fails with
        reason = next(iter(str(error).splitlines()), "no reason given")
        raise HeadscopeError(
            f"{', '.join(f'{str(path)!r}' for path in figures)} could not be drawn ({type(error).__name__}: {reason}). "
            "Pictures need Chrome or Chromium (BROWSER_PATH names one); a .html page needs neither."
        ) from error
    for path in figures:
        if path.suffix == ".svg":
            write_atomically(path, settled(path.read_text(encoding="utf-8")).encode())


def settled(svg: str) -> str:
    """Without the name that plotly draws anew for every drawing, which parts of the file call each other by."""
    drawn = re.search(r'id="defs-(\w+)"', svg)
    return svg.replace(drawn[1], "0") if drawn else svg
