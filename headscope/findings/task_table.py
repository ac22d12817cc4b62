"""What the model can do: a line a task, from the documents of the screen (Method 4)."""

from __future__ import annotations

from math import log, nan

from headscope.findings.evidence import CHOICE, Evidence
from headscope.findings.section import PageTable, Section
from headscope.findings.words import MINUS, listed, number, task_name
from headscope.store.comparisons import CONDITIONS, Kind

NO_NUMBER = number(nan)
ARROW = " →\N{NO-BREAK SPACE}"
EXAMPLE = 4  # choices, where the run does not say how many its tasks have
MOST = 3  # numbers of choices that are told, beside the highest
HEADINGS = ("task", "learnt", "accuracy", "mass", "choice", "gain", "learning")


def section(evidence: Evidence) -> Section | None:
    """None where no task was screened."""
    tasks = evidence.screened
    if not tasks:
        return None
    shots = int(evidence.rows(kind=Kind.SCREEN_PASSES)["shots"].max())
    rows = tuple(_cells(evidence, task, passed) for task, passed in tasks.items())
    return Section(
        "tasks",
        "What the model can do",
        table=PageTable(HEADINGS, rows, numbers=True),
        note=(
            f"At 0 → {shots} shots. Mass: log-probability of all choices together; choice: of the right one among "
            "them, or its margin where one choice begins another. Gain: what demonstrations add to choice; learning: "
            "what right labels add over shuffled ones. Learnt: the gain's one-sided 95% bound lies above 0. "
            f"{chance(evidence)} Margins are no log-probabilities."
        ),
    )


def chance(evidence: Evidence) -> str:
    """What choosing blindly scores, for the numbers of choices that the screened tasks have."""
    stage = evidence.stage("screen")
    stored = stage.record.get("choices", {}) if stage is not None else {}
    counts = sorted({int(count) for counts in stored.values() for count in counts if count > 1})
    each = [f"{number(-log(count))} for {count}" for count in sorted({*counts[:MOST], *counts[-1:]})]
    shown = listed(each or [f"{number(-log(EXAMPLE))} for {EXAMPLE}"])
    below = "where choice stays below it the model is less wrong, not right"
    return f"Chance is {MINUS}log K of K choices ({shown} choices); {below}."


def _cells(evidence: Evidence, task: str, passed: bool) -> tuple[str, ...]:
    def level(outcome: str, digits: int) -> str:
        values = [
            number(evidence.value(kind=Kind.SCREEN_LEVEL, a=task, b=which, level=outcome), digits)
            for which in reversed(CONDITIONS)
        ]
        return ARROW.join(values) if set(values) != {NO_NUMBER} else NO_NUMBER

    gains = (evidence.value(kind=Kind.SCREEN, a=task, b=which, level=CHOICE) for which in ("gain", "learning"))
    return (
        task_name(task),
        "yes" if passed else "no",
        level("metric", 2),
        level("mass", 1),
        level(CHOICE, 1),
        *(number(gain, 2, sign=True) for gain in gains),
    )
