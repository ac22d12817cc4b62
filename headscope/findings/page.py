"""What a study found, in the order in which a reader asks; a section without data is left out.

Every number comes from a table of the run.
"""

from __future__ import annotations

from headscope.findings import answer, paper, ranks, reading, task_table, undecided
from headscope.findings.evidence import PRIMARY_LEVEL, Evidence
from headscope.findings.section import Section
from headscope.store.comparisons import Kind
from headscope.store.run import Run


def page_of(run: Run) -> list[Section]:
    """Every section that the run has data for."""
    evidence = Evidence(run)
    parts = (
        answer.section(evidence),
        task_table.section(evidence),
        mosaic(evidence),
        dots(evidence),
        pruning(evidence),
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
        figures=("dots",),
        note="Drop of the gain, k shots less none, without the tested heads (diamonds) and without each control set.",
    )


def pruning(evidence: Evidence) -> Section | None:
    names = [
        f"pruning_{component}s" for component in ("head", "ffn") if component in set(evidence.metrics["component"])
    ]
    return Section("pruning", "What can be removed", figures=tuple(names)) if names else None
