"""The attention example as text small enough for a page: each head's bytes, compressed, decoded when they are shown.

Each head is deflated and written in base64 on its own, so that the page decodes one head when one is selected. Where
all heads together exceed the budget, those with the highest scores are kept; `heads` then lacks the others.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from typing import Any

from headscope.store.attention_example import AttentionExample, byte_patterns
from interp.token_display import label, shown

BUDGET = 2_000_000


def encoded_example(
    example: AttentionExample, order: Iterable[tuple[int, int]], *, budget: int = BUDGET
) -> dict[str, Any]:
    """Tokens as they are shown, scale, and `heads`: `layer.head` -> base64 of the deflated lower triangle, by rows.

    order: (layer, head), the most interesting first; heads are taken until `budget` characters are used.
    """
    heads: dict[str, str] = {}
    used = 0
    for layer, head in order:
        text = base64.b64encode(zlib.compress(byte_patterns(example.patterns, layer, head), 9)).decode()
        used += len(text)
        if used > budget:
            break
        heads[f"{layer}.{head}"] = text
    return {
        "tokens": [shown(token) for token in example.tokens],
        "labels": [label(position, token) for position, token in enumerate(example.tokens)],
        "scale": example.scale,
        "blocks": list(example.blocks),
        "heads": heads,
    }
