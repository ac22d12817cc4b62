"""Heads and FFNs removed together (the paper's section 5.3)."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from headscope.claims.evidence import Evidence, at, change_told, table, tasks_told

PAPER = "5 points at (70%, 20%) with 0 shots, 6 at (70%, 10%) with 1 and 4 at (60%, 20%) with 5"
LEVEL = "both/zero"


def joint(evidence: Evidence) -> Iterator[str]:
    """Mean change over the tasks above chance."""
    pruned = evidence.rows(kind="tasks_above_chance", level=LEVEL)
    for shots in sorted({int(count) for count in pruned["shots"]}):
        found = evidence.together("pruned_metric", LEVEL, shots, b="own")
        if found.empty:
            yield f"**{at(shots).capitalize()}**: no task is shown to be above chance."
            yield ""
            continue
        columns = sorted(set(found["heads"]))
        yield (
            f"**{at(shots).capitalize()}**, change of accuracy in points, mean over "
            f"{tasks_told(found['n'].iloc[0])} above chance; heads and FFNs by zero ablation, in the tasks' "
            "own rankings as above:"
        )
        yield ""
        yield from table(
            ("FFNs removed", *(f"{share}% of heads" for share in columns)),
            ([f"{ffns}%", *(_cell(found, heads, ffns) for heads in columns)] for ffns in sorted(set(found["ffns"]))),
        )
        yield f"The paper reports losses of {PAPER} for OPT-66B, as (heads, FFNs)."
        yield ""


def _cell(changes: pd.DataFrame, heads: int, ffns: int) -> str:
    if not heads and not ffns:
        return "0"
    return change_told(changes[(changes["heads"] == heads) & (changes["ffns"] == ffns)], unit="")
