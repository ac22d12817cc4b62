"""Do the function vectors do what they are called for? One sentence from the test of the vectors stage (Method 3.5)."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from headscope.findings.evidence import Evidence
from headscope.findings.section import Section
from headscope.findings.words import estimate, listed, number
from headscope.store.comparisons import Kind, RankCut


def section(evidence: Evidence) -> Section | None:
    """None where no vector was tested."""
    lines = tuple(sentences(evidence))
    return Section("vectors", "Do function vectors work?", lines) if lines else None


def sentences(evidence: Evidence) -> Iterator[str]:
    """Every block that vectors were added at: the best of them alone would be a choice after the fact."""
    raises = sorted(
        evidence.rows(kind=Kind.VECTOR_RAISE).itertuples(index=False), key=lambda row: RankCut.parse(row.level).number
    )
    if not raises:
        return
    stage = evidence.stage("vectors")
    made_of = stage.record.get("vector_heads", []) if stage is not None else []
    count = stage.record.get("vector_controls") if stage is not None else None
    heads = f" of {listed(made_of)}" if made_of else ""
    parts = [_raised(row, evidence.beside(Kind.VECTOR_BEYOND, row)) for row in raises]
    sets = f"{count} sets of as many" if count else "sets of as many"
    least = f"; with {count} controls p cannot be below {number(1 / (1 + count)).removeprefix('0')}" if count else ""
    yield (
        f"Adding the function vector{heads} to prompts without demonstrations raises the choice by {'; '.join(parts)}; "
        f"the others are {sets} heads of the same layers, and all is on the queries by which the heads were "
        f"chosen{least}."
    )


def _raised(row: Any, beyond: Any) -> str:
    told = estimate(row.value, row.ci_low, row.ci_high, unit="nats")
    more = ""
    if beyond is not None and isfinite(beyond.value):
        more = f", {estimate(beyond.value, beyond.ci_low, beyond.ci_high)} more than other heads"
    return f"{told} at block {RankCut.parse(row.level).number}{more}"
