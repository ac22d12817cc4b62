"""What is not decided, one line each, with the documents that would decide it (Method 5, power)."""

from __future__ import annotations

from collections.abc import Iterator

from headscope.findings import pruning
from headscope.findings.evidence import Evidence
from headscope.findings.primary import UNDECIDED, UNITS, WAYS, verdict
from headscope.findings.section import Section
from headscope.findings.words import documents, listed, task_name
from headscope.store.comparisons import CausalLevel, Kind


def section(evidence: Evidence) -> Section | None:
    """None where everything that was asked is decided."""
    lines = tuple(line for part in (drops, pruning.open_shares, tasks) for line in part(evidence))
    return Section("undecided", "Not decided", lines) if lines else None


def drops(evidence: Evidence) -> Iterator[str]:
    """A line an outcome: ways of removing under which the tested heads are not told from their controls."""
    still: dict[str, list[str]] = {}
    for beyond in evidence.rows(kind=Kind.PRIMARY_BEYOND).itertuples(index=False):
        found, level = verdict(evidence, beyond), CausalLevel.parse(beyond.level)
        if found.kind == UNDECIDED:
            way = f"replaced {WAYS.get(level.ablation, level.ablation)} {found.size}, {documents(found.documents)}"
            still.setdefault(f"{UNITS[level.outcome][0]}, {beyond.a} beyond matched heads", []).append(way)
    yield from (f"By {what}: {'; '.join(ways)}." for what, ways in still.items())


def tasks(evidence: Evidence) -> Iterator[str]:
    """Tasks that did not pass the screen, in one line."""
    needed = {row.a: float(row.value) for row in evidence.rows(kind=Kind.SCREEN_DOCUMENTS).itertuples(index=False)}
    if needed:
        each = [
            f"{task_name(task)} ({documents(count).removesuffix(' would decide')})" for task, count in needed.items()
        ]
        yield f"Whether the model learns these tasks: {listed(each, len(each))}."
