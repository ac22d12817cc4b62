"""The stages of a study in their order, in a file that loads nothing."""

STAGES = (
    "induction",
    "screen",
    "vectors",
    "primary",
    "contest",
    "importance",
    "knockout",
    "prune",
    "compare",
    "causal",
    "report",
)
