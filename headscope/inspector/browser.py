"""What happens in the browser alone (assets/*.js): the selection, the address, themes, the drawing of figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dash import ClientsideFunction, Input, Output, State

from headscope.inspector.bench import Bench
from headscope.inspector.widgets import outputs

if TYPE_CHECKING:
    from dash import Dash


# From elements that Python made.
FILLED = ("next", "changes", "learning", "line-next", "line-learning", "brief-next", "brief-learning")


def register(app: Dash, bench: Bench) -> None:
    def script(name: str, *arguments: Output | Input | State, first: bool = True) -> None:
        app.clientside_callback(ClientsideFunction("headscope", name), *arguments, prevent_initial_call=not first)

    script("boot", Output("booted", "data"), Input("defaults", "data"), Input("version", "data"))
    for letter in ("a", "b"):
        script(
            f"mosaic_{letter}",
            Output(f"mosaic-{letter}", "figure"),
            Input("pair", "data"),
            Input("scored", "data"),
            Input("theme", "data"),
            Input("removal", "data"),
        )
    for letter in ("beside", "change") if bench.beside is not None else ():
        script(
            f"mosaic_{letter}",
            Output(f"mosaic-{letter}", "figure"),
            Input("pair", "data"),
            Input("beside-made", "data"),
            Input("theme", "data"),
            first=False,
        )
        clicked = f"mosaic-{letter}"
        script(f"picked_{letter}", Output(clicked, "clickData"), Input(clicked, "clickData"), first=False)
    script(
        "clicked",
        *outputs("mosaic-a.clickData", "mosaic-b.clickData", "attention.clickData"),
        Input("mosaic-a", "clickData"),
        Input("mosaic-b", "clickData"),
        Input("attention", "clickData"),
        first=False,
    )
    script(
        "attention",
        Output("attention", "figure"),
        Input("selected", "data"),
        Input("theme", "data"),
        Input("query", "data"),
        Input("width", "data"),
    )
    script("stored", Output("stored", "figure"), Input("fig-stored", "data"), Input("theme", "data"))
    script(
        "strip",
        Output("strip", "title"),
        Input("reading", "data"),
        Input("strip-row", "data"),
        Input("theme", "data"),
        first=False,
    )
    script("refused", Output("prompt-problem", "title"), Input("refused", "data"), first=False)
    script("notSaved", Output("download-problem", "title"), Input("download-problem", "children"), first=False)
    script("grid", Output("grid", "title"), Input("made-grid", "data"), Input("theme", "data"), first=False)
    script("copies", Output("copies", "title"), Input("made-copies", "data"), first=False)
    for name in FILLED if bench.model is not None else ():
        script("fill", Output(name, "title"), Input(f"made-{name}", "data"), first=False)
    if bench.model is not None:
        script("loss", Output("loss", "figure"), Input("fig-loss", "data"), Input("theme", "data"))
        for name, panel in (("writers", "written"), ("patch", "patch")):
            mosaic = f"mosaic-{panel}"
            removed = Input("removal", "data")
            script(
                name,
                Output(mosaic, "figure"),
                Input(f"made-{name}", "data"),
                Input("theme", "data"),
                removed,
                first=False,
            )
            script("picked", Output(mosaic, "clickData"), Input(mosaic, "clickData"), first=False)
        for name in ("parts", "lens"):
            script(name, Output(name, "figure"), Input("made-writers", "data"), Input("theme", "data"), first=False)
        script("average", Output("average", "title"), Input("made-average", "data"), first=False)
        script("written", Output("written", "title"), Input("made-written", "data"), first=False)
        script("listed", Output("removal-problem", "children"), Input("list-answer", "data"), first=False)
