"""The stages of a study in their order, in a file that loads nothing."""

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
TAIL = ("importance", "knockout", "prune")
