"""Routes beside the page: the scripts it shares with the report, the scores, CircuitsVis in a sandbox of its own."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dash import Input, State, no_update
from flask import Response, request

from headscope.inspector import security
from headscope.inspector.asked import asked_head, asked_removal, whole
from headscope.inspector.bench import Bench
from headscope.inspector.reading import seen
from headscope.inspector.widgets import outputs
from headscope.report.page import shared_script
from interp import view
from interp.errors import HeadscopeError, UsageError
from interp.theme import SANS, colour

if TYPE_CHECKING:
    from dash import Dash

OFF = "Off. A drawing takes a second or two; it then answers to the mouse by itself."
# CircuitsVis draws for a light page, and the inspector inverts the frame in the dark theme.
STYLE = (
    f"body {{ margin: 8px 12px 8px 22px; background: {colour('panel')}; color: {colour('ink')}; "
    f"font: 14px/1.4 {SANS}; }}"
)


def add_routes(app: Dash, bench: Bench) -> None:
    server: Any = app.server

    def attention(key: str, layer: int, head: str) -> Response:
        try:
            drawn = drawing(bench, key, layer, head, request.args)
            body, status = drawn.page(title="Attention", style=STYLE), 200
        except HeadscopeError as error:
            body, status = f"<!doctype html><style>{STYLE}</style><p>{html.escape(str(error))}</p>", 404
        headers = {"Content-Security-Policy": security.FRAME, "Cache-Control": "no-store"}
        return Response(body.encode("utf-8", "replace"), status, headers, mimetype="text/html")

    def scores(version: int) -> Response:
        body = json.dumps(bench.scores.data(), allow_nan=False)
        return Response(body, headers={"Cache-Control": "no-store"}, mimetype="application/json")

    def shared() -> Response:
        return Response(shared_script(), headers={"Cache-Control": "no-cache"}, mimetype="text/javascript")

    server.add_url_rule("/shared.js", "shared", shared)
    server.add_url_rule("/scores/<int:version>.json", "scores", scores)
    server.add_url_rule("/attention/<key>/<int:layer>/<head>", "attention", attention)
    register(app, bench)


def register(app: Dash, bench: Bench) -> None:
    filled = outputs("frame.src", "frame.hidden", "vis-note.children", "frame-saves.hidden")

    @app.callback(*filled, Input("drawing", "data"), State("tab", "data"))
    def draw(asked: Any, tab: Any) -> list[Any]:
        """The page asks when something is to be drawn, so that a selection does without this while nothing is."""
        if not asked:
            return [no_update, True, OFF, True]
        return frame_parts(bench, asked, tab)


def frame_parts(bench: Bench, asked: Mapping[str, Any], tab: Any) -> list[Any]:
    """The frame's address, once the prompt has been read."""
    vis, after = asked.get("vis") or {}, asked.get("after")
    try:
        layer, head = asked_head(asked.get("head"), bench.scores.layers, bench.scores.heads)
        with bench.work.of(tab):
            length = len(seen(bench, asked, after).tokens.texts)
        start = whole(vis.get("start", 0), "window", 0, 1 << 20)
    except HeadscopeError as error:
        return [no_update, True, str(error), True]
    which = str(head) if vis.get("kind") == "head" else "all"
    removed = f"&without={address_of(after)}" if after else ""
    last = min(length, start + view.WINDOW) - 1
    part = f" Tokens {start} to {last} of {length}, counted from 0 in the drawing." if length > view.WINDOW else ""
    what = f"Head {layer}.{head}" if which != "all" else f"The {bench.scores.heads} heads of layer {layer}"
    what += " after removal" if after else ""
    return [f"/attention/{asked.get('key')}/{layer}/{which}?start={start}{removed}", False, f"{what}.{part}", False]


def address_of(after: Any) -> str:
    """A removal as part of an address: heads, FFNs, ablation."""
    heads = "_".join(f"{layer}.{head}" for layer, head in after.get("heads", []))
    return f"{heads}~{'_'.join(str(layer) for layer in after.get('ffns', []))}~{after.get('ablation', 'zero')}"


def removal_of(text: str) -> dict[str, Any]:
    """The removal of `address_of`."""
    heads, ffns, ablation = [*text.split("~"), "", "zero"][:3] if text else ("", "", "zero")
    return {
        "heads": [part.split(".") for part in heads.split("_") if part],
        "ffns": [n for n in ffns.split("_") if n],
        "ablation": ablation,
    }


def drawing(bench: Bench, key: str, layer: int, head: str, arguments: Any) -> view.AttentionView:
    """The view that an address asks for. Raises UsageError where its prompt is no longer held."""
    scores = bench.scores
    prompt = bench.asked_before(key)
    if prompt is None:
        raise UsageError("This prompt is no longer held: choose what to draw again.")
    chosen = None if head == "all" else asked_head((layer, head), scores.layers, scores.heads)[1]
    asked_head((layer, 0), scores.layers, scores.heads)
    removal = asked_removal(removal_of(arguments.get("without", "")), scores.layers, scores.heads)
    attention = bench.attention(prompt, removal)
    texts = attention.tokens.texts
    start = min(whole(arguments.get("start", "0"), "window", 0, 1 << 20), max(0, len(texts) - 1))
    stop = min(len(texts), start + view.WINDOW)
    patterns = attention.window(layer, start, stop)
    names = [which for which in range(scores.heads) if chosen is None or which == chosen]
    return view.AttentionView(
        texts[start:stop], patterns[names], tuple(f"{layer}.{which}" for which in names), start, len(texts)
    )
