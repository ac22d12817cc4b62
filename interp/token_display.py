"""How a token is shown, on every page, in every figure and in a notebook: the one place that decides it.

1. From ids to texts (`token_texts`): a character spread over several tokens stands at the last of them.
2. From a text to one that shows (`shown`): characters without a shape of their own get one, so that none can hide,
   break a line or reorder others.
3. At an axis, a token stands behind its position, which makes equal tokens differ, cut where it is long (`label`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

LONGEST = 14  # characters of a token at an axis
_CONTROL = re.compile("[\x00-\x1f]")
_INVISIBLE = re.compile("[\x7f-\x9f\xad\u200b-\u200f\u061c\u2028-\u202e\u2060-\u2069\ufeff]")


def token_texts(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """Each token as text: numbers, where a model has no tokenizer."""
    if tokenizer is None:
        return tuple(str(token) for token in ids)
    texts: list[str] = []
    first = 0
    for last in range(len(ids)):
        together = _decode(tokenizer, ids[first : last + 1])
        whole = not together.endswith("\ufffd")
        if whole or last + 1 - first == 4:
            texts.append(together if last == first or whole else _decode(tokenizer, ids[last : last + 1]))
            first = last + 1
        else:
            texts.append("\ufffd")
    return tuple(texts)


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def shown(token: str) -> str:
    """A token as text that shows; a space where it has no text."""
    text = token.replace("\r\n", "⏎").replace("\n", "⏎").replace("\t", "⇥")
    return visible(_CONTROL.sub(lambda match: chr(0x2400 + ord(match[0])), text)) or " "


def visible(text: str) -> str:
    """A text, with its line breaks, in which characters that hide or reorder others stand as their code points."""
    return _INVISIBLE.sub(lambda match: f"U+{ord(match[0]):04X}", text)


def counted(number: int, noun: str) -> str:
    """`1 token`, `1,024 tokens`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def label(position: int, token: str) -> str:
    """`12 ridge`: a token at an axis."""
    text = shown(token)
    return f"{position} {text if len(text) <= LONGEST else f'{text[: LONGEST - 1]}…'}"
