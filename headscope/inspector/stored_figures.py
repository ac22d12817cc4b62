"""The figures of the run, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Input, Output, html

from headscope.figures.catalogue import CATALOGUE, Panel
from headscope.inspector.bench import Bench

if TYPE_CHECKING:
    from dash import Dash


def register(app: Dash, bench: Bench) -> None:
    @app.callback(Output("stored-name", "children"), Output("stored-panel-section", "hidden"), Input("version", "data"))
    def list_figures(version: Any) -> list[Any]:
        found = stored_panels(bench)
        return [[html.Option(entry.title, value=entry.name) for entry in CATALOGUE if entry.name in found], not found]

    chosen = [Output("fig-stored", "data"), Output("stored-caption", "children"), Output("stored-panel", "children")]

    @app.callback(*chosen, Input("stored-choice", "data"), Input("version", "data"))
    def show_stored(choice: Any, version: Any) -> list[Any]:
        return stored_parts(bench, choice)


def stored_panels(bench: Bench) -> dict[str, list[Panel]]:
    """The figures that the run has data for; the mosaic is shown above."""
    stored = bench.stored
    if stored is None:
        return {}
    found = {entry.name: list(entry.panels(stored)) for entry in CATALOGUE if entry.name != "mosaic"}
    return {name: panels for name, panels in found.items() if panels}


def chosen_panel(bench: Bench, choice: Any) -> tuple[str, int, list[Panel]] | None:
    """The figure and panel that were chosen, else the first."""
    found = stored_panels(bench)
    if not found:
        return None
    name, panel = choice if isinstance(choice, list) and len(choice) == 2 else ("", 0)
    name = name if name in found else next(iter(found))
    return name, panel if isinstance(panel, int) and 0 <= panel < len(found[name]) else 0, found[name]


def stored_parts(bench: Bench, choice: Any) -> list[Any]:
    """Figure, caption, and the panels to choose from."""
    chosen = chosen_panel(bench, choice)
    if chosen is None:
        return [None, "", []]
    name, place, panels = chosen
    caption = next(entry.caption for entry in CATALOGUE if entry.name == name)
    options = [html.Option(panel.title, value=str(at)) for at, panel in enumerate(panels)]
    return [{"figure": panels[place].draw().to_plotly_json()}, caption, options]
