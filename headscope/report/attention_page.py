"""`headscope attention`: a head's or a layer's attention on a text as a page that works offline, or as a picture.

The page draws with CircuitsVis, in windows of 64 tokens, each when it is chosen. The picture is plotly's: pixels, or
the lines and letters of an SVG or PDF file.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from headscope.store.atomic import write_atomically
from interp import view
from interp.errors import HeadscopeError, UsageError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from interp.attention.rows import AttentionRows
    from interp.model import HookedModel

PICTURES = (".png", ".svg", ".pdf")
STEP = 48  # windows of 64 overlap by a quarter, so that what crosses an edge of one is inside another
LIMIT = 1024
STYLE = """
body { margin: 0 auto; max-width: 1100px; padding: 28px 32px 48px; background: var(--paper); color: var(--ink);
  font: 16px/1.55 var(--serif); overflow-wrap: anywhere; }
h1 { font-size: 30px; font-weight: 500; line-height: 1.2; margin: 14px 0 8px; }
p, label { font: 14px/1.6 var(--sans); color: var(--muted); margin: 0 0 12px; }
blockquote { margin: 0 0 16px; padding-left: 14px; border-left: 3px solid var(--rule); white-space: pre-wrap;
  max-width: 80ch; max-height: 12em; overflow: auto; }
select { font: 13px/1.4 var(--sans); color: var(--ink); background: var(--panel); border: 1px solid var(--rule);
  border-radius: 5px; padding: 4px 9px; }
.kicker { font: 600 13px/1 var(--sans); letter-spacing: .04em; }
.drawing { background: #fff; color: #1c1b19; border-radius: 6px; padding: 8px 16px; overflow-x: auto; }
:root[data-theme=dark] .drawing { filter: invert(.92) hue-rotate(180deg); }
@media (prefers-color-scheme: dark) { .drawing { filter: invert(.92) hue-rotate(180deg); } }
@media (max-width: 759px) { body { padding: 16px; } }
"""
SCRIPT = """
const boxes = [...document.querySelectorAll(".drawing")], drawn = new Set(), choice = document.querySelector("select");
function show(place) {
  boxes.forEach((box, at) => { box.hidden = at !== place; });
  if (!drawn.has(place)) { drawn.add(place); windows[place](); }
}
if (choice) choice.addEventListener("change", () => show(Number(choice.value)));
show(0);
"""


@dataclass(frozen=True)
class Attention:
    """One layer's attention on a text, or one head's; patterns [head query key] of the whole text."""

    model: str
    text: str
    tokens: tuple[str, ...]
    names: tuple[str, ...]
    patterns: Float[np.ndarray, "head query key"]

    @property
    def title(self) -> str:
        what = f"head {self.names[0]}" if len(self.names) == 1 else f"layer {self.names[0].partition('.')[0]}"
        return f"Attention of {what}"


def write_attention(
    model: HookedModel, text: str, layer: int, *, head: int | None = None, out: Path, png: bool = False
) -> list[Path]:
    """Write the page, the picture, or both, and say where they are.

    Raises UsageError for an output that is neither a page nor a picture, a layer or head that is not there, and a text
    that is empty or too long.
    """
    targets = outputs(Path(out), png=png)
    read = read_attention(model, text, layer, head)
    for target in targets:
        if target.suffix in PICTURES:
            write_picture(picture(read), target)
        else:
            write_atomically(target, page(read).encode("utf-8", "replace"))
    return targets


def outputs(out: Path, *, png: bool) -> list[Path]:
    """The files to write. Raises UsageError for another kind of file and for a folder that is not there."""
    if out.suffix.lower() not in (".html", *PICTURES):
        raise UsageError(f"'{out}' must end in .html (a page) or in {', '.join(PICTURES)} (a picture)")
    if not out.parent.is_dir():
        raise UsageError(
            f"the folder '{out.parent}' of '{out}' does not exist: make it first, or choose another with -o"
        )
    wanted = [out.with_suffix(out.suffix.lower())]
    return [*wanted, out.with_suffix(".png")] if png and wanted[0].suffix == ".html" else wanted


def read_attention(model: HookedModel, text: str, layer: int, head: int | None) -> Attention:
    """One forward pass."""
    heads = view.check_place(model, layer, head)
    ids = view.text_ids(model, text)
    if len(ids) > LIMIT:
        raise UsageError(
            f"the text has {len(ids)} tokens; a page or picture of attention holds at most {LIMIT}: shorten it"
        )
    patterns: list[np.ndarray] = []

    def keep(_: int, rows: AttentionRows) -> None:
        patterns.append(rows.block(0, len(ids))[0, heads].float().cpu().numpy())

    with torch.no_grad(), model.watch_attention(keep, layers=[layer]):
        model.run(torch.tensor([ids]))
    name = str(model.provenance.get("source") or model.layout.architecture)
    names = tuple(f"{layer}.{number}" for number in heads)
    return Attention(name, text, view.token_texts(model.tokenizer, ids), names, patterns[0])


def page(read: Attention) -> str:
    """The whole file as text."""
    from headscope.report.page import variables

    starts = window_starts(len(read.tokens))
    drawings = [window(read, start).drawing for start in starts]
    calls = ",\n".join(f"() => {{ {drawing.call} }}" for drawing in drawings)
    script = f"{drawings[0].bundle}\nconst windows = [{calls}];\n{SCRIPT}"
    boxes = "".join(f'<div class="drawing" hidden><div id="{drawing.element}"></div></div>' for drawing in drawings)
    body = (
        f'<p class="kicker">headscope</p><h1>{html.escape(read.title)} of <bdi>{html.escape(read.model)}</bdi></h1>'
        f"<p>{len(read.tokens)} tokens. Colour saturates at the highest attention paid to a position other than the "
        f"first.</p><blockquote><bdi>{html.escape(view.visible(read.text))}</bdi></blockquote>"
        f"{_choice(read, starts)}{boxes}"
    )
    return view.document(body, script, title=f"{read.title} of {read.model}", style=variables() + STYLE)


def window_starts(length: int) -> list[int]:
    """First positions of the windows that cover a text."""
    last = max(0, length - view.WINDOW)
    return [*range(0, last, STEP), last]


def window(read: Attention, start: int) -> view.AttentionView:
    stop = min(len(read.tokens), start + view.WINDOW)
    return view.AttentionView(
        read.tokens[start:stop], read.patterns[:, start:stop, start:stop], read.names, start, len(read.tokens)
    )


def _choice(read: Attention, starts: list[int]) -> str:
    if len(starts) == 1:
        return ""
    options = "".join(
        f'<option value="{at}">{start} to {min(len(read.tokens), start + view.WINDOW) - 1}</option>'
        for at, start in enumerate(starts)
    )
    return f"<p><label>Tokens <select>{options}</select></label>; in a drawing the first of them is number 0.</p>"


def picture(read: Attention) -> go.Figure:
    """The heat map of a head, or a small one for every head of a layer."""
    from headscope.figures.attention_map import attention_map, attention_maps

    title = f"{read.title} of {read.model}"
    if len(read.names) > 1:
        return attention_maps(read.patterns, read.names, title=title)
    figure = attention_map(read.patterns[0], read.tokens, title=title, height=900)
    return figure.update_layout(title={"pad": {"t": 16, "l": 16}}, margin={"l": 72, "t": 56, "r": 24})


def write_picture(figure: go.Figure, path: Path, **size: Any) -> None:
    """Write a figure through kaleido, which needs a Chrome or Chromium on the machine.

    Raises UsageError where kaleido is not installed, HeadscopeError where its browser can't be started.
    """
    try:
        import kaleido
    except ImportError as error:
        raise UsageError("pictures need kaleido: pip install 'headscope[images]', or write a .html page") from error
    width = size.get("width", 960)
    try:
        kaleido.write_fig_sync(figure, path=str(path), opts={"scale": 2, "width": width}, kopts={"mathjax": False})
    except Exception as error:  # whatever the browser, or the way to it, fails with
        reason = next(iter(str(error).splitlines()), "no reason given")
        raise HeadscopeError(
            f"'{path}' could not be drawn ({type(error).__name__}: {reason}). "
            "Pictures need Chrome or Chromium (BROWSER_PATH names one); a .html page needs neither."
        ) from error
