"""What the model learns from its context, and what it loses without its induction heads (Method 4-5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import isfinite, isnan
from typing import Any

from headscope.findings.evidence import Evidence, at, number, table, tasks_told
from headscope.store.comparisons import CONTROL_HEADS, FULL, CausalLevel, Kind

CHOICE, WAY = "choice", "mean"
WAYS = {
    "mean": "replaced by their mean",
    "zero": "replaced by zero",
    "mean/last": "replaced by their mean at the last position only",
    "mean/later": "replaced by their mean at all positions but the first",
    "mean/all": "replaced by their mean",
}
UNITS = {"choice": ("choice", 1.0, " nats"), "mass": ("mass", 1.0, " nats"), "metric": ("accuracy", 100.0, " points")}
CLASSES = ("copying", "anti-copying", "matching only")
NAMED = 12  # heads that a sentence names one by one


def in_short(evidence: Evidence) -> Iterator[str]:
    """The sentences that answer: what is learnt, which heads look back, what is lost without them."""
    yield from (f"- {line}" for line in (*learnt(evidence), *looking_back(evidence), *lost(evidence)))


def learnt(evidence: Evidence) -> Iterator[str]:
    """Which tasks the model learns from its context."""
    passes = evidence.rows(kind=Kind.SCREEN_PASSES).sort_values("a")
    if passes.empty:
        return
    held = list(passes[passes["value"] == 1]["a"])
    shots = int(passes["shots"].iloc[0])
    rest = sorted(set(passes["a"]) - set(held))
    if not held:
        yield f"The model is not shown to learn any of its {tasks_told(len(passes))} from {at(shots)}."
        return
    gains = [evidence.value(kind=Kind.SCREEN, a=task, b="gain", level=CHOICE) for task in held]
    none = f"; not from {', '.join(rest)}" if rest else ""
    yield (
        f"The model learns {len(held)} of {tasks_told(len(passes))} from {at(shots)}: {', '.join(held)} (their choice "
        f"gains by {min(gains):.1f} to {max(gains):.1f} nats){none}."
    )


def looking_back(evidence: Evidence) -> Iterator[str]:
    """The induction heads by name."""
    classes = evidence.run.classes
    if classes.empty:
        return
    counts = Counter(classes["class"])
    held = classes[classes["class"].isin(CLASSES)]
    if held.empty:
        yield f"None of its {len(classes)} heads is an induction head (prefix matching above .4 and both nulls)."
        return
    names = [f"{one.layer}.{one.head}" for one in held.itertuples(index=False)]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in CLASSES if counts[kind])
    yield (
        f"{len(held)} of its {len(classes)} heads look back to what followed an earlier copy of the token: "
        f"{', '.join(names[:NAMED])}{more} ({kinds})."
    )


def lost(evidence: Evidence) -> Iterator[str]:
    """The answer to the primary question, and the number of documents where it is undecided."""
    for one in evidence.rows(kind=Kind.PRIMARY_DROP, level=CausalLevel(CHOICE, WAY)).itertuples(index=False):
        place: dict[str, Any] = {"a": one.a, "b": one.b, "shots": one.shots, "level": one.level}
        beyond = next(evidence.rows(kind=Kind.PRIMARY_BEYOND, **place).itertuples(index=False))
        controls = next(evidence.rows(kind=Kind.PRIMARY_CONTROLS, **place).itertuples(index=False))
        rank = evidence.value(kind=Kind.PRIMARY_RANK, **place)
        yield (
            f"Without the {one.a} the gain of choice drops by {interval(one)} nats over {tasks_told(one.n)}; without "
            f"as many matched heads by {controls.value:.2f} (median of {controls.n} sets, 5th to 95th percentile "
            f"{controls.ci_low:.2f} to {controls.ci_high:.2f}; {ordinal(rank)} of {controls.n + 1} drops)."
        )
        yield f"{verdict(evidence, beyond)} ({interval(beyond)} nats beyond the mean of the controls)."


def verdict(evidence: Evidence, beyond: Any) -> str:
    """Shown, shown absent, or undecided with the documents that would decide."""
    place: dict[str, Any] = {"a": beyond.a, "b": beyond.b, "shots": beyond.shots, "level": beyond.level}
    if beyond.ci_low > 0:
        return "So these heads carry more of the choice than matched heads do"
    if beyond.ci_high < 0:
        return "So these heads carry less of the choice than matched heads do"
    for bound in evidence.rows(kind=Kind.PRIMARY_EQUIVALENCE, **place).itertuples(index=False):
        if bound.value < bound.p:
            return f"So these heads are shown to matter like matched heads, within {bound.p:.2f} nats"
    documents = evidence.value(kind=Kind.PRIMARY_DOCUMENTS, **place)
    if isnan(documents):
        return "That is not shown to differ from matched heads"
    enough = f"about {documents:.0f} documents in all would decide" if isfinite(documents) else "no number would decide"
    return f"That is not decided: {enough}"


def details(evidence: Evidence) -> Iterator[str]:
    """The question as it was fixed, every outcome and way, task by task."""
    for stage in evidence.run.stages:
        if stage.command == "primary" and stage.record.get("question"):
            yield f"The question, fixed before anything was evaluated (sha256 {str(stage.record['hash'])[:12]}):"
            yield from ("", f"> {stage.record['question']}", "")
            yield from _looks(stage.record.get("looks", ()))
        elif stage.command == "primary" and stage.record.get("reason"):
            yield f"The primary question was not asked: {stage.record['reason']}."
    rows = evidence.rows(kind=Kind.PRIMARY_DROP)
    if len(rows):
        yield from table(
            ("outcome", "heads", "drop of the gain", "controls", "beyond them", "in sd of controls", "p", "Holm"),
            (_cells(evidence, one) for one in rows.itertuples(index=False)),
        )
        yield from _alike(evidence)
        yield from _levels(evidence)
    tasks = evidence.rows(kind=Kind.PRIMARY_TASK, level=CausalLevel(CHOICE, WAY))
    if len(tasks):
        yield "By task, choice in nats (controls: 5th to 95th percentile):"
        yield ""
        yield from table(
            ("task", "drop", "controls", "documents"),
            (
                (one.a, f"{one.value:+.2f}", f"{one.ci_low:+.2f} to {one.ci_high:+.2f}", str(one.n))
                for one in tasks.sort_values("value", ascending=False).itertuples(index=False)
            ),
        )


def screened(evidence: Evidence) -> Iterator[str]:
    """A line a task: what the demonstrations are worth, and from where."""
    passes = evidence.rows(kind=Kind.SCREEN_PASSES).set_index("a")["value"]
    if passes.empty:
        return
    yield from table(
        ("task", "learnt", "choice gain", "bound", "learning", "format (mass)", "accuracy 0-shot", "accuracy"),
        (_screen_cells(evidence, str(task), bool(passed)) for task, passed in passes.sort_index().items()),
    )


def _screen_cells(evidence: Evidence, task: str, passed: bool) -> list[str]:
    gain = evidence.rows(kind=Kind.SCREEN, a=task, b="gain", level=CHOICE)
    low = float(gain["ci_low"].iloc[0]) if len(gain) else float("nan")
    values = [
        evidence.value(kind=Kind.SCREEN, a=task, b=contrast, level=outcome)
        for contrast, outcome in (("gain", CHOICE), ("learning", CHOICE), ("format", "mass"))
    ]
    levels = [
        evidence.value(kind=Kind.SCREEN_LEVEL, a=task, b=condition, level="metric") for condition in ("none", "few")
    ]
    cells = [number(values[0], "+.2f"), number(low, "+.2f"), *(number(value, "+.2f") for value in values[1:])]
    return [task, "yes" if passed else "no", *cells, *(number(level) for level in levels)]


def _cells(evidence: Evidence, one: Any) -> list[str]:
    level = CausalLevel.parse(one.level)
    name, factor, unit = UNITS[level.outcome]
    place: dict[str, Any] = {"a": one.a, "b": one.b, "shots": one.shots, "level": one.level}
    beyond, effect, controls = (
        next(evidence.rows(kind=kind, **place).itertuples(index=False))
        for kind in (Kind.PRIMARY_BEYOND, Kind.PRIMARY_EFFECT, Kind.PRIMARY_CONTROLS)
    )
    return [
        f"{name},{unit}",
        WAYS.get(level.ablation, level.ablation),
        interval(one, factor),
        f"{factor * controls.value:+.2f}",
        interval(beyond, factor),
        interval(effect),
        number(effect.p, ".4f"),
        number(effect.p_holm, ".4f"),
    ]


def _looks(looks: Any) -> Iterator[str]:
    """When the study looked, and when it stopped."""
    if looks:
        last = looks[-1]
        ended = "decided" if last["decided"] else "not decided"
        yield (
            f"Look {last['look']}, at {last['documents']} documents over all tasks, {ended}: "
            f"{last['value']:+.2f} nats beyond the controls, with an interval that holds for all looks together "
            f"{bracket_of(last)}."
        )
        yield ""


def bracket_of(look: Mapping[str, Any]) -> str:
    return f"[{look['low']:+.2f}, {look['high']:+.2f}]"


def _alike(evidence: Evidence) -> Iterator[str]:
    for one in evidence.rows(kind=Kind.PRIMARY_OVERLAP, level=CONTROL_HEADS).itertuples(index=False):
        yield (
            f"Two of the {one.n} control sets have {one.value:.0%} of their heads in common on average; p says how "
            "often such sets would stand as far apart if heads were exchangeable."
        )
        yield ""


def _levels(evidence: Evidence) -> Iterator[str]:
    """Where a drop comes from: both levels, with demonstrations and without."""
    rows = evidence.rows(kind=Kind.PRIMARY_LEVEL, level=CausalLevel(CHOICE, WAY))
    if rows.empty:
        return
    held = {(str(one.a), str(one.b)): float(one.value) for one in rows.itertuples(index=False)}
    (name,) = {key for key, _ in held if key != FULL}
    yield (
        f"Mean choice of the whole model: {held[FULL, 'none']:+.2f} nats at 0 shots, {held[FULL, 'few']:+.2f} with "
        f"demonstrations; without the {name}: {held[name, 'none']:+.2f} and {held[name, 'few']:+.2f}."
    )
    yield ""


def interval(one: Any, factor: float = 1.0) -> str:
    """`+.75 [+.48, +1.02]`."""
    low, high = (
        f"{factor * end:+.2f}" if isfinite(end) else "no end" for end in (float(one.ci_low), float(one.ci_high))
    )
    return f"{factor * one.value:+.2f} [{low}, {high}]"


def ordinal(rank: float) -> str:
    """`the largest`, `the 2nd largest`."""
    place = int(rank)
    if place == 1:
        return "the largest"
    ending = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"the {place}{ending} largest"
