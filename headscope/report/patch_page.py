"""`headscope patch`: a mosaic of effects as a page that works offline, or as a picture."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscope.report.pictures import write_pictures
from headscope.store.atomic import write_atomically
from interp.errors import UsageError
from interp.figure import by_layer, mosaic

if TYPE_CHECKING:
    import plotly.graph_objects as go

PICTURES = (".png", ".svg", ".pdf")


def check_output(out: Path) -> None:
    """Raises UsageError for another kind of file, and for a folder that is not there."""
    if out.suffix.lower() not in (".html", *PICTURES):
        raise UsageError(f"'{out}' must end in .html (a page) or in {', '.join(PICTURES)} (a picture)")
    if not out.parent.is_dir():
        raise UsageError(
            f"the folder '{out.parent}' of '{out}' does not exist: make it first, or choose another with -o"
        )


def write_effects(effects: Any, out: Path, *, title: str, lines: tuple[str, ...] = ()) -> Path:
    """Draw the effects of heads as a mosaic, of FFNs as bars; `lines` stand under the figure of a page."""
    target = out.with_suffix(out.suffix.lower())
    check_output(target)
    figure = drawn(effects, title=title)
    if target.suffix in PICTURES:
        write_pictures({target: figure})
    else:
        write_atomically(target, page(figure, title=title, lines=lines).encode("utf-8", "replace"))
    return target


def drawn(effects: Any, *, title: str) -> go.Figure:
    """The mosaic of heads, or a bar a layer for FFNs."""
    values = effects.mean.double().numpy()
    return mosaic(values, title=title, name="effect") if values.ndim == 2 else by_layer(values, title=title)


def page(figure: go.Figure, *, title: str, lines: tuple[str, ...]) -> str:
    """One file with plotly inside."""
    drawing = figure.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    told = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f"<body>{drawing}{told}</body></html>"
    )
