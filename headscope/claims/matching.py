"""Are the induction heads the important heads? (the paper's sections 6-7; METHODS 5)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from headscope.claims.evidence import Evidence
from headscope.comparison import sentences

KINDS = ("copying", "anti-copying", "matching only")


def induction_heads(evidence: Evidence) -> Iterator[str]:
    """How many there are, then every test, the primary one first."""
    classes = evidence.run.classes
    if len(classes):
        counts = Counter(classes["class"])
        total = sum(counts[kind] for kind in KINDS)
        yield (
            f"- {total} of {len(classes)} heads are induction heads (prefix matching of at least .4 and above both "
            f"nulls): {', '.join(f'{counts[kind]} {kind}' for kind in KINDS)}."
        )
    rows = evidence.comparisons
    for part in (sentences.primary, sentences.gains, sentences.sets, sentences.overlap_told, sentences.exploratory):
        yield from (f"- {sentence}" for sentence in part(rows))


def retained(evidence: Evidence) -> Iterator[str]:
    """What pruning leaves of each induction score (the paper's Figure 11)."""
    yield from (f"- {sentence}" for sentence in sentences.retention_told(evidence.comparisons))
