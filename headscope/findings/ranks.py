"""Are the induction heads the important heads? Two questions, a row each (Method 5).

Whether two rankings go together is answered by permutation, how sure a coefficient is by its interval: never in one
row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from headscope.findings.evidence import Evidence
from headscope.findings.section import Section, Table
from headscope.findings.words import number, span
from headscope.store.comparisons import Coefficient, Kind
from headscope.store.names import AGGREGATE

TOGETHER, SURE = "do they go together?", "95% interval"
T = "induction heads' place (T)"
IMPORTANCE = (("importance/signed/choice", "importance/signed"), ("importance/token",))  # of each the first there is
SAID = {
    "importance/signed/choice": "importance to choice",
    "importance/signed": "signed importance",
    "importance/token": "token importance (the paper's)",
}
EXACT = {"knock_out_mean/choice": "replaced by mean", "knock_out/choice": "replaced by zero"}


def section(evidence: Evidence) -> Section | None:
    """None where no rankings were compared."""
    columns = dict(compared(evidence))
    if not columns:
        return None
    rows = ((TOGETHER, *map(together, columns.values())), (SURE, *map(sure, columns.values())))
    return Section(
        "ranks",
        "Are the induction heads the important heads?",
        tuple(checked(evidence)),
        Table(("within layers", *columns), rows),
        note=" ".join(meaning(evidence, columns)),
    )


def compared(evidence: Evidence) -> Iterator[tuple[str, Any]]:
    """T, and prefix matching with importance, each at the most shots."""
    within = Coefficient.WITHIN_LAYER.value
    classed = evidence.rows(kind=Kind.CLASS_RANK, level=within).sort_values("shots")
    if len(classed):
        yield T, list(classed.itertuples(index=False))[-1]
    for names in IMPORTANCE:
        for importance in names:
            rows = evidence.rows(kind=Kind.INDUCTION_IMPORTANCE, a="prefix_matching", b=importance, level=within)
            if len(rows):
                found = list(rows.sort_values("shots").itertuples(index=False))[-1]
                yield f"prefix matching, {SAID[importance]}", found
                break


def meaning(evidence: Evidence, columns: Mapping[str, Any]) -> Iterator[str]:
    """What the columns are."""
    if T in columns:
        row = columns[T]
        least = evidence.beside(Kind.CLASS_RANK_DETECTABLE, row)
        found = f"; one of {number(least.value)} would be found by 80% of tests" if least is not None else ""
        yield (
            f"T: mean place of the {row.n} {row.a} in their layers, from \N{MINUS SIGN}1 to 1, by what removing a head "
            f"costs the choice{found}."
        )
    if set(columns) - {T}:
        yield "Prefix matching: mean over layers of Spearman's rho, descriptive."
    yield "p: by permutation within layers."


def checked(evidence: Evidence) -> Iterator[str]:
    """How far the first-order importance is what removing a head costs."""
    rows = evidence.rows(
        kind=Kind.KNOCK_OUT_SPEARMAN, a=AGGREGATE, b="importance/signed/choice", level=list(EXACT)
    ).sort_values("shots")
    for row in list(rows.itertuples(index=False))[-1:]:
        signs = evidence.beside(Kind.KNOCK_OUT_SIGNS, row)
        same = f", one sign for {signs.value:.0%}" if signs is not None else ""
        yield (
            f"First-order importance to choice beside exact knock-outs of {row.n} heads, {EXACT[row.level]}: "
            f"Spearman's rho {number(row.value)}{same}."
        )


def together(row: Any) -> str:
    """`+0.41, p = 0.003, Holm 0.03`."""
    holm = f", Holm {probability(row.p_holm)}" if isfinite(row.p_holm) else ""
    return f"{number(row.value, sign=True)}, p = {probability(row.p)}{holm}"


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
        yield from found.sentences
        for place, name in enumerate(found.table.headings[1:], start=1):
            for row in found.table.rows:
                yield f"Within layers, {name}; {row[0].removesuffix('?')}: {row[place]}."
