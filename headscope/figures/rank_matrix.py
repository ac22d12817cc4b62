"""Rank correlations of all pairs, as a matrix: of tasks at one number of shots, or of shots (METHODS 5)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from headscope.figures.style import MINUS, colour_bar, heat, names_axis, plain_text, styled

SIGNIFICANT = 0.05


def rank_matrix(rows: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Rows of `comparisons` of one kind, level and number of shots; a star where Holm's p is at most .05."""
    names = list(dict.fromkeys([*rows["a"], *rows["b"]]))
    place = {name: index for index, name in enumerate(names)}
    values = np.full((len(names), len(names)), np.nan)
    text = np.full(values.shape, "", dtype=object)
    hover = np.full(values.shape, "", dtype=object)
    for row in rows.itertuples(index=False):
        for i, j in ((place[row.a], place[row.b]), (place[row.b], place[row.a])):
            values[i, j] = row.value
            text[i, j] = _cell(row.value, row.p_holm)
            hover[i, j] = _told(row)
    trace = go.Heatmap(
        z=values, xgap=1, ygap=1, text=text, texttemplate="%{text}", customdata=hover,
        hovertemplate="%{customdata}<extra></extra>", hoverongaps=False,
        colorbar=colour_bar(), **{**heat(values, signed=True), "zmin": -1.0, "zmax": 1.0},
    )  # fmt: skip
    return styled(
        [trace], title=title, height=min(760, 170 + 26 * len(names)), xaxis=names_axis(names, tickangle=-45),
        yaxis=names_axis(names, autorange="reversed"),
    )  # fmt: skip


def _cell(value: float, p: float) -> str:
    number = f"{value:.2f}".replace("-", MINUS)
    if abs(value) < 0.995:
        number = number.replace("0.", ".", 1)
    return f"{number}*" if p <= SIGNIFICANT else number


def _told(row: object) -> str:
    told = f"{plain_text(row.a)} and {plain_text(row.b)}<br>{row.value:.3f}"  # type: ignore[attr-defined]
    if np.isfinite(row.ci_low):  # type: ignore[attr-defined]
        told += f" [{row.ci_low:.3f}, {row.ci_high:.3f}]"  # type: ignore[attr-defined]
    parts = {"p": row.p, "p (Holm)": row.p_holm}  # type: ignore[attr-defined]
    return told + "".join(f"<br>{name} {value:.4g}" for name, value in parts.items() if np.isfinite(value))
