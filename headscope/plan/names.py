"""The stages of a study in their order, and its numbers of shots, in a file that loads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headscope.plan.budget import Budget

STAGES = (
    "induction",
    "screen",
    "primary",
    "vectors",
    "contest",
    "importance",
    "knockout",
    "prune",
    "compare",
    "report",
)
DECIDING = ("induction", "screen", "primary")  # what answers the question; a budget that ends cuts the others
PRIMARY = "primary"  # the first stage behind the screen, and the first that is run on learnt tasks alone
TAIL = ("vectors", "contest", "importance", "knockout", "prune")  # the others, of which the last are cut first
ASKED = ("screen", "primary", "vectors", "contest")  # what a study without a screen has not
WITHOUT_TEXT = ("induction", "compare", "report")  # what a model without a tokenizer can have
CARRIED = ("importance", "knockout", "prune")  # planned for the tasks that passed the screen


def shots_of(names: tuple[str, ...], budget: Budget) -> tuple[int, ...]:
    """The budget's numbers of shots: the built-in probes have more."""
    from ablation.tasks.names import PROBES

    return budget.probe_shots if set(names) <= set(PROBES) else budget.shots
