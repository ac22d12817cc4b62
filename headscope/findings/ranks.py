"""Are the induction heads the important heads? Two questions, a row each (Method 5).

Whether two rankings go together is answered by permutation, how sure a coefficient is by its interval: never in one
row.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from headscope.findings.evidence import Evidence
from headscope.findings.section import Section, Table
from headscope.findings.words import number, shots, span
from headscope.store.comparisons import Coefficient, Kind

TOGETHER, SURE = "do they go together?", "95% interval"
IMPORTANCE = ("importance/signed", "importance/token")
SAID = {"importance/signed": "signed importance", "importance/token": "token importance (the paper's)"}


def section(evidence: Evidence) -> Section | None:
    """None where no rankings were compared."""
    rows = list(compared(evidence))
    if not rows:
        return None
    names = tuple(f"prefix matching, {SAID[row.b]}" for row in rows)
    table = Table(("within layers", *names), ((TOGETHER, *map(together, rows)), (SURE, *map(sure, rows))))
    return Section(
        "ranks",
        "Are the induction heads the important heads?",
        table=table,
        note=(
            f"Mean over layers of Spearman's rho of two scores of the heads, at {shots(rows[0].shots)}; importance is "
            "the mean over tasks. p: by permutation within layers."
        ),
    )


def compared(evidence: Evidence) -> Iterator[Any]:
    """Prefix matching with each importance, at the most shots."""
    for importance in IMPORTANCE:
        rows = evidence.rows(
            kind=Kind.INDUCTION_IMPORTANCE, a="prefix_matching", b=importance, level=Coefficient.WITHIN_LAYER.value
        )
        if len(rows):
            yield next(rows.sort_values("shots", ascending=False).itertuples(index=False))


def together(row: Any) -> str:
    """`+0.41, p = 0.003`."""
    return f"{number(row.value, sign=True)}, p = {probability(row.p)}"


def sure(row: Any) -> str:
    return span(row.ci_low, row.ci_high) if isfinite(row.ci_low) else "too few documents for one"


def probability(p: float) -> str:
    if not isfinite(p):
        return "-"
    return "under 0.0001" if p < 0.0001 else number(p, 4 if p < 0.01 else 3)


def sentences(evidence: Evidence) -> Iterator[str]:
    """The table as lines, for a terminal."""
    found = section(evidence)
    if found is not None and found.table is not None:
        for place, name in enumerate(found.table.headings[1:], start=1):
            for row in found.table.rows:
                yield f"Within layers, {name}; {row[0]} {row[place]}."
