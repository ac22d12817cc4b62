"""Which single FFNs matter? (The paper's section 5.2: a few early or late ones, most hardly at all.)"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd
from scipy.stats import t

from headscope.findings.evidence import Evidence, at, tasks_told
from headscope.store.snapshot import chosen

WAYS = {"choice": "at all positions", "choice/later": "with position 0 spared"}
SMALL = 0.05
FEWEST_TASKS = 3


def ffn_knockouts(evidence: Evidence) -> Iterator[str]:
    """The FFN whose removal costs most, mean over tasks, in nats of the right answer; and how many hardly matter."""
    rows = chosen(evidence.ffn_scores, score="knock_out", variant=list(WAYS))
    for shots in sorted({int(count) for count in rows["shots"]}):
        for variant, where in WAYS.items():
            part = chosen(rows, shots=shots, variant=variant)
            if part["mean"].notna().any():
                yield _sentence(part, shots, where, evidence.chance_told(shots))
    if len(rows):
        yield (
            "- The intervals of this section are over tasks (three or more): what other tasks like these might have "
            "given, unlike the intervals of the other sections, which are over documents of these tasks. The documents "
            "are training documents."
        )
        if not (evidence.head_scores["score"] == "knock_out").any():
            yield (
                "- Single heads were not knocked out here: `headscope knockout --component head` does that, and takes "
                "long."
            )


def _sentence(rows: pd.DataFrame, shots: int, where: str, chance: str) -> str:
    by_layer = rows.groupby("layer")["mean"].mean().dropna()
    worst = int(by_layer.idxmax())
    tasks = rows[rows["layer"] == worst]["mean"]
    reach = "" if len(tasks) == 1 else f"{tasks.min():.2f} to {tasks.max():.2f} from task to task; "
    return (
        f"- {at(shots)}, one FFN removed by zero ablation {where}, fall of the choice, mean "
        f"over {tasks_told(len(tasks))}, {chance}: FFN {worst} costs most, {by_layer[worst]:.2f} nats"
        f"{_interval(tasks)} ({reach}the worst of {len(by_layer)} FFNs is chosen on these same documents, which makes "
        f"it look a little worse than it is). {_rest(by_layer)}"
    )


def _rest(by_layer: pd.Series) -> str:
    """How many FFNs hardly matter, and how many are in the way."""
    every = len(by_layer)
    slight, better = int((by_layer.abs() < SMALL).sum()), int((by_layer < 0).sum())
    if not slight and not better:
        return f"Each of the {every} FFNs is needed: without it the mean falls by more than {SMALL} nats."
    return (
        f"{slight} of {every} FFNs change the mean by less than {SMALL} nats either way; without {better} of them it "
        "is higher, not lower."
    )


def _interval(tasks: pd.Series) -> str:
    """Student's interval of the mean, tasks being the unit; nothing for fewer than three."""
    if len(tasks) < FEWEST_TASKS:
        return ""
    reach = float(t.ppf(0.975, len(tasks) - 1)) * float(tasks.std(ddof=1)) / math.sqrt(len(tasks))
    return f" [{tasks.mean() - reach:.2f}, {tasks.mean() + reach:.2f}]"
