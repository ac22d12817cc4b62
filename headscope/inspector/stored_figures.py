"""The figures of the run, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Input, Output, State

from headscope.figures.catalogue import CATALOGUE, Panel
from headscope.inspector.bench import Bench

if TYPE_CHECKING:
    from dash import Dash


def register(app: Dash, bench: Bench) -> None:
    asked = [Input("stored-choice", "data"), Input("version", "data"), State("tab", "data")]

    @app.callback(Output("fig-stored", "data"), *asked)
    def show_stored(choice: Any, version: Any, tab: Any) -> dict[str, Any] | None:
        with bench.work.of(tab):
            bench.work.say("drawing a stored figure")
            return stored_parts(bench, choice)


def stored_panels(bench: Bench) -> dict[str, list[Panel]]:
    """The figures that the run has data for; the mosaic is shown above."""
    stored = bench.stored
    if stored is None:
        return {}

    def listed() -> dict[str, list[Panel]]:
        panels = {entry.name: list(entry.panels(stored)) for entry in CATALOGUE if entry.name != "mosaic"}
        return {name: some for name, some in panels.items() if some}

    return bench.kept(("panels", bench.version), listed)


def chosen_panel(bench: Bench, choice: Any) -> tuple[str, int, list[Panel]] | None:
    """The figure and panel that were chosen, else the first."""
    panels = stored_panels(bench)
    if not panels:
        return None
    name, panel = choice if isinstance(choice, list) and len(choice) == 2 else ("", 0)
    if name not in panels:
        name, panel = next(iter(panels)), 0
    return name, panel if isinstance(panel, int) and 0 <= panel < len(panels[name]) else 0, panels[name]


def stored_parts(bench: Bench, choice: Any) -> dict[str, Any] | None:
    """The figure with what it is, its caption, and all that can be chosen: a page that is told less could mislabel."""
    chosen = chosen_panel(bench, choice)
    if chosen is None:
        return None
    name, index, panels = chosen
    names = [entry for entry in CATALOGUE if entry.name in stored_panels(bench)]
    caption = next(entry.caption for entry in names if entry.name == name)
    asked = choice if isinstance(choice, list) and len(choice) == 2 else [name, index]
    missing = "" if asked == [name, index] else "The run does not have the figure that was asked for. "
    figure = panels[index].draw()
    if figure.layout.showlegend is False:  # in the report, the panel beside it has the legend
        figure.update_layout(showlegend=True)
    return {
        "figure": figure.to_plotly_json(),
        "choice": [name, index],
        "asked": choice,
        "names": [[entry.name, entry.title] for entry in names],
        "panels": [panel.title for panel in panels],
        "caption": missing + caption,
    }
