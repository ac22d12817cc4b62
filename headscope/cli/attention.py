"""`headscope attention`: one head's or one layer's attention on a text, as a page or a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headscope.cli import options as opt


def attention(
    text: Annotated[str, typer.Option(help="The text to look at.")],
    layer: Annotated[int, typer.Option(help="Layer, counted from 0.")],
    model: opt.Model = "smollm2-135m",
    head: Annotated[int | None, typer.Option(help="Head, counted from 0; left out: every head of the layer.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="A .html page or a .png picture.")] = Path("attention.html"),
    png: Annotated[bool, typer.Option("--png", help="Write a picture beside the page.")] = False,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    revision: opt.Revision = None,
    trust_remote_code: opt.TrustRemoteCode = False,
    allow_pickle: opt.AllowPickle = False,
    wheel: opt.Wheel = None,
) -> None:
    """Write the attention of a head, or of all heads of a layer, on a text to a file that works offline.

    The page draws windows of 64 tokens. Pictures need kaleido and a Chrome or Chromium.
    """
    from headscope.report.attention_page import outputs, write_attention

    outputs(out, png=png)
    loaded = opt.load(
        model,
        device=device,
        dtype=dtype,
        revision=revision,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        wheel=wheel,
    )
    for path in write_attention(loaded, text, layer, head=head, out=out, png=png):
        print(path)
