"""How much can be removed (Method 4)."""

from __future__ import annotations

from collections.abc import Sequence

MARGIN = -0.02


def brief(value: float, steps: Sequence[int], *, undecided: bool = False) -> str:
    """A removable share as a cell of a table; steps: the percentages tried, without 0."""
    if value >= steps[0]:
        return f"{value:.0f}%"
    return "undecided" if undecided else f"<{steps[0]}%"
