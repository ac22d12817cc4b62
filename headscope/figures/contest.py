"""The contest: a dot a tested set, a strip of its controls (Method 5). Takes the columns of items/contest."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from ablation.contest import CLASS, CONTROL, KEPT, NEGATIVE, OUTCOMES
from interp.theme import colour, plain_text, styled

UNITS = {"choice": ("choice, nats", 1.0), "mass": ("mass, nats", 1.0), "metric": ("accuracy, points", 100.0)}
STRIP = 0.25  # half its height, in lines
LINE = 36


def contest_dots(
    sets: pd.DataFrame,
    *,
    outcome: str = "choice",
    group: str = "all tasks",
    positions: str = "all",
    ablation: str = "mean",
    title: str = "",
) -> go.Figure:
    """Class-sized sets removed in one way, a line an arm: the set that costs the choice most stands on top."""
    wanted = {
        "group": group,
        "positions": positions,
        "ablation": ablation,
        "share": CLASS,
        "overlap": KEPT,
        "dose": 1.0,
    }
    rows = sets
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    rows = rows.assign(line=rows["arm"].where(rows["role"] != NEGATIVE, NEGATIVE))
    tested = rows[(rows["role"] != CONTROL) & (rows["outcome"] == OUTCOMES[0])]
    order = list(tested.sort_values("drop", kind="stable")["line"])
    label, scale = UNITS[outcome]
    ticks = {"tickmode": "array", "tickvals": list(range(len(order))), "ticktext": [plain_text(name) for name in order]}
    zero = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": 0, "x1": 0, "layer": "below"}
    return styled(
        dots(rows[rows["outcome"] == outcome], order, scale),
        x=f"fall of {label}",
        title=title,
        height=140 + LINE * len(order),
        yaxis={**ticks, "showgrid": False, "automargin": True},
        shapes=[{**zero, "line": {"color": colour("muted"), "width": 1}}],
    )


def dots(rows: pd.DataFrame, order: list[str], scale: float) -> list[go.Scatter]:
    """The controls in strips, and the tested sets."""
    places = {name: place for place, name in enumerate(order)}
    controls, tested = rows[rows["role"] == CONTROL], rows[rows["role"] != CONTROL]
    count = int(controls.groupby("line")["draw"].nunique().max()) if len(controls) else 0
    strips = zip(controls["line"], controls["draw"], strict=True)
    return [
        go.Scatter(
            x=controls["drop"] * scale,
            y=[places[line] + STRIP * ((draw * 7 % 13) / 6 - 1) for line, draw in strips],
            mode="markers",
            name=f"matched controls ({count} each)",
            marker={"color": colour("grey"), "size": 5, "opacity": 0.5},
            hovertemplate="%{x:+.3f}<extra>control</extra>",
        ),
        go.Scatter(
            x=tested["drop"] * scale,
            y=[places[line] for line in tested["line"]],
            mode="markers",
            name="tested sets",
            marker={"color": colour("vermilion"), "size": 11, "symbol": "diamond"},
            customdata=tested["heads"],
            hovertemplate="%{x:+.3f}<br>%{customdata}<extra></extra>",
        ),
    ]
