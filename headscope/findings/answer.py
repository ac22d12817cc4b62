"""The five sentences that answer: what is learnt, who looks back, what is lost without them, who else, what can go."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from ablation.contest import ALL_TASKS
from headscope.findings import contest, pruning
from headscope.findings.evidence import CHOICE, PRIMARY_LEVEL, Evidence
from headscope.findings.primary import verdict
from headscope.findings.section import Section
from headscope.findings.words import counted, listed, none_is, number, span, task_name
from headscope.store.comparisons import CONDITIONS, FULL, Kind

CLASSES = ("copying", "anti-copying", "matching only")
DOES = {
    "copying": ("writes for that token", "write for that token"),
    "anti-copying": ("writes against it", "write against it"),
    "matching only": ("is not shown to do either directly", "are not shown to do either directly"),
}


def section(evidence: Evidence) -> Section:
    parts = (learnt, looking_back, lost, others, pruning.sentence)
    return Section("answer", "In short", tuple(sentence for part in parts for sentence in part(evidence)))


def learnt(evidence: Evidence) -> Iterator[str]:
    """Which tasks the model learns from its context, those with the largest gain first."""
    tasks = evidence.screened
    if not tasks:
        return
    (shots,) = set(evidence.rows(kind=Kind.SCREEN_PASSES)["shots"])
    passed = [task for task in tasks if tasks[task]]
    gains = {task: evidence.value(kind=Kind.SCREEN, a=task, b="gain", level=CHOICE) for task in tasks}
    failed = [task_name(task) for task in tasks if not tasks[task] and isfinite(gains[task])]
    asked = len(passed) + len(failed)
    if passed:
        told = listed([f"{task_name(task)} {number(gains[task], 1)}" for task in passed])
        rest = f"; it is not shown to learn {listed(failed)}" if failed else ""
        yield (
            f"From {shots} demonstrations the model learns {len(passed)} of {counted(asked, 'task')} (gain of choice "
            f"in nats): {told}{rest}."
        )
    elif failed:
        yield (
            f"The model is not shown to learn any of {counted(asked, 'task')} from {shots} demonstrations: "
            f"{listed(failed)}."
        )
    yield from _unscreened(evidence, [task for task in tasks if not tasks[task] and not isfinite(gains[task])])


def _unscreened(evidence: Evidence, tasks: list[str]) -> Iterator[str]:
    """Tasks that could not be screened at all, and why."""
    stage = evidence.stage("screen")
    reasons = stage.record.get("reasons", {}) if stage is not None else {}
    for task in tasks:
        yield f"{task_name(task)} could not be screened: {reasons.get(task, 'it has no gain')}."


def looking_back(evidence: Evidence) -> Iterator[str]:
    """The induction heads by name, and what each class of them does."""
    classes = evidence.run.classes
    if classes.empty:
        return
    every = len(classes)
    found = {kind: classes[classes["class"] == kind] for kind in CLASSES}
    total = sum(len(rows) for rows in found.values())
    if not total:
        yield (
            f"{none_is(every)} classed as an induction head: no head reaches the threshold of looking back "
            "to what followed an earlier copy."
        )
        return
    parts = []
    for kind, rows in found.items():
        if len(rows):
            names = [f"{row.layer}.{row.head}" for row in rows.itertuples(index=False)]
            parts.append(f"{listed(names)} {DOES[kind][len(rows) > 1]}")
    verb = "looks" if total == 1 else "look"
    yield (
        f"{total} of its {every} heads {verb} back to what followed an earlier copy of the token (induction heads): "
        f"{', '.join(parts)}."
    )


def lost(evidence: Evidence) -> Iterator[str]:
    """The answer to the primary question."""
    stage = evidence.stage("primary")
    if stage is not None and stage.record.get("reason"):
        yield f"What is lost without them was not asked: {stage.record['reason']}."
    drop = evidence.row(kind=Kind.PRIMARY_DROP, level=PRIMARY_LEVEL)
    if drop is None:
        return
    controls, beyond = (evidence.beside(kind, drop) for kind in (Kind.PRIMARY_CONTROLS, Kind.PRIMARY_BEYOND))
    if controls is None or beyond is None:
        return
    whole = [
        evidence.value(kind=Kind.PRIMARY_LEVEL, a=FULL, b=condition, level=PRIMARY_LEVEL) for condition in CONDITIONS
    ]
    yield (
        f"Without the {drop.a} the choice gain of {counted(drop.n, 'task')} falls by {number(drop.value)} nats "
        f"(95% interval {span(drop.ci_low, drop.ci_high)}) of {number(whole[0] - whole[1])}, without matched heads by "
        f"{number(controls.value)} (median of {controls.n} sets): {verdict(evidence, beyond).clause}."
    )


def others(evidence: Evidence) -> Iterator[str]:
    """Whether as many function-vector heads carry more than the induction heads."""
    return contest.rivals(evidence.comparisons, ALL_TASKS, contest.named_sets(evidence))
