"""Rank correlations as a matrix: of all pairs of tasks, or of each task between numbers of shots (Method 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from headscope.figures.style import MINUS, above, above_bar, crowded, names_axis
from headscope.store.comparisons import AtShots
from interp.theme import heat, plain_text, styled

SIGNIFICANT = 0.05
BAR = "correlation (* Holm's p at most .05)"


def rank_matrix(rows: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Rows of `comparisons` of one kind, level and number of shots; a star where Holm's p is at most .05."""
    names = list(dict.fromkeys([*rows["a"], *rows["b"]]))
    cells = {pair: row for row in rows.itertuples(index=False) for pair in ((row.a, row.b), (row.b, row.a))}
    return _matrix(cells, names, names, title=title, tickangle=-45)


def shot_matrix(rows: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Rows of kind `cross_shot`: a task a row, a pair of numbers of shots a column; a star as above."""
    cells = {}
    for row in rows.itertuples(index=False):
        fewer, more = AtShots.parse(row.a), AtShots.parse(row.b)
        cells[fewer.name, f"{fewer.shots} and {more.shots} shots"] = row
    tasks, pairs = (list(dict.fromkeys(pair[side] for pair in cells)) for side in (0, 1))
    return _matrix(cells, tasks, pairs, title=title)


def _matrix(
    cells: Mapping[tuple[str, str], Any], down: Sequence[str], across: Sequence[str], *, title: str, **ticks: Any
) -> go.Figure:
    """One row of `comparisons` a cell; cells without one stay empty."""
    values = np.full((len(down), len(across)), np.nan)
    text, hover = (np.full(values.shape, "", dtype=object) for _ in range(2))
    for (row, column), comparison in cells.items():
        cell = down.index(row), across.index(column)
        values[cell], text[cell], hover[cell] = (
            comparison.value,
            _cell(comparison.value, comparison.p_holm),
            _hover(comparison),
        )
    trace = go.Heatmap(
        z=values,
        xgap=1,
        ygap=1,
        text=text,
        **crowded(len(across)),
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        colorbar=above_bar(),
        **{**heat(values, signed=True), "zmin": -1.0, "zmax": 1.0},
    )
    return styled(
        [trace],
        title=title,
        height=min(760, 220 + 26 * len(down)),
        **above(BAR),
        xaxis=names_axis(across, **ticks),
        yaxis=names_axis(down, autorange="reversed"),
    )


def _cell(value: float, p: float) -> str:
    text = f"{value:.2f}".replace("-", MINUS)
    if abs(value) < 0.995:
        text = text.replace("0.", ".", 1)
    return f"{text}*" if p <= SIGNIFICANT else text


def _hover(row: object) -> str:
    text = f"{plain_text(row.a)} and {plain_text(row.b)}<br>{row.value:.3f}"  # type: ignore[attr-defined]
    if np.isfinite(row.ci_low):  # type: ignore[attr-defined]
        text += f" [{row.ci_low:.3f}, {row.ci_high:.3f}]"  # type: ignore[attr-defined]
    parts = {"p": row.p, "p (Holm)": row.p_holm}  # type: ignore[attr-defined]
    return text + "".join(f"<br>{name} {value:.4g}" for name, value in parts.items() if np.isfinite(value))
