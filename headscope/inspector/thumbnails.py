"""All heads on one text: each head's attention as a small picture, made by the largest value of each block of cells.

The largest, not the mean: a stripe of single cells, which is what an induction head looks like, would fade in a mean.
Values go to the page as bytes, by their square root as the tokens' shades do.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import html
from jaxtyping import Float, UInt8

from headscope.inspector.bench import Bench
from headscope.inspector.passes import Attention, PromptPass
from headscope.inspector.questions import answering
from headscope.inspector.reading import seen
from headscope.inspector.widgets import segments
from interp.errors import UsageError

if TYPE_CHECKING:
    from dash import Dash

SIDE = 32  # cells of a picture's side, at most
LONGEST = 512  # tokens: all patterns of a layer are there at once


def panel(bench: Bench) -> html.Section:
    return html.Section(
        [
            html.H2("All heads on this prompt"),
            html.Div(segments("grid", "Pictures of all heads", (("off", "Off"), ("on", "On"))), className="filters"),
            html.P(id="grid-note", className="note"),
            html.Div(id="grid"),
        ],
        id="grid-panel",
        hidden=not bench.lookable,
    )


def register(app: Dash, bench: Bench) -> None:
    answering(app, bench, "grid-asked", "grid", grid_parts)


def grid_parts(bench: Bench, asked: Any) -> dict[str, Any]:
    """Bytes of every layer, heads one after another, rows of SIDE cells at most."""
    after = asked.get("removal") or {}
    attention = seen(bench, asked, after if after.get("heads") or after.get("ffns") else None)
    length = len(attention.tokens.texts)
    if length > LONGEST:
        raise UsageError(f"Pictures of all heads are drawn for up to {LONGEST} tokens; this prompt has {length}.")
    layers = {
        layer: pictures(attention.window(layer, 0, length)) for layer in layers_of(attention, bench.scores.layers)
    }
    listed = [[layer, base64.b64encode(made.tobytes()).decode()] for layer, made in layers.items()]
    side = next(iter(layers.values())).shape[-1] if layers else 0
    note = (
        "Queries downwards, keys across, without the first key; the strongest colour is 1, by the square root. "
        "Click one to select it."
    )
    cells = -(-length // side) if side else 1
    more = f" Each cell is the largest of {cells} x {cells} tokens." if cells > 1 else ""
    return {"layers": listed, "side": side, "note": note + more}


def layers_of(attention: Attention, layers: int) -> list[int]:
    """Those that have attention heads."""
    return sorted(attention.rows) if isinstance(attention, PromptPass) else list(range(layers))


def pictures(patterns: Float[np.ndarray, "head query key"]) -> UInt8[np.ndarray, "head side side"]:
    """Blocks of cells by their largest value; keys after the query and the first key, which takes the rest, are 0."""
    heads, length, _ = patterns.shape
    block = max(1, -(-length // SIDE))
    side = -(-length // block)
    padded = np.zeros((heads, side * block, side * block), dtype=np.float32)
    padded[:, :length, :length] = np.tril(patterns)
    if length > 1:
        padded[:, :, 0] = 0
    largest = padded.reshape(heads, side, block, side, block).max((2, 4))
    return np.round(255 * np.sqrt(largest.clip(0, 1))).astype(np.uint8)
