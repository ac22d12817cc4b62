"""Every head score of this package: where it is defined, its range, what it is compared with.

A test holds each score against its entry, and docs/scores.md has a row for each. When a definition changes, its version
rises: it stands in the score's provenance, and `versions()` in the manifest keeps rows of two versions apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from induction.null import ANOTHER_DISTANCE, N1, N1_OTHER, N2, N3, OTHER_ENTITY
from interp.errors import UsageError

Direction = Literal["more", "signed"]


@dataclass(frozen=True)
class Definition:
    """A score's entry.

    method: the section that defines it. call: the function that makes it. reads: on what. low, high: its range, None
    where there is no bound. direction: `more` of one thing, or `signed`: far below the null means the opposite.
    nulls: by their names, in order; none where nothing is claimed.
    """

    name: str
    variant: str
    method: str
    call: str
    reads: str
    low: int | None = 0
    high: int | None = 1
    direction: Direction = "more"
    nulls: tuple[str, ...] = ()
    version: int = 1


REPEATED, UNREPEATED, WEIGHTS = "repeated sequences", "unrepeated sequences", "weights"
NATURAL, NEEDLES, ENTITIES = "natural prompts", "needle prompts", "entity prompts"
SUMMED = "every row of attention was a number, and the last one of each sequence, layer and head summed as it must"
_PREFIX, _COPYING, _OV = "prefix_matching_score", "copying_score", "ov_copying_score"
_RETRIEVAL, _CONCEPT = "retrieval_score", "concept_score"
_CENTRED = 2  # 1 did not centre the unembedding
_SAME_QUERIES = 2  # 1 read its null at fewer of the early queries, which see few keys, than the score

DEFINITIONS = (
    Definition("prefix_matching", "", "2.1", _PREFIX, REPEATED, nulls=(N1, N2)),
    Definition("prefix_matching", "olsson", "2.1", _PREFIX, REPEATED, nulls=(N1, N2)),
    Definition("prefix_matching", "bansal_released", "2.1", _PREFIX, REPEATED),
    Definition("copying", "argmax", "2.2", _COPYING, UNREPEATED, nulls=(N3,)),
    Definition("copying", "attended", "2.2", _COPYING, UNREPEATED, nulls=(N3,)),
    Definition("copying", "successor", "2.2", _COPYING, REPEATED, nulls=(N1,)),
    Definition("copying", "signed", "2.2", _COPYING, REPEATED, None, None, "signed", (N1,)),
    Definition("copying", "signed_auc", "2.2", "induction_scores", REPEATED, -1, 1, "signed"),
    Definition("copying", "bansal_released", "2.2", _COPYING, UNREPEATED),
    Definition("ov_copying", "", "2.3", _OV, WEIGHTS, -1, 1, "signed", version=_CENTRED),
    Definition("ov_copying", "raw", "2.3", _OV, WEIGHTS, -1, 1, "signed", version=_CENTRED),
    Definition(
        "previous_token",
        "",
        "2.4",
        "previous_token_score",
        UNREPEATED,
        nulls=(ANOTHER_DISTANCE,),
        version=_SAME_QUERIES,
    ),
    Definition("duplicate_token", "", "2.4", "duplicate_token_score", REPEATED, nulls=(N1, N2)),
    Definition("sink", "", "2.9", "sink_score", REPEATED),
    Definition("sink", "natural", "2.9", "sink_score", NATURAL),
    Definition("retrieval", "", "2.10", _RETRIEVAL, NEEDLES, nulls=(N1_OTHER,)),
    Definition("retrieval", "soft", "2.10", _RETRIEVAL, NEEDLES, nulls=(N1_OTHER,)),
    Definition("retrieval", "right", "2.10", _RETRIEVAL, NEEDLES, nulls=(N1_OTHER,)),
    Definition("retrieval", "soft_right", "2.10", _RETRIEVAL, NEEDLES, nulls=(N1_OTHER,)),
    Definition("concept_induction", "", "2.11", _CONCEPT, ENTITIES, None, None, "more", (OTHER_ENTITY,)),
    Definition("concept_induction", "first_token", "2.11", _CONCEPT, ENTITIES, None, None, "more", (OTHER_ENTITY,)),
    Definition("token_induction", "", "2.11", _CONCEPT, ENTITIES, None, None, "more", (OTHER_ENTITY,)),
    Definition("token_induction", "second_token", "2.11", _CONCEPT, ENTITIES, None, None, "more", (OTHER_ENTITY,)),
)
"""Every head score of this package, in the order of the method."""


def definition(name: str, variant: str = "") -> Definition:
    """A score's entry; UsageError for one that is not of this package."""
    for entry in DEFINITIONS:
        if (entry.name, entry.variant) == (name, variant):
            return entry
    raise UsageError(f"there is no score {name!r} {variant!r} in the list of definitions")


def versions() -> dict[str, int]:
    """The scores whose definition has changed, and how often they were defined."""
    return {entry.name: entry.version for entry in DEFINITIONS if entry.version > 1}
