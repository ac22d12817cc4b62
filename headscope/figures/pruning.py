"""Pruning curves: a metric against the share of heads or FFNs removed, in tested orders and in controls (Method 4).

1. Mean over the documents is what `metrics` holds; the mean over tasks and demonstration seeds is taken here.
2. An order that was drawn many times (random, layer-matched) is its median and the band from its 5th to 95th percentile
   over the draws of each step; any other order is one line.
Left out: the standard error of a mean over tasks, which the rows do not determine.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from headscope.figures.style import band
from interp.theme import colour, plain_text, styled

LOOK: dict[str, tuple[str, str, str]] = {
    # order: (label, colour, dash)
    "own": ("own ranking", "blue", "solid"),
    "aggregate": ("aggregate ranking", "green", "solid"),
    "signed": ("signed ranking", "purple", "dash"),
    "signed_choice": ("signed ranking by choice", "purple", "solid"),
    "iterative": ("re-scored each step", "blue", "dash"),
    "inverse": ("most important first", "vermilion", "dot"),
    "even": ("own ranking, evenly over layers", "green", "dash"),
    "random": ("random", "grey", "solid"),
    "layer_matched": ("layer-matched random", "ochre", "solid"),
}
BANDS = {"random": "band_grey", "layer_matched": "band_ochre"}
METRICS = {
    "acc": "accuracy",
    "choice": "choice, nats",
    "mass": "mass, nats",
    "choice_gain": "gain of choice, nats",
    "em": "exact match",
}
SHARE = {"head": "percent_heads", "kv_group": "percent_heads", "ffn": "percent_ffns"}


def pruning_curves(
    rows: pd.DataFrame, *, component: str, title: str = "", legend: bool = True, height: int = 420
) -> go.Figure:
    """Rows of `metrics` of one metric, number of shots and component (a key of SHARE); tasks are averaged."""
    share = SHARE[component]
    traces: list[go.Scatter] = []
    for order in [*LOOK, *sorted(set(rows["order"]) - set(LOOK))]:
        part = rows[rows["order"] == order]
        if order in LOOK and len(part):
            draws = curves_by_draw(part, share)
            traces += _with_band(order, draws) if order in BANDS else [_line(order, draws.mean(axis=1))]
    transferred = rows[~rows["order"].isin(list(LOOK))]
    if len(transferred):
        draws = curves_by_draw(transferred.assign(order_seed=0), share)
        traces.append(_line("transfer", draws.mean(axis=1), ("other tasks' rankings, mean", "sky", "dashdot")))
    names = {"head": "heads removed, %", "kv_group": "key-value groups removed, %", "ffn": "FFNs removed, %"}
    return styled(
        traces,
        x=names[component],
        y=metric_label(str(rows["metric"].iloc[0])),
        title=title,
        height=height,
        showlegend=legend,
        hovermode="x unified",
        xaxis={"dtick": 20},
        yaxis={"automargin": False},  # with both, a long legend in a narrow column moves the margins without end
    )


def metric_label(name: str) -> str:
    """A metric in words."""
    return METRICS.get(name, name.replace("_", " "))


def curves_by_draw(rows: pd.DataFrame, share: str) -> pd.DataFrame:
    """One row a percentage, one column a draw of the order: mean over demonstration seeds, then over tasks."""
    by_task = rows.groupby([share, "order_seed", "task"])["value"].mean()
    complete = by_task.unstack("task").dropna()  # A mean over other tasks at other percentages would bend the curve.
    return complete.mean(axis=1).unstack("order_seed").sort_index()


def _line(order: str, values: pd.Series, look: tuple[str, str, str] | None = None) -> go.Scatter:
    label, role, dash = look or LOOK[order]
    return go.Scatter(
        x=list(values.index),
        y=values.to_numpy(),
        name=plain_text(label),
        mode="lines+markers",
        legendgroup=order,
        line={"color": colour(role), "width": 2, "dash": dash},
        marker={"size": 5},
        hovertemplate="%{y:.4f}",
    )


def _with_band(order: str, draws: pd.DataFrame) -> list[go.Scatter]:
    label, role, _ = LOOK[order]
    line = _line(order, draws.median(axis=1), (f"{label} ({_draws_told(draws)})", role, "solid"))
    if draws.shape[1] < 2:
        return [line]
    low, high = (draws.quantile(q, axis=1).tolist() for q in (0.05, 0.95))
    return [band(list(draws.index), low, high, name=label, fill=BANDS[order], group=order), line]


def _draws_told(draws: pd.DataFrame) -> str:
    """`20 draws`, or `3 to 20 draws` where steps have unlike numbers of them."""
    counts = draws.notna().sum(axis=1)
    low, high = int(counts.min()), int(counts.max())
    return f"{low} to {high} draws" if low < high else f"{high} draws"
