"""Attention of a head or a layer as CircuitsVis draws it: the one place that CircuitsVis is called from.

Its own objects ask a search engine's host whether there is a network before they are shown, then load their script from
a CDN, and put tokens into a script without escaping them. Here the script stands in the page, `<` can't end it, values
have three decimals, and a view holds a window of at most 64 tokens: more takes seconds to draw.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError
from interp.overflow import checked_attention
from interp.theme import colour
from interp.token_display import counted, shown, token_texts
from interp.tokenizing import Ids, ids_of

if TYPE_CHECKING:
    from interp.attention.rows import AttentionRows
    from interp.model import HookedModel

WINDOW = 64
# CircuitsVis draws for a light page, as wide as it may, and 15 pixels beyond its box.
PAPER = f"background: {colour('panel')}; color: {colour('ink')}; padding: 8px 18px; max-width: 760px"
PAGE = f"body {{ margin: 20px auto; font: 14px/1.5 system-ui, sans-serif; {PAPER} }}"
_CALL = "CircuitsVis.render("


@dataclass(frozen=True)
class Drawing:
    """What CircuitsVis needs on a page: an element to draw in, its script, and the call that draws."""

    element: str
    bundle: str
    call: str


@dataclass(frozen=True, eq=False, repr=False)
class AttentionView:
    """A window of one layer's attention; a notebook shows it by itself, without a network.

    tokens: the window's. patterns: rounded; the keys before the window are left out, so rows may sum to less than 1.
    names: one a head, as 18.6. start: the window's first position among `length` tokens.
    """

    tokens: tuple[str, ...]
    patterns: Float[np.ndarray, "head query key"]
    names: tuple[str, ...]
    start: int = 0
    length: int = 0

    @cached_property
    def drawing(self) -> Drawing:
        return draw(self.tokens, self.patterns, self.names)

    @property
    def caption(self) -> str:
        """Which tokens are shown, where that is not all of them."""
        if len(self.tokens) == self.length:
            return ""
        last = self.start + len(self.tokens) - 1
        return f"tokens {self.start} to {last} of {self.length}, counted from 0 in the drawing"

    def __repr__(self) -> str:
        return f"<attention of {', '.join(self.names)} on {counted(len(self.tokens), 'token')}>"

    def _repr_html_(self) -> str:
        drawn = draw(self.tokens, self.patterns, self.names)  # anew: two cells may show one view
        box = f'<div style="{PAPER}">{self._told}<div id="{drawn.element}"></div></div>'
        return f'{box}<script type="module">{drawn.bundle}\n{drawn.call}</script>'

    def page(self, *, title: str, style: str = PAGE) -> str:
        """A whole HTML page that requests nothing."""
        drawn = self.drawing
        script = f"{drawn.bundle}\n{drawn.call}"
        return document(f'{self._told}<div id="{drawn.element}"></div>', script, title=title, style=style)

    @property
    def _told(self) -> str:
        return f"<p>{html.escape(self.caption)}</p>" if self.caption else ""


def draw(tokens: tuple[str, ...], patterns: Float[np.ndarray, "head query key"], names: tuple[str, ...]) -> Drawing:
    """The safe CircuitsVis call.

    Raises UsageError for more than 64 tokens, shapes that do not fit together and values that are no finite numbers.
    """
    if patterns.shape != (len(names), len(tokens), len(tokens)):
        raise UsageError(f"{len(names)} heads and {len(tokens)} tokens do not fit patterns of shape {patterns.shape}")
    if len(tokens) > WINDOW:
        raise UsageError(f"a view holds at most {WINDOW} tokens, got {len(tokens)}: choose a window of the text")
    if not np.isfinite(patterns).all():
        raise UsageError("the patterns hold values that are no finite numbers: load the model with dtype float32")
    from circuitsvis.attention import attention_heads, attention_pattern

    values = np.round(patterns.astype(np.float64), 3)
    texts = [shown(token) for token in tokens]
    # The first position takes what a head does not need: colours are for what is paid to all others.
    highest = max(0.05, float(values[:, :, 1:].max(initial=0.0)))
    options: dict[str, Any] = {"tokens": texts, "max_value": highest, "min_value": 0.0, "mask_upper_tri": True}
    if len(names) == 1:
        made = attention_pattern(attention=values[0], show_axis_labels=True, **options)
    else:
        made = attention_heads(attention=values, attention_head_names=list(names), **options)
    return _taken_apart(made.local_src)


def _taken_apart(source: str) -> Drawing:
    """Script and call of CircuitsVis's HTML; the call is made safe to stand in a script element."""
    before, found, after = source.rpartition(_CALL)
    element = re.search(r'id="(circuits-vis-[0-9a-f-]+)"', before)
    _, opened, bundle = before.partition('<script crossorigin type="module">')
    arguments, closed, _ = after.rpartition("</script>")
    if not (found and element and opened and closed):
        raise UsageError("this version of circuitsvis makes other HTML than headscope knows: install circuitsvis 1.43")
    return Drawing(element[1], bundle.strip(), (found + arguments.strip()).replace("<", "\\u003c"))


def document(body: str, script: str, *, title: str, style: str = "") -> str:
    """A page on which this script alone may run, and that requests nothing; `body` must be escaped already."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{style}</style></head>"
        f'<body>{body}<script type="module">{script}</script></body></html>\n'
    )


def attention_view(
    model: HookedModel, text: str | Ids, layer: int, head: int | None = None, *, start: int = 0
) -> AttentionView:
    """A head's attention on a text, or that of all heads of a layer, from token `start` on, 64 tokens at most.

    text: or the ids of one sequence, which a model without a tokenizer can be given. Raises UsageError for a text
    without tokens or beyond the model's context, and for a layer, head or start that is not there.
    """
    heads = check_place(model, layer, head)
    ids = text_ids(model, text)
    if not 0 <= start < len(ids):
        raise UsageError(f"start must lie between 0 and {len(ids) - 1}, the text's tokens, got {start}")
    stop = min(len(ids), start + WINDOW)
    pattern = read_window(model, torch.tensor([ids]), layer, start, stop)[heads]
    names = tuple(f"{layer}.{number}" for number in heads)
    return AttentionView(token_texts(model.tokenizer, ids)[start:stop], pattern, names, start, len(ids))


def check_place(model: HookedModel, layer: int, head: int | None) -> list[int]:
    """The heads that are meant. Raises UsageError where there is no such layer or head."""
    if layer not in model.attention_layers:
        raise UsageError(
            f"layer {layer} has no attention heads; layers with heads: {', '.join(map(str, model.attention_layers))}"
        )
    if head is not None and not 0 <= head < model.n_heads:
        raise UsageError(f"head {layer}.{head} does not exist: each layer has heads 0-{model.n_heads - 1}")
    return list(range(model.n_heads)) if head is None else [head]


def text_ids(model: HookedModel, text: str | Ids) -> list[int]:
    """The text as the tokenizer reads it. Raises UsageError for none and for more tokens than the model's context."""
    ids = ids_of(model, text)
    if not ids:
        raise UsageError("there is nothing to attend to: give at least one token")
    if model.max_length is not None and len(ids) > model.max_length:
        raise UsageError(
            f"the text has {counted(len(ids), 'token')}, and the model's context is {model.max_length}: shorten it"
        )
    return ids


def read_window(
    model: HookedModel, tokens: Int[Tensor, "one position"], layer: int, start: int, stop: int
) -> Float[np.ndarray, "head query key"]:
    """Attention among the positions start..stop-1, every head of a layer.

    Raises HeadscopeError where a row is no finite number, before the window or in it.
    """
    found: list[np.ndarray] = []

    def keep(_: int, rows: AttentionRows) -> None:
        found.append(rows.block(start, stop)[0, :, :, start:stop].float().cpu().numpy())

    with torch.no_grad(), checked_attention(model, tokens, keep, layers=[layer]):
        model.run(tokens)
    return found[0]
