"""Which kind of head carries the choice? The contest in sentences and as a table (Method 5). Takes its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import pandas as pd

from ablation.contest import (
    ALL_TASKS,
    CLASS,
    DOSES,
    FUNCTION,
    GROUPS,
    INDUCTION,
    KEPT,
    LEARNING,
    LEFT_OUT,
    RECOGNITION,
    SHARES,
)
from headscope.findings.evidence import Evidence
from headscope.findings.section import PageTable, Section
from headscope.findings.words import counted, estimate, listed, number, span, unlike_signs
from headscope.store.comparisons import PRIMARY_ASKED, ContestLevel, Kind

CHOICE, WAY = PRIMARY_ASKED
PLACES = {"all": "at all positions", "last": "at the last position only"}
SHORT = {"all": "all positions", "last": "last position"}
SHOWN = (Kind.CONTEST_DROP, Kind.CONTEST_BEYOND)
# arm: what its heads are the highest by
SCORES = {
    FUNCTION: "function-vector score",
    RECOGNITION: "task-recognition score",
    LEARNING: "task-learning score",
    "concept": "concept-induction score",
    "importance": "importance to the choice",
}
OTHER_WAY = "zero"
HIGHEST = f"the highest by {SCORES[FUNCTION]}"
NAMES = {INDUCTION: "the induction heads"}


def named_sets(evidence: Evidence) -> dict[str, str]:
    """Every arm of the last contest as its heads are: the highest by a score, some of them of a class."""
    contest, vectors = evidence.stage("contest"), evidence.stage("vectors")
    sets = contest.record.get("sets", {}) if contest is not None else {}
    fv_heads = vectors.record.get("fv_heads") if vectors is not None else None
    classes = evidence.run.classes
    induction = {f"{one.layer}.{one.head}" for one in classes[classes["class"] != ""].itertuples()}
    found = {}
    for arm, score in SCORES.items():
        heads = set(sets.get(f"{arm}, {CLASS}, {KEPT}", ()))
        if heads:
            told = [f"{len(heads & induction)} of them induction heads"]
            if arm == FUNCTION and fv_heads is not None:
                count = len(heads & set(fv_heads))
                told.insert(0, f"{count} of them classed as FV {'head' if count == 1 else 'heads'}")
            found[arm] = f"the {counted(len(heads), 'head')} with the highest {score} ({', '.join(told)})"
    return found


def sentences(rows: pd.DataFrame, *, ahead: bool = True, named: Mapping[str, str] | None = None) -> Iterator[str]:
    """What the choice loses without each kind of head; nothing where there was no contest.

    ahead: function-vector heads against induction heads too, which the page's answer has said. named: each arm in
    words (`named_sets`).
    """
    words = named or {}
    groups = [group for group in GROUPS if len(_rows(rows, Kind.CONTEST_BEYOND, b=group))]
    kinds = [group for group in groups if group != ALL_TASKS] or groups
    for group in kinds:
        yield from _costs(rows, group, words)
    if apart := [told for group in kinds for told in _apart(rows, group)]:
        yield f"Both sets without the heads that they share, beyond controls at all positions: {'; '.join(apart)}."
    if groups:
        yield from rivals(rows, groups[-1], words) if ahead else ()
        yield from _labels(rows, groups[-1])
        if raw := [told for part in (_sizes, _doses) for told in part(rows, groups[-1])]:
            yield f"Raw drop of the choice at all positions, {'; '.join(raw)}."
        yield from _replaced(rows, groups[-1])
    for group in GROUPS:
        yield from _signs(rows, group)


def section(evidence: Evidence) -> Section | None:
    """None where there was no contest."""
    rows = evidence.comparisons
    lines = tuple(sentences(rows, ahead=False, named=named_sets(evidence)))  # the answer has said that
    if not lines:
        return None
    return Section(
        "contest",
        "Which kind of head carries the choice?",
        lines,
        PageTable(
            ("without", *(f"{where}{what}" for where in SHORT.values() for what in ("", ", beyond controls"))),
            tuple(cells(rows)),
            numbers=True,
        ),
        figures=("contest",),
        note=" ".join(reading(rows)),
    )


def reading(rows: pd.DataFrame) -> Iterator[str]:
    """What the columns are, and which sets have controls, matched by what."""
    yield (
        "Fall of the choice, in nats, without as many heads of each kind as there are induction heads, replaced by "
        "their mean; 95% intervals by document, tasks fixed. Kinds but the induction heads and the random ones are the "
        "heads with the highest score, classed or not."
    )
    counts = sorted({int(n) for n in _rows(rows, Kind.CONTEST_RANK)["n"]})
    if counts:
        sets = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
        bare = "Sets at a dose have no controls."
        if not _others_controlled(rows):
            bare = "Sets of another size, at a dose or replaced by zero have no controls: only their raw drop is known."
        yield (
            f"Controls: beside each kind {sets} sets of as many other heads, matched by layer and by how many share a "
            f"key-value group, where a layer has enough left; they may hold heads of another kind. {bare}"
        )


def _others_controlled(rows: pd.DataFrame) -> bool:
    """Whether sets of another size, or replaced by zero, have controls too."""
    levels = [ContestLevel.parse(text) for text in set(rows[rows["kind"] == Kind.CONTEST_BEYOND]["level"])]
    return any(level.share != CLASS or level.ablation != WAY for level in levels)


def cells(rows: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """One line an arm over all tasks, the costliest at all positions first; the rivals then without what both hold."""
    drops = _rows(rows, Kind.CONTEST_DROP, b=ALL_TASKS, positions="all").sort_values("value", ascending=False)
    lines = [(arm, KEPT) for arm in drops["a"]]
    for arm, overlap in [*lines, (FUNCTION, LEFT_OUT), (INDUCTION, LEFT_OUT)]:
        found = [_row(rows, kind, arm, ALL_TASKS, place, overlap=overlap) for place in PLACES for kind in SHOWN]
        if any(row is not None for row in found):
            name = arm if overlap == KEPT else f"{arm}, unshared heads"
            yield (name, *("-" if row is None else _told(row) for row in found))


def table_rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """One line an arm, group of tasks and choice of positions, removed by mean, class-sized: texts for a table."""
    found = []
    for group in GROUPS:
        for places in PLACES:
            drops = _rows(rows, Kind.CONTEST_DROP, b=group, positions=places)
            for drop in drops.sort_values("value", ascending=False, kind="stable").itertuples(index=False):
                beyond = _row(rows, Kind.CONTEST_BEYOND, drop.a, group, places)
                rank = _row(rows, Kind.CONTEST_RANK, drop.a, group, places)
                found.append(
                    {
                        "arm": drop.a,
                        "group": group,
                        "positions": places,
                        "drop": _signed(drop.value),
                        "drop_interval": _bracket(drop.ci_low, drop.ci_high),
                        "beyond": "-" if beyond is None else _signed(beyond.value),
                        "beyond_interval": _interval(beyond),
                        "rank": "-" if rank is None else f"{rank.value:.0f} of {rank.n + 1}",
                    }
                )
    return found


def _costs(rows: pd.DataFrame, group: str, named: Mapping[str, str]) -> Iterator[str]:
    """Induction heads and function-vector heads beyond their controls, at all positions and at the last."""
    parts, tasks = [], 0
    for arm in (INDUCTION, FUNCTION):
        costs = [(words, _row(rows, Kind.CONTEST_BEYOND, arm, group, places)) for places, words in PLACES.items()]
        told = [f"{_told(row, 'nats')} {words}" for words, row in costs if row is not None]
        tasks = max([tasks, *(int(row.n) for _, row in costs if row is not None)])
        parts += [f"without {_named(arm, named)}, {' and '.join(told)}"] if told else []
    if parts:
        yield (
            f"On {_tasks(tasks, group)}, how much further the choice falls than without control heads, as many and "
            f"matched by layer and key-value group (below 0: less far): {'; '.join(parts)}."
        )


def _tasks(count: int, group: str) -> str:
    kind = "" if group == ALL_TASKS else f"{group} "
    return counted(count, f"{kind}task")


def rivals(rows: pd.DataFrame, group: str, named: Mapping[str, str]) -> Iterator[str]:
    """Whether as many heads, the highest by function vectors, carry more than induction heads, beyond controls."""
    told = []
    for places, words in PLACES.items():
        row = _row(rows, Kind.CONTEST_AHEAD, FUNCTION, group, places)
        if row is not None and isfinite(row.ci_low):
            told.append(f"{words} {_more(row)}")
    if told:
        who = _named(FUNCTION, named)
        yield f"T{who[1:]} against as many induction heads, both beyond matched heads: {'; '.join(told)}."


def _apart(rows: pd.DataFrame, group: str) -> Iterator[str]:
    """The rivals without the heads that both sets hold, and which of the two then carries more; at all positions."""
    found = {arm: _row(rows, Kind.CONTEST_BEYOND, arm, group, "all", overlap=LEFT_OUT) for arm in (INDUCTION, FUNCTION)}
    if None in found.values():
        return
    ahead = _row(rows, Kind.CONTEST_AHEAD, FUNCTION, group, "all", overlap=LEFT_OUT)
    more = f": {_more(ahead, 'the latter')}" if ahead is not None and isfinite(ahead.ci_low) else ""
    yield (
        f"on {_tasks(int(found[INDUCTION].n), group)} {_told(found[INDUCTION], 'nats')} for the induction heads and "
        f"{_told(found[FUNCTION])} for those with the highest {SCORES[FUNCTION]}{more}"
    )


def _labels(rows: pd.DataFrame, group: str) -> Iterator[str]:
    """What Method 3.6 expects of label heads, and whether it is so."""
    mass = _row(rows, Kind.CONTEST_BEYOND, RECOGNITION, group, "all", outcome="mass")
    choice = _row(rows, Kind.CONTEST_BEYOND, LEARNING, group, "all")
    if mass is not None and choice is not None:
        yield (
            "A check of the label heads, beyond controls at all positions: task-recognition heads should cost mass, "
            f"and cost {_told(mass, 'nats')}, {_as_expected(mass)}; task-learning heads should cost choice, and cost "
            f"{_told(choice, 'nats')}, {_as_expected(choice)}."
        )


def _as_expected(row: Any) -> str:
    if row.ci_low > 0:
        return "as expected"
    return "against what is expected" if row.ci_high < 0 else "which shows neither"


def _sizes(rows: pd.DataFrame, group: str) -> Iterator[str]:
    """By how many of the highest heads are removed."""
    shares = [f"{share}%" for share in SHARES]
    names = {INDUCTION: "by prefix matching", FUNCTION: f"by {SCORES[FUNCTION]}"}
    if told := _series(rows, group, names, [{"share": share} for share in shares]):
        yield f"without the highest {listed(shares)} of heads: {told}"


def _doses(rows: pd.DataFrame, group: str) -> Iterator[str]:
    """By how far heads are removed: a positive control."""
    names = {INDUCTION: NAMES[INDUCTION], FUNCTION: HIGHEST}
    if told := _series(rows, group, names, [*({"dose": f"{dose:g}"} for dose in DOSES), {}]):
        yield f"with heads removed by {listed([f'{dose:.0%}' for dose in (*DOSES, 1)])}: {told}"


def _series(rows: pd.DataFrame, group: str, names: Mapping[str, str], places: list[dict[str, str]]) -> str:
    """`by prefix matching +0.15, +0.37 nats and by function-vector score +0.67, +0.79`; empty without any."""
    parts = []
    for arm, unit in ((INDUCTION, " nats"), (FUNCTION, "")):
        found = [_row(rows, Kind.CONTEST_DROP, arm, group, "all", **place) for place in places]
        if any(row is not None for row in found):
            values = ", ".join("-" if row is None else _signed(row.value) for row in found)
            parts.append(f"{names[arm]} {values}{unit}")
    return " and ".join(parts)


def _replaced(rows: pd.DataFrame, group: str) -> Iterator[str]:
    """What replacing by mean or by zero makes of the two rivals, by choice and by the metric."""
    parts = []
    for arm, name in ((INDUCTION, NAMES[INDUCTION]), (FUNCTION, HIGHEST)):
        found = [_row(rows, Kind.CONTEST_DROP, arm, group, "all", way) for way in (WAY, OTHER_WAY)]
        metric = [_row(rows, Kind.CONTEST_DROP, arm, group, "all", way, outcome="metric") for way in (WAY, OTHER_WAY)]
        if None in found:
            continue
        points = listed([number(100 * row.value, 0) for row in metric]) if None not in metric else ""
        accuracy = f" ({points} points of accuracy)" if points else ""
        parts.append(f"without {name} {listed([_signed(row.value) for row in found])} nats{accuracy}")
    if parts:
        yield f"Replaced by their mean and by zero, raw, at all positions: {'; '.join(parts)}."


def _more(row: Any, who: str = "they") -> str:
    """What function-vector heads cost more, or less; neither where the interval holds 0."""
    value, low, high = float(row.value), float(row.ci_low), float(row.ci_high)
    if low <= 0 <= high:
        return f"no difference is shown ({number(value)} nats, {span(low, high)})"
    if high < 0:
        return f"{who} carry {number(-value)} nats less of the choice ({span(-high, -low)})"
    return f"{who} carry {number(value)} nats more of the choice ({span(low, high)})"


def _signs(rows: pd.DataFrame, group: str) -> Iterator[str]:
    """Kinds whose drop has another sign when replaced by zero, or at the last position, than by mean at all (3.3).

    Beyond controls where both have some, else the raw drops: sets replaced by zero have none as a rule. Two drops that
    are both not shown to differ from 0 have no sign to change.
    """
    compared = [
        ("replaced by zero in place of their mean", [((WAY, place), (OTHER_WAY, place)) for place in PLACES]),
        ("removed at the last position only", [((WAY, "all"), (WAY, "last"))]),
    ]
    for change, pairs in compared:
        told = [line for first, second in pairs for line in _turned(rows, group, first, second)]
        if told:
            where = f"On {group} tasks, these" if group != ALL_TASKS else "These"
            yield f"{where} drops of the choice change their sign where heads are {change}: {'; '.join(told)}."


def _turned(rows: pd.DataFrame, group: str, first: tuple[str, str], second: tuple[str, str]) -> Iterator[str]:
    """A kind at a time, both numbers."""
    for arm in _rows(rows, Kind.CONTEST_DROP, b=group, positions=first[1], ablation=first[0])["a"]:
        for kind in (Kind.CONTEST_BEYOND, Kind.CONTEST_DROP):
            both = [_row(rows, kind, arm, group, place, way) for way, place in (first, second)]
            if None in both:
                continue
            if unlike_signs(both[0].value, both[1].value) and any(row.ci_low > 0 or row.ci_high < 0 for row in both):
                what = "beyond controls" if kind is Kind.CONTEST_BEYOND else "raw"
                where = f" {PLACES[first[1]]}" if first[1] == second[1] else ""
                yield f"{arm} ({what}{where}) {_told(both[1])} against {_told(both[0], 'nats')}"
            break


def _named(arm: str, named: Mapping[str, str]) -> str:
    """The highest by a score are no kind by themselves: they are told as what they are."""
    return NAMES.get(arm) or named.get(arm) or f"the heads with the highest {SCORES.get(arm, arm)}"


def _rows(rows: pd.DataFrame, kind: Kind, **wanted: str) -> pd.DataFrame:
    """Rows of class-sized sets removed whole by mean, shared heads kept, of the choice, but for what `wanted` names."""
    found = rows[rows["kind"] == kind]
    places = wanted.pop("positions", None)
    usual = {"outcome": CHOICE, "ablation": WAY, "share": CLASS, "overlap": KEPT, "dose": ""}
    asked = {name: wanted.pop(name, value) for name, value in usual.items()}
    levels = [str(ContestLevel(positions=place, **asked)) for place in PLACES if places in (None, place)]
    found = found[found["level"].isin(levels)]
    for column, value in wanted.items():
        found = found[found[column] == value]
    return found


def _row(
    rows: pd.DataFrame, kind: Kind, arm: str, group: str, positions: str, ablation: str = WAY, **wanted: str
) -> Any:
    of = {"a": arm, "b": group, "positions": positions, "ablation": ablation}
    found = list(_rows(rows, kind, **of, **wanted).itertuples(index=False))
    return found[0] if found else None


def _told(row: Any, unit: str = "") -> str:
    return estimate(row.value, row.ci_low, row.ci_high, sign=True, unit=unit)


def _interval(row: Any) -> str:
    return "-" if row is None else _bracket(row.ci_low, row.ci_high)


def _signed(value: float) -> str:
    return number(value, sign=True)


def _bracket(low: float, high: float) -> str:
    return f"({span(low, high)})" if isfinite(low) else "-"
