"""The Dash application: layout, callbacks, routes, policy."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from headscope.inspector.bench import Bench
from interp.errors import HeadscopeError

if TYPE_CHECKING:
    from dash import Dash

INDEX = """<!doctype html>
<html lang="en">
<head>
{%metas%}
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{%title%}</title>
<style>
STYLE
</style>
{%css%}
</head>
<body>
{%app_entry%}
<footer class="scripts"><script src="/shared.js"></script>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>
"""


def make_app(bench: Bench) -> Dash:
    """The application; start it with `serve`."""
    from dash import Dash

    from headscope.inspector import (
        arriving_scores,
        beside,
        browser,
        callback_requests,
        downloads,
        frame,
        layout,
        many_prompts,
        outcome,
        reading,
        security,
        selection,
        stored_figures,
        thumbnails,
        writers_panel,
        writing_on,
    )
    from headscope.report.page import style

    folder = files("headscope.inspector")
    own = folder.joinpath("inspector.css").read_text(encoding="utf-8")
    app = Dash(
        "headscope.inspector",
        assets_folder=str(folder.joinpath("assets")),
        title=escape(f"Attention heads of {bench.name}"),  # Dash puts it into the page as it is
        update_title="",
        index_string=INDEX.replace("STYLE", style(own)),
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
        suppress_callback_exceptions=bench.model is None,  # without a model some panels are not there
        on_error=failed,
        enable_mcp=False,
    )
    app.layout = lambda: layout.page(bench)
    own_parts = (
        browser,
        beside,
        arriving_scores,
        reading,
        selection,
        outcome,
        writing_on,
        writers_panel,
        many_prompts,
        thumbnails,
    )
    for part in (*own_parts, stored_figures, downloads):
        part.register(app, bench)
    frame.add_routes(app, bench)
    app.server.register_error_handler(HeadscopeError, told)
    security.secure(app)
    callback_requests.guard(app)
    return app


def told(error: Exception) -> tuple[str, int, dict[str, str]]:
    """What went wrong with a file while the page was open, as a sentence: no defect."""
    return str(error), 503, {"Content-Type": "text/plain; charset=utf-8"}


def failed(error: Exception) -> None:
    """A defect: the page says that there is one, the terminal what it is."""
    import traceback

    from dash import set_props

    traceback.print_exception(error)
    sentence = f"That failed, which is a defect of the inspector ({type(error).__name__}); the terminal says more."
    set_props("defect", {"children": sentence})
