"""The card of the selected head: each score on the line of all heads, with its interval, null, p and rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dash import html

from headscope.inspector.asked import asked_head
from headscope.inspector.score_table import ScoreTable, interval, null_mean, number, probability
from headscope.report.contents import WITHOUT_TASK
from interp.errors import UsageError

WIDTH, HEIGHT = 1000, 16
MAIN = (
    "prefix_matching//",
    "copying/argmax/",
    "copying/successor/",
    "copying/signed/",
    "ov_copying//",
    "previous_token/",
    "duplicate_token/",
)


def parts(scores: ScoreTable, asked: tuple[int, int], version: int) -> dict[str, Any]:
    """The head, its title, class, key-value group and scores."""
    try:
        head = asked_head(asked, scores.layers, scores.heads)
    except UsageError as error:
        return {"head": None, "title": "No such head", "class": "", "group": str(error), "scores": []}
    return {
        "head": head,
        "title": f"Head {head[0]}.{head[1]}",
        "class": scores.class_of(head),
        "group": scores.group_of(head),
        "scores": rows(scores, head, version),
    }


def rows(scores: ScoreTable, head: tuple[int, int], version: int) -> list[Any]:
    """Scores without a task as rows, importance on each task as tables."""
    if not scores.entries:
        return [html.P("This head has not been scored yet.", className="note")]
    place = scores.place(head)
    free = [(at, entry) for at, entry in enumerate(scores.entries) if entry["group"] == WITHOUT_TASK]
    drawn = {at: score_row(scores, entry, place, f"/range/{version}/{at}.svg") for at, entry in free}
    found: list[Any] = [drawn.pop(at) for at, entry in free if str(entry["id"]).startswith(MAIN)]
    first = scores.by_id[scores.pair()[1]]["group"]  # what is shown in the second mosaic is folded out
    tables = [(name, entries) for name, entries in scores.groups.items() if name != WITHOUT_TASK]
    tables.sort(key=lambda table: table[0] != first)
    for at, (name, entries) in enumerate(tables):
        found.append(html.Details([html.Summary(name), task_table(scores, entries, place)], open=at == 0))
    if drawn:
        found.append(html.Details([html.Summary("Other variants"), *drawn.values()], open=not found))
    return found


def score_row(scores: ScoreTable, entry: Mapping[str, Any], place: int, ticks: str) -> html.Div:
    """Name and value, the line of all heads, null and rank."""
    value, null = entry["mean"][place], entry["null"][place] if entry["null"] else None
    below = ""
    if null is not None:
        p, family = (probability(entry[name][place]) for name in ("p", "family"))
        below = f"null {null_mean(null, entry)}, p {p}, family-wise {family}"
    return html.Div(
        [
            html.Header(
                [
                    html.Span(entry["label"], title=entry["meaning"]),
                    html.Span([html.B(number(value, entry)), " ", html.Span(interval(entry, place))]),
                ]
            ),
            html.Div(marks(entry, place, ticks), className="range"),
            html.Footer([html.Span(below), html.Span(rank(scores, entry, place))]),
        ],
        className="score",
    )


def rank(scores: ScoreTable, entry: Mapping[str, Any], place: int) -> str:
    ranks = scores.ranks(str(entry["id"]))
    return f"rank {ranks[place]}/{len(ranks)}" if place in ranks else "no such head"


def marks(entry: Mapping[str, Any], place: int, ticks: str) -> list[Any]:
    """A tick for every head, and the selected head's value, interval and null."""
    low, span = extent(entry)
    mask = f"url({ticks})"
    made: list[Any] = [
        html.I(className="base"),
        html.I(className="ticks", style={"maskImage": mask, "WebkitMaskImage": mask}),
        html.I(className="zero", style={"left": percent(0.0, low, span)}),
    ]
    if entry["low"] and entry["low"][place] is not None:
        left, right = ((entry[name][place] - low) / span for name in ("low", "high"))
        made.append(
            html.I(className="interval", style={"left": f"{100 * left:.2f}%", "width": f"{100 * (right - left):.2f}%"})
        )
    for name, kind in (("null", "null"), ("mean", "dot")):
        if entry[name] and entry[name][place] is not None:
            made.append(html.I(className=kind, style={"left": percent(entry[name][place], low, span)}))
    return made


def extent(entry: Mapping[str, Any]) -> tuple[float, float]:
    """Where the line begins, and its width: everything shown on it, and zero."""
    values = [value for name in ("mean", "low", "high", "null") for value in entry[name] if value is not None]
    low, high = min([0.0, *values]), max([0.0, *values])
    return low, (high - low) or 1.0


def percent(value: float, low: float, span: float) -> str:
    return f"{100 * (value - low) / span:.2f}%"


def ticks_svg(entry: Mapping[str, Any]) -> str:
    """The ticks of a score, as the mask of a coloured element."""
    low, span = extent(entry)
    path = "".join(f"M{WIDTH * (value - low) / span:.1f} 4V12" for value in entry["mean"] if value is not None)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">'
        f'<path d="{path}" stroke="#000" stroke-width="1" vector-effect="non-scaling-stroke"/></svg>'
    )


def task_table(scores: ScoreTable, entries: Sequence[Mapping[str, Any]], place: int) -> html.Table:
    """One row a task."""
    body = [
        html.Tr(
            [
                html.Th(entry["short"], scope="row"),
                html.Td(number(entry["mean"][place], entry), className="number"),
                html.Td(interval(entry, place), className="number note"),
                html.Td(rank(scores, entry, place).removeprefix("rank "), className="number note"),
            ]
        )
        for entry in entries
    ]
    headings = [
        html.Th(name, className="number" if at else "") for at, name in enumerate(("Task", "value", "95%", "rank"))
    ]
    return html.Table([html.Thead(html.Tr(headings)), html.Tbody(body)], className="plain-table")
