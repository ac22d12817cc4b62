"""Are the induction heads the important heads? Two questions, a row each (Method 5).

Whether two rankings go together is answered by permutation, how sure a coefficient is by its interval: never in one
row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from headscope.findings.evidence import CHOICE, Evidence
from headscope.findings.section import PageTable, Section
from headscope.findings.words import counted, number, span
from headscope.store.comparisons import Coefficient, Kind, ScoreName
from headscope.store.names import AGGREGATE
from headscope.store.scores import IMPORTANCE, KNOCK_OUT

TOGETHER, SURE = "do they go together?", "95% interval"
T = "induction heads' place (T)"
PREFIX = "prefix_matching"
TO_CHOICE, SIGNED, TOKEN = (str(ScoreName(IMPORTANCE, variant)) for variant in (f"signed/{CHOICE}", "signed", "token"))
RANKINGS = ((TO_CHOICE, SIGNED), (TOKEN,))  # of each the first there is
SAID = {TO_CHOICE: "importance to choice", SIGNED: "signed importance", TOKEN: "token importance (the paper's)"}
BY_MEAN = f"{TO_CHOICE}/mean"
WAYS = {"": "zero", "_mean": "mean", "_resample": "resample"}
EXACT = {  # all heads before a sample of them
    str(ScoreName(f"{KNOCK_OUT}{way}{part}", CHOICE)): (sample, f"replaced by {told}")
    for part, sample in (("", ""), ("_sample", "a sample of "))
    for way, told in WAYS.items()
}
COST = {  # what T ranks heads by
    TO_CHOICE: "first-order importance to choice, an estimate of what removing a head costs it",
    BY_MEAN: "first-order importance to choice, an estimate of what removing a head, replaced by its mean, costs it",
    **{
        exact: f"what removing a head, {told}, costs the choice"
        for exact, (sample, told) in EXACT.items()
        if not sample
    },
}


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
        PageTable(("within layers", *columns), rows),
        note=" ".join(meaning(evidence, columns)),
    )


def compared(evidence: Evidence) -> Iterator[tuple[str, Any]]:
    """T, and prefix matching with importance, each at the most shots."""
    within = Coefficient.WITHIN_LAYER.value
    classed = evidence.rows(kind=Kind.CLASS_RANK, level=within).sort_values("shots")
    if len(classed):
        yield T, list(classed.itertuples(index=False))[-1]
    for names in RANKINGS:
        for importance in names:
            rows = evidence.rows(kind=Kind.INDUCTION_IMPORTANCE, a=PREFIX, b=importance, level=within)
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
            f"T: mean place of the {row.n} {row.a} in their layers, from \N{MINUS SIGN}1 to 1, by {COST[row.b]}{found}."
        )
    if set(columns) - {T}:
        yield "Prefix matching: mean over layers of Spearman's rho, descriptive."
    yield "p: by permutation within layers."


def checked(evidence: Evidence) -> Iterator[str]:
    """How far first-order importance is what removing a head costs: that of the same removal, where there is one."""
    rows = evidence.rows(kind=Kind.KNOCK_OUT_SPEARMAN, b=[TO_CHOICE, BY_MEAN], level=list(EXACT))
    rows = rows[rows["shots"] == rows["shots"].max()]
    told = []
    for name in WAYS.values():
        levels = [level for level, (_, way) in EXACT.items() if way == f"replaced by {name}"]  # all heads, then some
        estimates = (BY_MEAN, TO_CHOICE) if name == "mean" else (TO_CHOICE,)
        found = (rows[(rows["level"] == level) & (rows["b"] == score)] for score in estimates for level in levels)
        told += [_agreement(evidence, of_both) for of_both in found if (of_both["a"] == AGGREGATE).any()][:1]
    if told:
        yield f"First-order importance to choice beside exact knock-outs on the same documents: {'; '.join(told)}."


def _agreement(evidence: Evidence, rows: Any) -> str:
    """`a sample of 48 heads, replaced by zero: Spearman's rho 0.73 (median of 14 tasks 0.89), one sign for 88%`."""
    (row,) = rows[rows["a"] == AGGREGATE].itertuples(index=False)
    of_tasks = rows.loc[rows["a"] != AGGREGATE, "value"]
    median = f" (median of {counted(len(of_tasks), 'task')} {number(of_tasks.median())})" if len(of_tasks) else ""
    sample, way = EXACT[row.level]
    signs = evidence.beside(Kind.KNOCK_OUT_SIGNS, row)
    same = f", one sign for {signs.value:.0%}" if signs is not None else ""
    other = "" if way == "replaced by zero" or row.b == BY_MEAN else " (importance by zero)"
    return f"{sample}{row.n} heads, {way}{other}: Spearman's rho {number(row.value)}{median}{same}"


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
