"""`headscope attention`: one head's or one layer's attention on a text, as a page or a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headscope.cli import help as panels
from headscope.cli import options as opt
from headscope.cli.kinds import path, whole
from headscope.cli.kinds import text as text_option


@opt.loading(without=("offload_folder",))
def attention(
    loading: opt.Loading,
    text: Annotated[str, text_option("--text", help="The text to look at.", metavar="<text>")],
    layer: Annotated[int, whole("--layer", help="Layer, counted from 0.")],
    model: opt.Model = opt.DEFAULT_MODEL,
    head: Annotated[
        int | None, whole("--head", help="Head, counted from 0; left out: every head of the layer.")
    ] = None,
    out: Annotated[
        Path, path("-o", "--out", help="A .html page, or a .png, .svg or .pdf picture.", panel=panels.OUTPUT)
    ] = Path("attention.html"),
    png: Annotated[
        bool, typer.Option("--png", help="Write a picture beside the page.", rich_help_panel=panels.OUTPUT)
    ] = False,
) -> None:
    """Draw what a head, or each head of a layer, looks at in a text.

    The file works offline. The page draws windows of 64 tokens. Pictures need kaleido and a Chrome or Chromium.

    \b
      headscope attention --text "When Mary and John went" --layer 18 --head 6
      headscope attention gpt2 --text "a b c a b" --layer 5 -o layer.html
      headscope attention --text "a b c a b" --layer 18 --head 6 -o head.svg
    """
    from headscope.report.attention_page import outputs, write_attention

    outputs(out, png=png)
    loaded = opt.load(model, **loading)
    for written in write_attention(loaded, text, layer, head=head, out=out, png=png):
        print(written)
