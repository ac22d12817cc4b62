"""Which single FFNs matter? (The paper's section 5.2: a few early or late ones, most hardly at all.)"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from headscope.claims.evidence import Evidence, at
from headscope.figures.stored import chosen

WAYS = {"log_likelihood": "at all positions", "log_likelihood/later": "with position 0 spared"}
SMALL = 0.05


def ffn_knockouts(evidence: Evidence) -> Iterator[str]:
    """The FFN whose removal costs most, mean over tasks, in nats of the right answer; and how many hardly matter."""
    rows = chosen(evidence.ffn_scores, score="knock_out", variant=list(WAYS))
    for shots in sorted({int(count) for count in rows["shots"]}):
        for variant, where in WAYS.items():
            part = chosen(rows, shots=shots, variant=variant)
            if len(part):
                yield _told(part, shots, where)


def _told(rows: pd.DataFrame, shots: int, where: str) -> str:
    by_layer = rows.groupby("layer")["mean"].mean()
    worst = int(by_layer.idxmax())
    tasks = rows[rows["layer"] == worst]
    clear = int((tasks["ci_low"] > 0).sum())
    slight, helpful = int((by_layer.abs() < SMALL).sum()), int((by_layer < 0).sum())
    return (
        f"- {at(shots)}, removed {where}: FFN {worst} costs most, {by_layer[worst]:+.2f} nats on average "
        f"({tasks['mean'].min():+.2f} to {tasks['mean'].max():+.2f} over {len(tasks)} tasks; the interval excludes 0 "
        f"on {clear}). {slight} of {len(by_layer)} FFNs change the right answer by less than {SMALL} nats; removing "
        f"{helpful} of them helps."
    )
