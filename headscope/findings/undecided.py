"""What is not decided, one line each, with what could have been shown and the documents that would decide it.

Method 5, power.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan

from ablation.statistics.reliability import LOW_RELIABILITY, documents_for_reliability
from headscope.findings import pruning
from headscope.findings.evidence import Evidence
from headscope.findings.primary import UNDECIDED, UNITS, WAYS, verdict
from headscope.findings.section import Section
from headscope.findings.words import documents, listed, shots, task_name
from headscope.store.comparisons import OUTCOMES, CausalLevel, Coefficient, Kind, ScoreName
from headscope.store.names import AGGREGATE
from headscope.store.scores import IMPORTANCE

TOKEN = str(ScoreName(IMPORTANCE, "token"))


def section(evidence: Evidence) -> Section | None:
    """None where everything that was asked is decided."""
    lines = tuple(line for part in (drops, pruning.open_shares, rankings, tasks) for line in part(evidence))
    return Section("undecided", "Not decided", lines) if lines else None


def drops(evidence: Evidence) -> Iterator[str]:
    """A line an outcome: ways of removing under which the tested heads are not told from their controls."""
    still: dict[str, list[str]] = {}
    for beyond in evidence.rows(kind=Kind.PRIMARY_BEYOND).itertuples(index=False):
        found, level = verdict(evidence, beyond), CausalLevel.parse(beyond.level)
        if found.kind == UNDECIDED and level.outcome in OUTCOMES:
            needed = "" if isnan(found.documents) else documents(found.documents)  # NaN: not stored
            way = f"replaced {WAYS.get(level.ablation, level.ablation)} {found.size}"
            way = ", ".join(part for part in (way, found.power, needed) if part)
            still.setdefault(f"{UNITS[level.outcome][0]}, {beyond.a} beyond matched heads", []).append(way)
    yield from (f"By {what}: {'; '.join(ways)}." for what, ways in still.items())


def rankings(evidence: Evidence) -> Iterator[str]:
    """Tasks whose rankings are too noisy to be compared, a line a number of shots."""
    rows = evidence.rows(kind=Kind.RELIABILITY, b=TOKEN, level=Coefficient.WITHIN_LAYER.value)
    low = rows[~(rows["value"] >= LOW_RELIABILITY) & (rows["a"] != AGGREGATE)]
    for count, part in low.groupby("shots"):
        each = [
            f"{task_name(row.a)} ({few(documents_for_reliability(row.value, max(1, row.n)))})"
            for row in part.itertuples(index=False)
        ]
        yield (
            f"Whether these tasks share their heads within layers at {shots(count)}, by token importance too noisy to "
            f"compare: {listed(each, len(each))}."
        )


def few(count: float) -> str:
    """The number alone."""
    return documents(count, pooled=False).removesuffix(" would decide")


def tasks(evidence: Evidence) -> Iterator[str]:
    """Tasks that did not pass the screen, in one line."""
    needed = {row.a: float(row.value) for row in evidence.rows(kind=Kind.SCREEN_DOCUMENTS).itertuples(index=False)}
    if needed:
        each = [f"{task_name(task)} ({few(count)})" for task, count in needed.items()]
        yield f"Whether the model learns these tasks: {listed(each, len(each))}."
