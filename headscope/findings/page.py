"""What a study found, in the order in which a reader asks; a section without data is left out.

Every number comes from a table of the run.
"""

from __future__ import annotations

from collections.abc import Iterator

from headscope.findings import answer, contest, paper, pruning, ranks, reading, task_table, undecided
from headscope.findings.evidence import PRIMARY_LEVEL, Evidence
from headscope.findings.section import Section
from headscope.findings.words import number
from headscope.store.comparisons import FULL, Kind
from headscope.store.run import Run


def page_of(run: Run) -> list[Section]:
    """Every section that the run has data for."""
    evidence = Evidence(run)
    parts = (
        answer.section(evidence),
        task_table.section(evidence),
        mosaic(evidence),
        dots(evidence),
        contest.section(evidence),
        pruning.section(evidence),
        ranks.section(evidence),
        paper.section(evidence),
        undecided.section(evidence),
        reading.section(evidence),
    )
    return [part for part in parts if part is not None and (part.sentences or part.table or part.figures)]


def mosaic(evidence: Evidence) -> Section | None:
    if evidence.run.classes.empty:
        return None
    note = "How much each head looks back to what followed an earlier copy of the token (prefix matching), by layer."
    return Section("mosaic", "Which heads look back", figures=("mosaic",), note=note)


def dots(evidence: Evidence) -> Section | None:
    if evidence.row(kind=Kind.PRIMARY_DROP, level=PRIMARY_LEVEL) is None:
        return None
    return Section(
        "dots",
        "What is lost without them",
        tuple(repeats(evidence)),
        figures=("dots",),
        note="Drop of the gain, k shots less none, without the tested heads (diamonds) and without each control set.",
    )


def repeats(evidence: Evidence) -> Iterator[str]:
    """The manipulation check: the heads were chosen on repeated tokens."""
    rows = list(evidence.rows(kind=Kind.PRIMARY_REPEATS).itertuples(index=False))
    whole = [row.value for row in rows if row.a == FULL]
    for row in rows:
        if row.a != FULL and whole:
            yield (
                f"A check of the removal, no evidence: repeats of random tokens are worth {number(whole[0])} nats to "
                f"the whole model, {number(row.value)} without the {row.a}."
            )
