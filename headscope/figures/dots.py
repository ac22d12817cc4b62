"""The dot plot: what the tasks lose without a set of heads, beside what they lose without its controls (Method 5).

One row of plots an outcome, one line a tested set: a diamond with its 95% interval, under it a strip with a point for
every control set and a bar from their 5th to their 95th percentile. Where single controls are not known the bar stands
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from headscope.store.comparisons import OUTCOMES, CausalLevel, Kind
from headscope.store.snapshot import chosen
from interp.theme import colour, plain_text, styled

# outcome: (words on the axis, factor)
UNITS = {"choice": ("choice, nats", 1.0), "mass": ("mass, nats", 1.0), "metric": ("accuracy, points", 100.0)}
# way of removing: words
WAYS = {"mean": "mean", "zero": "zero", "mean/last": "mean, last position", "mean/later": "mean, but the first"}
LINE, GAP = 36, 62  # pixels: a line of a plot, and what lies between plots
TOP, BOTTOM = 40, 112  # pixels: the title; the last axis and the legend
STRIP = 0.27  # how far below its diamond a strip lies, in lines
BAND = (0.05, 0.95)


@dataclass(frozen=True)
class Dot:
    """A tested set beside its controls, of one outcome.

    controls: the drop without each control set. band: 5th and 95th percentile, where single controls are not known.
    """

    name: str
    value: float
    interval: tuple[float, float]
    controls: tuple[float, ...]
    outcome: str
    band: tuple[float, float] = (nan, nan)

    @property
    def reach(self) -> tuple[float, float]:
        """Between which drops nine of ten controls lie."""
        if not self.controls:
            return self.band
        low, high = np.quantile(self.controls, BAND)
        return float(low), float(high)


def dots_of(comparisons: pd.DataFrame) -> list[Dot]:
    """The primary's tested set, every outcome that pages tell and way of removing it."""
    drops = chosen(comparisons, kind=Kind.PRIMARY_DROP)
    parsed = [(CausalLevel.parse(text), text) for text in drops["level"]]
    levels = [(level, text) for level, text in parsed if level.outcome in OUTCOMES]
    order = sorted(levels, key=lambda level: (_place(UNITS, level[0].outcome), _place(WAYS, level[0].ablation)))
    return [
        _dot(chosen(comparisons, level=text), level, next(chosen(drops, level=text).itertuples(index=False)))
        for level, text in order
    ]


def _dot(rows: pd.DataFrame, level: CausalLevel, drop: Any) -> Dot:
    controls = chosen(rows, kind=Kind.PRIMARY_CONTROL, a=drop.a)["value"]
    band = next(chosen(rows, kind=Kind.PRIMARY_CONTROLS, a=drop.a).itertuples(index=False), None)
    ends = (nan, nan) if band is None else (band.ci_low, band.ci_high)
    name = WAYS.get(level.ablation, level.ablation)
    return Dot(name, drop.value, (drop.ci_low, drop.ci_high), tuple(controls), level.outcome, ends)


def _place(names: Mapping[str, Any], name: str) -> int:
    return list(names).index(name) if name in names else len(names)


def dot_plot(dots: Sequence[Dot], *, title: str = "", x: str = "drop") -> go.Figure:
    """Tested sets against their controls; outcomes and, within one, sets stand in the order in which they are given."""
    outcomes = list(dict.fromkeys(dot.outcome for dot in dots))
    lines = {outcome: [dot for dot in dots if dot.outcome == outcome] for outcome in outcomes}
    inside = sum(LINE * len(part) for part in lines.values()) + GAP * (len(lines) - 1)
    traces: list[go.Scatter] = []
    axes: dict[str, Any] = {}
    top = inside
    for place, (outcome, part) in enumerate(lines.items()):
        number = "" if place == 0 else str(place + 1)
        words, factor = UNITS.get(outcome, (outcome, 1.0))
        bottom = top - LINE * len(part)
        axes |= _axes(number, part, f"{x} of {words}", (bottom / inside, top / inside))
        traces += _traces(part, factor, number, legend=place == 0)
        top = bottom - GAP
    over = TOP if title else 16
    margin = {"l": 8, "r": 12, "t": over, "b": BOTTOM}
    return styled(traces, title=title, height=inside + over + BOTTOM, margin=margin, **axes)


def _axes(number: str, part: Sequence[Dot], title: str, domain: tuple[float, float]) -> dict[str, Any]:
    """A plot for itself: its sets downwards, a line at nought."""
    look = styled([], x=title).layout
    shared = {**look.xaxis.to_plotly_json(), "zeroline": True, "zerolinewidth": 1, "zerolinecolor": colour("muted")}
    ticks = {"tickvals": list(range(len(part))), "ticktext": [plain_text(dot.name) for dot in part]}
    return {
        f"xaxis{number}": {**shared, "anchor": f"y{number}"},
        f"yaxis{number}": {
            **look.yaxis.to_plotly_json(),
            **ticks,
            "range": [len(part) - 0.4, -0.5],
            "domain": domain,
            "anchor": f"x{number}",
            "showgrid": False,
            "ticks": "",
        },
    }


def _traces(part: Sequence[Dot], factor: float, number: str, *, legend: bool) -> Iterator[go.Scatter]:
    axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
    most = max(len(dot.controls) for dot in part)
    name = f"{most} control sets" if most else "control sets"
    for line, dot in enumerate(part):
        low, high = (factor * end for end in dot.reach)
        if isfinite(low):
            yield go.Scatter(
                x=[low, high],
                y=[line + STRIP] * 2,
                mode="lines",
                line={"color": colour("band_grey"), "width": 9},
                name="5th to 95th percentile",
                legendgroup="band",
                showlegend=legend and line == 0,
                hovertemplate="%{x:+.2f}<extra>5th and 95th percentile</extra>",
                **axes,
            )
    controls = [(factor * value, line + STRIP) for line, dot in enumerate(part) for value in dot.controls]
    if controls:
        x, y = zip(*controls, strict=True)
        look = {"color": colour("grey"), "size": 5, "opacity": 0.55}
        yield go.Scatter(
            x=x,
            y=y,
            mode="markers",
            marker=look,
            name=name,
            legendgroup="controls",
            showlegend=legend,
            hovertemplate="%{x:+.2f}<extra>control set</extra>",
            **axes,
        )
    values = [factor * dot.value for dot in part]
    yield go.Scatter(
        x=values,
        y=list(range(len(part))),
        error_x=_reach(part, factor),
        mode="markers",
        marker={"color": colour("vermilion"), "size": 11, "symbol": "diamond"},
        name="tested set, 95% interval",
        legendgroup="tested",
        showlegend=legend,
        hovertemplate="%{x:+.2f}<extra>%{text}</extra>",
        text=[plain_text(dot.name) for dot in part],
        **axes,
    )


def _reach(part: Sequence[Dot], factor: float) -> dict[str, Any]:
    """The interval's arms; none where there is no interval."""
    arms = np.nan_to_num([[dot.interval[1] - dot.value, dot.value - dot.interval[0]] for dot in part]) * factor
    look = {"color": colour("vermilion"), "thickness": 2, "width": 0}
    return {"type": "data", "symmetric": False, "array": arms[:, 0], "arrayminus": arms[:, 1], **look}
