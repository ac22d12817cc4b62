"""The causal check: in-context learning after removing induction heads and after removing controls (Method 5).

The outcome of a set is what the k examples were worth to the whole model, less what they are worth without the heads:
positive = the heads were needed. Every control set is a point; the tested set's rank p = (1 + #) / (N + 1), # the
controls that cost at least as much. Tasks are averaged set by set.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from ablation.statistics import rank_p_value
from headscope.figures.style import colour, level_line, plain_text, styled

TESTED = "induction"
CONTROLS = {
    # kind: (label, colour, shift beside the tested set)
    "random": ("random sets", "grey", -0.22),
    "layer_matched": ("layer-matched sets", "ochre", 0.0),
    "norm_matched": ("layer- and norm-matched sets", "sky", 0.22),
}


def removal(rows: pd.DataFrame, *, title: str = "", y: str = "drop of (k-shot minus 0-shot)") -> go.Figure:
    """One row a set and task: tested, kind, draw, removed, drop; of one outcome, ablation and number of shots."""
    drops = mean_drops(rows)
    sizes = drops[drops["kind"] == TESTED].groupby("tested")["removed"].max().sort_values(kind="stable")
    place = {name: index for index, name in enumerate(sizes.index)}
    traces = [
        _control(part, place, look) for kind, look in CONTROLS.items() if len(part := drops[drops["kind"] == kind])
    ]
    labels = [f"{plain_text(str(name))}<br>{size} {'head' if size == 1 else 'heads'}" for name, size in sizes.items()]
    ticks = {"tickmode": "array", "tickvals": list(range(len(sizes))), "ticktext": labels}
    return styled(
        [*traces, _tested(drops, place)],
        y=y,
        title=title,
        height=420,
        xaxis={**ticks, "showgrid": False, "range": [-0.6, len(sizes) - 0.4]},
        shapes=[level_line()],
    )


def mean_drops(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a set: its drop, averaged over tasks (sets that some task lacks are left out)."""
    key = ["tested", "kind", "draw", "removed"]
    return rows.groupby([*key, "task"])["drop"].mean().unstack("task").dropna().mean(axis=1).reset_index(name="drop")


def rank_p(drops: pd.DataFrame, tested: str, kind: str) -> tuple[float, int]:
    """The tested set's rank p against one kind of control, and how many controls there are."""
    part = drops[drops["tested"] == tested]
    own = part[part["kind"] == TESTED]["drop"].max()
    controls = part[part["kind"] == kind]["drop"]
    return rank_p_value(float(own), controls.to_numpy()).p if len(controls) else float("nan"), len(controls)


def _control(part: pd.DataFrame, place: dict[str, int], look: tuple[str, str, float]) -> go.Scatter:
    label, role, shift = look
    count = part.groupby("tested")["draw"].nunique().max()
    return go.Scatter(
        x=[place[name] + shift for name in part["tested"]],
        y=part["drop"],
        mode="markers",
        name=f"{label} ({count})",
        marker={"color": colour(role), "size": 5, "opacity": 0.6},
        hovertemplate="%{y:+.4f}",
    )


def _tested(drops: pd.DataFrame, place: dict[str, int]) -> go.Scatter:
    tested = drops[drops["kind"] == TESTED]
    told = []
    for name in tested["tested"]:
        ranks = [(look[0], *rank_p(drops, name, kind)) for kind, look in CONTROLS.items()]
        told.append("".join(f"<br>p = {p:.3f} against {count} {label}" for label, p, count in ranks if count))
    return go.Scatter(
        x=[place[name] for name in tested["tested"]],
        y=tested["drop"],
        mode="markers",
        name="induction heads",
        marker={"color": colour("vermilion"), "size": 12, "symbol": "diamond"},
        customdata=told,
        hovertemplate="%{y:+.4f}%{customdata}<extra>induction heads</extra>",
    )
