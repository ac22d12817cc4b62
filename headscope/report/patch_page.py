"""`headscope patch`: a mosaic of effects as a page that works offline, or as a picture.

The page has the prompts, the mosaic (bars a layer for FFNs), the strongest effects as a table, and, where the method
gives each head a part at every position and parts of heads add up (attribution, integrated gradients, direct), a map of
layers by positions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from headscope.report.page import page, plots_scripts, safe_json
from headscope.report.pictures import PICTURES, check_output, write_pictures
from headscope.store.atomic import sweep, write_atomically
from interp.figure import by_layer, mosaic, step
from interp.theme import bare, colour_bar, for_scripts, heat, plain_text, styled
from interp.token_display import label, visible

if TYPE_CHECKING:
    import plotly.graph_objects as go

EVERY = 40  # positions up to which each has its label
SUMS = "Each cell is the sum over a layer's heads at one token. "
CAPTIONS = {
    "direct": SUMS + "What they write at a token goes to the prediction after that token; the mosaic has the last one.",
    "estimate": SUMS + "The cells of a row add up to what the layer's heads do at all of these tokens.",
}


def write_effects(
    effects: Any,
    out: Path,
    *,
    title: str,
    model: str,
    prompts: Mapping[str, str] | None = None,
    lines: Sequence[str] = (),
    rows: Sequence[Mapping[str, Any]] = (),
    positions: Sequence[tuple[int, str]] = (),
) -> Path:
    """Draw the effects of heads as a mosaic, of FFNs as bars.

    For a page: prompts: what was asked, by name. lines: sentences on the result. rows: the strongest, `component` and
    `effect`. positions: of `effects.by_position`, each with its token.
    """
    target = out.with_suffix(out.suffix.lower())
    check_output(target)
    sweep(target.parent)
    if target.suffix in PICTURES:
        write_pictures({target: drawn(effects, title=f"{title}, {model}")})
        return target
    figures, sums = [drawn(effects, title="")], by_position(effects)
    if sums is not None:
        figures.append(positions_map(sums, positions))
    caption = CAPTIONS["direct" if effects.variant.startswith("direct/") else "estimate"]
    told: dict[str, Any] = {"title": title, "model": model, "prompts": prompts or {}, "lines": lines, "rows": rows}
    written = patch_page(figures, **told, caption=caption)
    write_atomically(target, written.encode("utf-8", "replace"))
    return target


def drawn(effects: Any, *, title: str) -> go.Figure:
    """The mosaic of heads, or a bar a layer for FFNs."""
    values = effects.mean.double().numpy()
    return mosaic(values, title=title, name="effect") if values.ndim == 2 else by_layer(values, title=title)


def by_position(effects: Any) -> Float[np.ndarray, "layer position"] | None:
    """What a layer's heads do together at each position; None where positions have no parts of their own."""
    parts = effects.by_position
    if parts is None or parts.dim() != 3 or len(parts) < 2:
        return None
    sums = parts.double().nansum(-1).masked_fill(parts.isnan().all(-1), float("nan"))
    found: Float[np.ndarray, "layer position"] = sums.T.numpy()
    return found


def positions_map(sums: Float[np.ndarray, "layer position"], positions: Sequence[tuple[int, str]]) -> go.Figure:
    """Layers downwards, tokens across."""
    import plotly.graph_objects as go

    names = [plain_text(label(position, token)) for position, token in positions]
    hover = "layer %{y}, token %{x}<br>all heads %{z:.4f}<extra></extra>"
    cells = go.Heatmap(
        z=sums, x=names, xgap=1, ygap=1, hoverongaps=False, colorbar=colour_bar(), hovertemplate=hover, **heat(sums)
    )
    across = bare(type="category", tickangle=-90, tickfont={"size": 10}, dtick=1 if len(names) <= EVERY else None)
    layers = len(sums)
    return styled(
        [cells],
        x="token",
        y="layer",
        height=max(300, min(900, 170 + 18 * layers)),
        xaxis=across,
        yaxis=bare(dtick=step(layers), autorange="reversed"),
    )


def patch_page(
    figures: Sequence[go.Figure],
    *,
    title: str,
    model: str,
    prompts: Mapping[str, str],
    lines: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    caption: str,
) -> str:
    """The whole file as text."""
    parts = [json.loads(figure.to_json()) for figure in figures]
    return page(
        "patch",
        scripts=plots_scripts(),
        title=title[:1].upper() + title[1:],
        model=model,
        prompts={name: visible(text) for name, text in prompts.items()},
        lines=list(map(sentence, lines)),
        rows=rows,
        caption=caption,
        figures=parts,
        bars=parts[0]["data"][0]["type"] == "bar",
        data=safe_json({"theme": for_scripts(), "figures": parts}),
    )


def sentence(line: str) -> str:
    """A line of the terminal as it stands on a page."""
    return re.sub(r"-(?=\d)", "\N{MINUS SIGN}", f"{line[:1].upper()}{line[1:]}.")
