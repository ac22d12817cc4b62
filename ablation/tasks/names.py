"""Which tasks there are, what a list of names on the command line means, and the words for how prompts are made.

Method 6. Nothing heavy is loaded, so that a wrong name is refused at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from interp.errors import UsageError

ICL14 = (
    "hellaswag",
    "piqa",
    "arc_easy",
    "arc_challenge",
    "openbookqa",
    "winogrande",
    "boolq",
    "cb",
    "copa",
    "wic",
    "wsc",
    "multirc",
    "rte",
    "record",
)
EXTRACTIVE, ABSTRACTIVE = "extractive", "abstractive"
# Does the answer stand in the query, or has it to be known? (Some abstractive ones have a rule `unchanged`.)
PROBE_KINDS = {
    "probe_pattern": EXTRACTIVE,
    "probe_labels": ABSTRACTIVE,
    "probe_capitals": ABSTRACTIVE,
    "probe_antonyms": ABSTRACTIVE,
    "probe_plurals": ABSTRACTIVE,
    "probe_past_tense": ABSTRACTIVE,
    "probe_french": ABSTRACTIVE,
    "probe_letter_case": ABSTRACTIVE,
    "probe_list_position": EXTRACTIVE,
    "probe_list_category": EXTRACTIVE,
    "probe_details": EXTRACTIVE,
    "probe_lookup": EXTRACTIVE,
    "probe_odd_one_out": EXTRACTIVE,
    "probe_roles": EXTRACTIVE,
}
PROBES = tuple(PROBE_KINDS)
GROUPS = {"icl14": ICL14, "probes": PROBES}
# In front of a name: the harness's own task, even where one of the 14 has the same name.
STOCK_PREFIX = "lm_eval:"

DEMOS = ("document", "fixed")  # sampler.py
BOS = ("auto", "always", "never")  # tokens.py
LABELS = ("true", "shuffled")  # rendering.py


def own_case(name: str) -> str:
    """The name as the project writes it, where it is one of its tasks or groups."""
    lower = name.lower()
    return lower if is_own(lower) or lower in GROUPS else name


def is_own(name: str) -> bool:
    """Whether the task is one of the project's own: the 14, or a probe."""
    return name in ICL14 or name in PROBES


def unknown_task(name: str, known: Iterable[str]) -> UsageError:
    """The error for a name nobody knows: it tells the nearest names first, the project's own before the harness's."""
    own = get_close_matches(name, [*ICL14, *PROBES, *GROUPS], n=3, cutoff=0.5)
    near = list(dict.fromkeys([*own, *get_close_matches(name, list(known), n=4, cutoff=0.6)]))[:5]
    hint = f"Nearest names: {', '.join(near)}." if near else f"The project's own: {', '.join([*GROUPS, *ICL14])}."
    return UsageError(f"There is no task {name!r}, neither here nor in lm-evaluation-harness. {hint}")
