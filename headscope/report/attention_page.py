"""`headscope attention`: a head's or a layer's attention on a text as a page that works offline, or as a picture.

The page draws with CircuitsVis, in windows of 64 tokens, each when it is chosen. The picture is plotly's: pixels, or
the lines and letters of an SVG or PDF file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from headscope.report.pictures import PICTURES, check_output, write_pictures
from headscope.store.atomic import sweep, write_atomically
from interp import view
from interp.errors import UsageError
from interp.token_display import token_texts, visible

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from interp.model import HookedModel

STEP = 48  # windows of 64 overlap by a quarter, so that what crosses an edge of one is inside another
LIMIT = 1024


@dataclass(frozen=True)
class AttentionOfText:
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
    sweep(targets[0].parent)
    read = read_attention(model, text, layer, head)
    for target in targets:
        if target.suffix in PICTURES:
            write_pictures({target: picture(read)})
        else:
            write_atomically(target, page(read).encode("utf-8", "replace"))
    return targets


def outputs(out: Path, *, png: bool) -> list[Path]:
    """The files to write. Raises UsageError for another kind of file and for a folder that is not there."""
    check_output(out)
    wanted = [out.with_suffix(out.suffix.lower())]
    return [*wanted, out.with_suffix(".png")] if png and wanted[0].suffix == ".html" else wanted


def read_attention(model: HookedModel, text: str, layer: int, head: int | None) -> AttentionOfText:
    """One forward pass."""
    heads = view.check_place(model, layer, head)
    ids = view.text_ids(model, text)
    if len(ids) > LIMIT:
        raise UsageError(
            f"the text has {len(ids)} tokens; a page or picture of attention holds at most {LIMIT}: shorten it"
        )
    patterns = view.read_window(model, torch.tensor([ids]), layer, 0, len(ids))[heads]
    source = str(model.provenance.get("source") or model.layout.architecture)
    names = tuple(f"{layer}.{which}" for which in heads)
    return AttentionOfText(source, text, token_texts(model.tokenizer, ids), names, patterns)


def page(read: AttentionOfText) -> str:
    """The whole file as text."""
    from headscope.report.page import page as rendered
    from headscope.report.page import static

    windows = [window(read, start) for start in window_starts(len(read.tokens))]
    calls = ",\n".join(f"() => {{ {part.drawing.call} }}" for part in windows)
    script = f"{windows[0].drawing.bundle}\nconst windows = [{calls}];\n{static('windows.js')}"
    return rendered(
        "attention",
        scripts=[script],
        module=True,
        title=f"{read.title} of {read.model}",
        read=read,
        text=visible(read.text),
        windows=windows,
    )


def window_starts(length: int) -> list[int]:
    """First positions of the windows that cover a text."""
    last = max(0, length - view.WINDOW)
    return [*range(0, last, STEP), last]


def window(read: AttentionOfText, start: int) -> view.AttentionView:
    stop = min(len(read.tokens), start + view.WINDOW)
    return view.AttentionView(
        read.tokens[start:stop], read.patterns[:, start:stop, start:stop], read.names, start, len(read.tokens)
    )


def picture(read: AttentionOfText) -> go.Figure:
    """The heat map of a head, or a small one for every head of a layer."""
    from headscope.figures.attention_map import attention_map, attention_maps

    title = f"{read.title} of {read.model}"
    if len(read.names) > 1:
        return attention_maps(read.patterns, read.names, title=title)
    figure = attention_map(read.patterns[0], read.tokens, title=title, height=900)
    return figure.update_layout(title={"pad": {"t": 16, "l": 16}}, margin={"l": 72, "t": 56, "r": 24})
