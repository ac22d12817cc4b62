"""How a removable share is told: 0 says no more than that already the first step tried was not shown to be harmless.

Where the documents could not exclude the loss even if no answer changed, a share of 0 by accuracy says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from headscope.claims.evidence import Evidence
from headscope.stages.pruning_together import ABOVE

SHARES = ("removable_metric", "removable_log_likelihood")
MARGIN = -0.02
UNDECIDED = "too few documents to decide"


def share(evidence: Evidence, kind: str, level: str, shots: int, order: str, *, task: str = ABOVE) -> str:
    """The removable share of a task, or of all above chance together, in words."""
    value = evidence.value(kind=kind, level=level, shots=shots, a=task, b=order)
    steps = evidence.steps(level, shots, order, task)
    return told(value, steps, undecided=kind == SHARES[0] and blind(evidence, level, shots, task))


def blind(evidence: Evidence, level: str, shots: int, task: str = ABOVE) -> bool:
    """Whether the documents are too few to exclude a loss of 2 points of accuracy even where no answer changes."""
    return evidence.value(kind="unchanged_bound", level=level, shots=shots, a=task) <= MARGIN


def told(value: float, steps: Sequence[int], *, undecided: bool = False) -> str:
    """steps: the percentages tried, without 0."""
    if not isfinite(value):
        return "not known"
    if steps and value < steps[0]:
        return UNDECIDED if undecided else f"less than {steps[0]}%, the first step tried"
    if value == 0:
        return UNDECIDED if undecided else "nothing at the steps tried"
    return f"{value:.0f}%, the last step tried" if steps and value >= steps[-1] else f"{value:.0f}%"


def brief(value: float, steps: Sequence[int], *, undecided: bool = False) -> str:
    """The same for a cell of a table."""
    if value >= steps[0]:
        return f"{value:.0f}%"
    return "undecided" if undecided else f"<{steps[0]}%"
