"""The pictures of the small models' page, from its tables: over training, head by head, over sizes."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from small_models_tables import DETAIL, NAMES, THRESHOLD, Tables, Z

from interp.theme import colour, styled

LAYER_COLOURS = {1: "grey", 2: "blue", 3: "green", 4: "purple"}
WIDTHS = {32: 1.0, 64: 2.0, 128: 3.5}
DASHES = ("solid", "dash", "dot", "dashdot")  # the heads of a layer
PART_COLOURS = ("grey", "vermilion", "blue", "green", "purple")  # the parts of the corpus
THIN = {"color": colour("muted"), "width": 1, "dash": "dot"}
WIDTH = 680


def pictures(tables: Tables) -> dict[str, go.Figure]:
    """By file name."""
    return {"training": over_training(tables), "heads": head_by_head(tables), "sizes": over_sizes(tables)}


def over_training(tables: Tables) -> go.Figure:
    """Six panels against the training step, a line a model."""
    panels: dict[str, tuple[str, str]] = {
        "prefix matching, strongest head": ("", "strongest"),
        "repeat score (nats)": ("", "repeat_score"),
        "loss on repeats (nats)": ("losses", "loss"),
        **{f"choice gain, {label} (nats)": (task, "gain") for task, label in NAMES.items()},
    }
    figure = make_subplots(rows=3, cols=2, subplot_titles=list(panels), horizontal_spacing=0.1, vertical_spacing=0.1)
    for place, (table, column) in enumerate(panels.values()):
        for name in tables.names:
            rows = repeats_loss(tables, name) if table == "losses" else tables.over_steps(name, table)
            trace = line(rows.index, rows[column], name, look(tables, name), legend=place == 0)
            figure.add_trace(trace, **cell(place))
    figure.add_hline(THRESHOLD, line=THIN, row=1, col=1)
    return laid_out(figure, "training step", height=900)


def head_by_head(tables: Tables) -> go.Figure:
    """One model: prefix matching and previous token of each head, and the losses of all parts."""
    titles = ["prefix matching", "previous token", "loss by part (nats)"]
    figure = make_subplots(rows=2, cols=2, subplot_titles=titles, horizontal_spacing=0.1, vertical_spacing=0.17)
    rows = tables.heads[tables.heads["model"] == DETAIL]
    for (layer, head), part in rows.sort_values("step").groupby(["layer", "head"]):
        role = {"color": colour("vermilion" if layer else "sky"), "dash": DASHES[int(head) % len(DASHES)]}
        for place, column in enumerate(("prefix_matching", "previous_token")):
            trace = line(part["step"], part[column], f"head {layer}.{head}", role, legend=place == 0)
            figure.add_trace(trace, **cell(place))
    losses = tables.losses[tables.losses["model"] == DETAIL]
    for place, (part_name, part) in enumerate(losses.groupby("part", sort=False)):
        role = {"color": colour(PART_COLOURS[place])}
        figure.add_trace(line(part["step"], part["loss"], str(part_name), role, legend=True), **cell(2))
    return laid_out(figure, "training step", height=700)


def over_sizes(tables: Tables) -> go.Figure:
    """The last checkpoints: prefix matching of every head, and the choice gains with 95% intervals, a row a model."""
    titles = ["prefix matching, every head", *(f"choice gain, {label} (nats)" for label in NAMES.values())]
    spacing: dict[str, Any] = {"horizontal_spacing": 0.04, "vertical_spacing": 0.15}
    figure = make_subplots(rows=2, cols=2, subplot_titles=titles, shared_yaxes=True, **spacing)
    for name in tables.names:
        last = tables.last(name)
        rows = tables.heads[(tables.heads["model"] == name) & (tables.heads["step"] == last.name)]
        marker = {"color": look(tables, name)["color"], "size": 8}
        scores = rows["prefix_matching"].astype(float)
        figure.add_trace(dots(scores, [name] * len(rows), marker), **cell(0))
        for place, task in enumerate(NAMES, start=1):
            row = tables.last(name, task)
            margin = {"array": [Z * float(row["gain_stderr"])], "color": marker["color"], "thickness": 1.5}
            figure.add_trace(dots([float(row["gain"])], [name], marker, error_x=margin), **cell(place))
    figure.add_vline(THRESHOLD, line=THIN, row=1, col=1)
    for place in range(1, 4):
        figure.add_vline(0, line={"color": colour("muted"), "width": 1}, **cell(place))
    figure.update_yaxes(categoryorder="array", categoryarray=tables.names[::-1])
    return laid_out(figure, "", height=150 + 56 * len(tables.names))


def cell(place: int) -> dict[str, int]:
    """Row and column of a panel; two stand side by side, so that letters are large enough on a phone."""
    return {"row": place // 2 + 1, "col": place % 2 + 1}


def dots(x: Any, y: list[str], marker: dict[str, Any], **options: Any) -> go.Scatter:
    return go.Scatter(x=x, y=y, mode="markers", marker=marker, showlegend=False, **options)


def repeats_loss(tables: Tables, model: str) -> pd.DataFrame:
    rows = tables.losses[(tables.losses["model"] == model) & (tables.losses["part"] == "repeats")]
    return rows.sort_values("step").set_index("step")


def look(tables: Tables, model: str) -> dict[str, Any]:
    """Colour by layers, dashes for GPT-2, thickness by width."""
    row = tables.models.set_index("model").loc[model]
    return {
        "color": colour(LAYER_COLOURS[int(row["layers"])]),
        "dash": "dash" if row["family"] == "gpt2" else "solid",
        "width": WIDTHS[int(row["width"])],
    }


def line(x: Any, y: Any, name: str, style: dict[str, Any], *, legend: bool) -> go.Scatter:
    return go.Scatter(
        x=list(x),
        y=[float(value) for value in y],
        name=name,
        mode="lines",
        line=style,
        legendgroup=name,
        showlegend=legend,
    )


def laid_out(figure: go.Figure, x: str, *, height: int) -> go.Figure:
    """In the house style."""
    house = styled([]).layout
    for axes, update in ((house.xaxis, figure.update_xaxes), (house.yaxis, figure.update_yaxes)):
        update(axes.to_plotly_json())
    figure.update_xaxes(title={"text": x, "font": {"size": 13}, "standoff": 4}, tickfont={"size": 13})
    figure.update_yaxes(title="", tickfont={"size": 13})
    figure.update_annotations(font={"size": 15})
    legend = {"orientation": "h", "y": -0.08, "yanchor": "top", "font": {"size": 13}}
    return figure.update_layout(
        template="none",
        font=house.font,
        paper_bgcolor=house.paper_bgcolor,
        plot_bgcolor=house.plot_bgcolor,
        height=height,
        legend=legend,
        margin={"l": 40, "r": 12, "t": 34, "b": 40},
    )
