"""`headscope compare-models`: several runs as one page that works offline, and as a table beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscope.figures.models import model_figures
from headscope.figures.pair import pair_figures
from headscope.findings.models import HEADINGS, cells, paired, sentences
from headscope.report.csv_text import harmless
from headscope.report.page import page, plots_scripts, safe_json
from headscope.store.atomic import sweep, write_atomically
from interp.errors import UsageError
from interp.theme import for_scripts

if TYPE_CHECKING:
    import pandas as pd


def check_page(out: Path) -> None:
    """Raises UsageError for a file that is no page, and for a folder that is not there."""
    if out.suffix.lower() != ".html":
        raise UsageError(f"'{out}' must end in .html (a page; its table, .csv, is written beside it)")
    if not out.parent.is_dir():
        raise UsageError(f"the folder '{out.parent}' of '{out}' does not exist: make it first, or choose another")


def write_models(
    table: pd.DataFrame, slopes: Any, against: str, out: Path, *, scores: Sequence[Any] = (), names: Sequence[str] = ()
) -> list[Path]:
    """Write the page and its table, and say where they are.

    scores: of two runs, what comparison/pair.py pairs; names: theirs, in that order.
    """
    check_page(out)
    sweep(out.parent)
    numbers = out.with_suffix(".csv")
    text = table.map(harmless).to_csv(index=False, lineterminator="\n")  # names are whatever their folders are called
    write_atomically(numbers, text.encode("utf-8", "replace"))
    write_atomically(
        out, models_page(table, slopes, against, numbers.name, pairs_of(scores, names)).encode("utf-8", "replace")
    )
    return [out, numbers]


def pairs_of(scores: Sequence[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Each score of two runs as a heading, a sentence and its figures."""
    made = []
    for score in scores:
        drawn = pair_figures(score.first, score.second, label=score.label, names=names)
        told = paired(score.rho, score.within, score.shapes)
        figures = [json.loads(figure.to_json()) for figure in drawn]
        made.append({"label": score.label, "told": told, "alike": score.alike, "figures": figures})
    return made


def models_page(
    table: pd.DataFrame, slopes: Any, against: str, numbers: str, pairs: Sequence[dict[str, Any]] = ()
) -> str:
    """The whole file as text."""
    figures = [json.loads(figure.to_json()) for figure in model_figures(table, against)]
    return page(
        "models",
        scripts=plots_scripts(),
        title=f"{len(table)} runs beside each other",
        headings=HEADINGS,
        rows=[cells(row) for row in table.itertuples(index=False)],
        sentences=[line.replace("`", "") for line in sentences(table, slopes, against)],
        figures=figures,
        pairs=pairs,
        numbers=numbers,
        data=safe_json({"theme": for_scripts(), "figures": figures, "pairs": [pair["figures"] for pair in pairs]}),
    )
