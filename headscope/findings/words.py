"""Numbers, names and lists as sentences write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from interp.embedded import EMBEDDED
from interp.token_display import counted, visible

MINUS = "\N{MINUS SIGN}"
PREFIX = "probe_"
PROPER = {"french": "French"}
NAMED = 15  # things that a sentence names one by one
SHOWN_HASH = 12  # characters of a hash


def number(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """`0.75`, `+3.0`, with a true minus sign; a dash where there is no number, and no signed nought."""
    if not isfinite(value):
        return "-"
    rounded = round(float(value), digits) + 0.0
    return format(rounded, f"{'+' if sign and rounded else ''}.{digits}f").replace("-", MINUS)


def span(low: float, high: float, digits: int = 2) -> str:
    """`0.40 to 0.86`."""
    return f"{number(low, digits)} to {number(high, digits)}"


def estimate(value: float, low: float, high: float, *, digits: int = 2, sign: bool = False, unit: str = "") -> str:
    """`+0.63 nats (0.40 to 0.86)`; without the interval where there is none."""
    told = f"{number(value, digits, sign=sign)}{f' {unit}' if unit else ''}"
    return f"{told} ({span(low, high, digits)})" if isfinite(low) and isfinite(high) else told


def none_is(heads: int) -> str:
    """`None of its 270 heads is`, before what a head could have been."""
    return "Its only head is not" if heads == 1 else f"None of its {heads} heads is"


def unlike_signs(first: float, second: float, *, digits: int = 2) -> bool:
    """Whether one lies above 0 and the other below, as they are shown: what rounds to 0 has no sign."""
    return round(float(first), digits) * round(float(second), digits) < 0


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """`a, b and c`; of many the first, and how many more there are."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([*([", ".join(names[:-1])] if names[:-1] else []), *names[-1:]])


def documents(count: float, *, pooled: bool = True) -> str:
    """How many documents would decide; rounded up to two digits, since it is an estimate. pooled: over all tasks."""
    if not isfinite(count):
        return "no number of documents would decide"
    size = 10 ** max(0, len(str(int(count))) - 2)
    rounded = -(-int(count) // size) * size
    return f"about {counted(rounded, 'document')}{' over all tasks' if pooled else ''} would decide"


def task_name(name: str) -> str:
    """`letter case` for `probe_letter_case`; other tasks by the name that one types."""
    if not name.startswith(PREFIX):
        return visible(name)
    bare = name.removeprefix(PREFIX).replace("_", " ")
    return PROPER.get(bare, visible(bare))


def shots(count: Any) -> str:
    return f"{count} shot" if count == 1 else f"{count} shots"


def model_name(identity: Mapping[str, Any]) -> str:
    """What its authors call the model, and the precision of its weights where they were quantised."""
    source = str(identity["source"])
    name = EMBEDDED[source].name if source in EMBEDDED else source
    precision = str(identity.get("quantization") or "").partition(",")[0]
    return f"{name}, {precision}" if precision else name
