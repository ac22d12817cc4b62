"""What a study found, in the order in which a reader asks; a section without data is left out.

Every number comes from a table of the run.
"""

from __future__ import annotations

from headscope.findings import answer, contest, paper, pruning, ranks, reading, removal, task_table, undecided, vectors
from headscope.findings.evidence import Evidence
from headscope.findings.section import Section
from headscope.store.run import Run


def page_of(run: Run) -> list[Section]:
    """Every section that the run has data for."""
    evidence = Evidence(run)
    parts = (
        answer.section(evidence),
        task_table.section(evidence),
        mosaic(evidence),
        removal.section(evidence),
        contest.section(evidence),
        vectors.section(evidence),
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
