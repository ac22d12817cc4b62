"""`headscope report RUN --kit FOLDER`: every figure of a run as a file, its methods paragraph and its bibliography.

Figures are those of the report and the mosaics of scores without a task, but not what is folded away there (variants,
and single tasks); `run.figure` draws any of them. Files are named as the report names what it saves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscope.figures.catalogue import CATALOGUE, Panel
from headscope.findings.citations import bibliography
from headscope.findings.methods import methods
from headscope.report.pictures import write_pictures
from headscope.store.atomic import make_writable, sweep, write_atomically
from headscope.store.glossary import FOLDED
from headscope.store.run import Run
from headscope.store.snapshot import Stored
from interp.errors import UsageError

if TYPE_CHECKING:
    import plotly.graph_objects as go

PARAGRAPH, BIBLIOGRAPHY = "methods.txt", "references.bib"
WIDTH = 640  # pixels, as of what the report saves
MOST = 200  # figures of one command


def write_kit(run: Run, folder: Path, *, kind: str = "pdf") -> list[Path]:
    """Write the kit and say where its files are.

    Raises UsageError without kaleido and for more than `MOST` figures;
    HeadscopeError where its browser can't be started, with the two texts written.
    """
    if find_spec("kaleido") is None:
        raise UsageError(
            f"figures as {kind} files need kaleido: pip install 'headscope[images]'. Without it, report.html saves "
            "each figure as SVG by the button under it"
        )
    pictures = {folder / f"{name}.{kind}": figure for name, figure in figures_of(run)}
    if len(pictures) > MOST:
        raise UsageError(
            f"the run '{run.folder}' has {len(pictures)} figures, and one command writes at most {MOST}: draw the ones "
            "you need with run.figure(NAME).write_image(FILE)"
        )
    make_writable(folder)
    sweep(folder)
    texts = {folder / PARAGRAPH: f"{methods(run)}\n", folder / BIBLIOGRAPHY: bibliography(run)}
    for path, text in texts.items():
        write_atomically(path, text.encode("utf-8", "replace"))
    if pictures:
        write_pictures(pictures, width=WIDTH)
    return [*pictures, *texts]


def figures_of(run: Run) -> Iterator[tuple[str, go.Figure]]:
    """Every figure that is not folded away, and what its file is called."""
    stored = Stored(run)
    for entry in CATALOGUE:
        for place, panel in enumerate(entry.panels(stored), 1):
            if entry.name == "mosaic" and is_first(panel):
                yield f"mosaic-{slug(panel.labels)}", panel.draw()
            elif entry.name != "mosaic" and not panel.folded:
                yield f"{entry.name}-{place}", panel.draw()


def is_first(panel: Panel) -> bool:
    """Whether a mosaic is of a score without a task, and no variant that stands behind others."""
    return not panel.labels["task"] and (panel.labels["score"], panel.labels["variant"]) not in FOLDED


def slug(labels: Any) -> str:
    """`copying-signed`."""
    return re.sub(r"\W+", "-", f"{labels['score']} {labels['variant']}".strip()).strip("-")
