"""The figures a run can show: what each is called, what it says, which rows it is drawn from, which command makes them.

An entry gives panels: one for every metric, number of shots, task or level that the run has. The report shows them all;
`draw` picks one. Panels are drawn when they are asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ablation.statistics.reliability import LOW_RELIABILITY
from headscope.figures.contest import contest_dots
from headscope.figures.dots import dot_plot, dots_of
from headscope.figures.importance_scatter import importance_scatter
from headscope.figures.joint_grid import joint_grid
from headscope.figures.knock_out import ffn_knockout
from headscope.figures.layer_profile import layer_profile
from headscope.figures.overlap import CHANCE, overlap_curves
from headscope.figures.panel_order import LEVELS, Labels, primary_first
from headscope.figures.pruning import metric_label, pruning_curves
from headscope.figures.rank_matrix import rank_matrix, shot_matrix
from headscope.figures.retention import KINDS, retention_curves
from headscope.figures.transfer import transfer_matrix
from headscope.store.comparisons import RELATED, AtShots, Kind, KnockOutVariant, ScoreName
from headscope.store.glossary import FOLDED, TERMS, label_of, term
from headscope.store.run import Run
from headscope.store.scores import IMPORTANCE
from headscope.store.snapshot import Stored, chosen, combinations, grid
from interp.errors import UsageError
from interp.figure import mosaic
from interp.theme import colour_bar, plain_text

KNOCK_OUT = "knock_out"
SAMPLED = "_sample"  # of some heads only
TOKEN = str(ScoreName(IMPORTANCE, "token"))
TRANSFER_PERCENT = 50.0
CONTEST_SETS, ALL_TASKS = "contest", "all tasks"


@dataclass(frozen=True)
class Panel:
    """One plot of a figure; `labels` tell it from the others; a folded one is one task's among many."""

    title: str
    draw: Callable[[], go.Figure]
    labels: Mapping[str, Any] = field(default_factory=dict)
    folded: bool = False


@dataclass(frozen=True)
class Entry:
    """A figure by name; `command` makes its data."""

    name: str
    title: str
    caption: str
    command: str
    panels: Callable[[Stored], Iterator[Panel]]


def draw(run: Run, name: str, **labels: Any) -> go.Figure:
    """The first panel of a figure with these labels (`task="copa"`, `shots=5`, `metric="acc"`, `score=...`).

    Raises UsageError for a name that is none of NAMES, and for a panel that the run has no data for.
    """
    entry = next((entry for entry in CATALOGUE if entry.name == name), None)
    if entry is None:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"there is no figure {name!r}: {hint}there are {', '.join(NAMES)}")
    panels = list(entry.panels(Stored(run)))
    if not panels:
        raise UsageError(f"the run '{run.folder}' has no data for the figure {name!r} yet: {entry.command} makes it")
    for panel in panels:
        if all(panel.labels.get(key) == value for key, value in labels.items()):
            return panel.draw()
    listed = "; ".join(dict.fromkeys(str(dict(panel.labels)) for panel in panels[:12]))
    raise UsageError(f"the figure {name!r} has no panel with {labels}; it has {listed}")


def _mosaics(stored: Stored) -> Iterator[Panel]:
    listed = combinations(stored.head_scores, "score", "variant", "task", "shots")
    for labels in primary_first(listed, "score", "variant", "shots", "task"):
        rows = chosen(stored.head_scores, **labels)
        title = term(str(labels["score"]), str(labels["variant"])).label
        title += f", {labels['task']}, {in_context(labels['shots'])}" if labels["task"] else ""
        bar = colour_bar(plain_text(_named(labels)))
        yield Panel(title, partial(mosaic, grid(rows), title=title, colorbar=bar), labels)


def _named(labels: Labels) -> str:
    return term(str(labels["score"]), str(labels["variant"])).label


def _profiles(stored: Stored) -> Iterator[Panel]:
    """The scores of the first rank stand open; variants, and scores of tasks (their mean over tasks), are folded."""
    rows = stored.head_scores
    listed = combinations(rows.assign(tasks=rows["task"] != ""), "score", "variant", "shots", "tasks")
    for labels in sorted(listed, key=_first):
        part = chosen(rows, score=labels["score"], variant=labels["variant"], shots=labels["shots"])
        part = part[(part["task"] != "") == labels["tasks"]]
        tasks = sorted(set(part["task"]))
        values = grid(part.groupby(["layer", "head"], as_index=False)["mean"].mean())
        how = f"mean over {len(tasks)} tasks" if len(tasks) > 1 else "".join(tasks)
        if labels["score"] == IMPORTANCE and len(tasks) > 1:
            shares = stored.aggregate(str(labels["variant"]), int(labels["shots"]))
            values = np.full(values.shape, np.nan) if shares is None else shares
            how += ", each over its total"
        title = _named(labels)
        if labels["tasks"]:
            title += f", {in_context(labels['shots'])}, {how}"
        if str(labels["score"]).endswith(SAMPLED):
            count = int(np.isfinite(values).sum())
            title += f", {count} head{'' if count == 1 else 's'}"
        told = {name: labels[name] for name in ("score", "variant", "shots")}
        folded = bool(labels["tasks"]) or (labels["score"], labels["variant"]) in FOLDED
        drawn = partial(layer_profile, values, name=_named(labels), title=title)
        yield Panel(title, drawn, {**told, "task": "" if not labels["tasks"] else "mean"}, folded)


def _first(labels: Labels) -> tuple[Any, ...]:
    """In the order of the glossary, scores without a task in front."""
    listed, name = list(TERMS), (labels["score"], labels["variant"])
    return bool(labels["tasks"]), listed.index(name) if name in listed else len(listed), *name, -int(labels["shots"])


def _knockouts(stored: Stored) -> Iterator[Panel]:
    """Variants are `OUTCOME` and `OUTCOME/later`: a panel holds one outcome, its lines are the positions."""
    rows = stored.ffn_scores[stored.ffn_scores["score"] == KNOCK_OUT]
    parts = [KnockOutVariant.parse(variant) for variant in rows["variant"]]
    rows = rows.assign(outcome=[part.outcome for part in parts], variant=[part.positions for part in parts])
    rows = rows[~rows["outcome"].isin(RELATED)]
    for labels in primary_first(combinations(rows, "outcome", "shots"), "outcome", "shots"):
        part, outcome = chosen(rows, **labels), metric_label(str(labels["outcome"]))
        tasks = sorted(set(part["task"]))
        for names in [tasks, *([task] for task in tasks if len(tasks) > 1)]:
            title = f"{outcome.capitalize()}, {in_context(labels['shots'])}"
            folded = len(names) < len(tasks)
            title = f"{names[0]}: {title}" if folded else title
            drawn = partial(ffn_knockout, chosen(part, task=names), title=title)
            yield Panel(title, drawn, {**labels, "task": names[0]} if folded else labels, folded)


def _pruning(component: str) -> Callable[[Stored], Iterator[Panel]]:
    def panels(stored: Stored) -> Iterator[Panel]:
        rows = chosen(stored.metrics, component=component)
        for labels in _by_metric(rows):
            part = chosen(rows, **labels)
            tasks = sorted(set(part["task"]))
            yield Panel(*_curves(part, component, _count(tasks, "task")), labels)
            for task in tasks if len(tasks) > 1 else []:
                drawn = _curves(chosen(part, task=task), component, task, legend=False, height=280)
                yield Panel(*drawn, {**labels, "task": task}, True)

    return panels


def _curves(rows: pd.DataFrame, component: str, name: str, **options: Any) -> tuple[str, Callable[[], go.Figure]]:
    title = f"{name}, {_setting(rows)}"
    return title, partial(pruning_curves, rows, component=component, title=title, **options)


def _setting(rows: pd.DataFrame) -> str:
    """Shots, and the ablation where it is another than zero."""
    first = rows.iloc[0]
    ablation = "" if first["ablation"] == "zero" else f", {first['ablation']} ablation"
    return in_context(first["shots"]) + ablation


def _joint(stored: Stored) -> Iterator[Panel]:
    rows = chosen(stored.metrics, component="both", order="own")
    for labels in _by_metric(rows):
        part = chosen(rows, **labels)
        if ((part["percent_heads"] == 0) & (part["percent_ffns"] == 0)).any():
            title = f"{metric_label(str(labels['metric'])).capitalize()}, {_setting(part)}"
            yield Panel(title, partial(joint_grid, part, title=title), labels)


def _transfer(stored: Stored) -> Iterator[Panel]:
    rows = chosen(stored.metrics, component="head")
    rows = chosen(rows, order=["own", "aggregate", *set(rows["task"])])
    if not set(rows["order"]) - {"own", "aggregate"}:
        return
    percents = sorted(set(rows["percent_heads"]) - {0.0})
    percent = min(percents, key=lambda value: abs(value - TRANSFER_PERCENT)) if percents else 0.0
    for labels in _by_metric(rows):
        part = chosen(rows, **labels, percent_heads=[0.0, percent])
        title = f"{metric_label(str(labels['metric'])).capitalize()}, {percent:g}% of heads removed, {_setting(part)}"
        yield Panel(title, partial(transfer_matrix, part, title=title), labels)


def _matrices(kind: str, draw: Callable[..., go.Figure]) -> Callable[[Stored], Iterator[Panel]]:
    def panels(stored: Stored) -> Iterator[Panel]:
        rows = chosen(stored.comparisons, kind=kind)
        for labels in primary_first(combinations(rows, "level", "shots"), "level", "shots"):
            part = reliable(chosen(rows, **labels), stored.comparisons, str(labels["level"]))
            if part.empty:
                continue
            shots = f", {in_context(labels['shots'])}" if labels["shots"] >= 0 else ""
            title = LEVELS.get(str(labels["level"]), str(labels["level"])) + shots
            yield Panel(title, partial(draw, part, title=title), labels)

    return panels


def reliable(rows: pd.DataFrame, comparisons: pd.DataFrame, level: str) -> pd.DataFrame:
    """Without comparisons of a ranking whose reliability is under .6 (Method 5): they would show noise."""
    within = "within_layer" if level.startswith("within_layer") else "global"
    every = chosen(comparisons, kind=Kind.RELIABILITY, b=TOKEN, level=within)
    low = every[~(every["value"] >= LOW_RELIABILITY)]
    noisy = {str(AtShots(row.a, row.shots)) for row in low.itertuples(index=False)}
    kept = [
        not noisy & {side if "@" in side else str(AtShots(side, row.shots)) for side in (row.a, row.b)}
        for row in rows.itertuples(index=False)
    ]
    return rows[np.array(kept, dtype=bool)]


def _retention(stored: Stored) -> Iterator[Panel]:
    rows = chosen(stored.comparisons, kind=list(KINDS))
    for labels in primary_first(combinations(rows, "b", "shots"), "b", "shots"):
        part = chosen(rows, **labels)
        title = f"{label_of(str(labels['b']))} as the order, {in_context(labels['shots'])}"
        yield Panel(title, partial(retention_curves, part, title=title), labels)


def _overlap(stored: Stored) -> Iterator[Panel]:
    rows = chosen(stored.comparisons, kind=[Kind.OVERLAP, *CHANCE])
    for labels in primary_first(combinations(rows, "shots"), "shots"):
        part, title = chosen(rows, **labels), in_context(labels["shots"])
        yield Panel(title, partial(overlap_curves, part, title=title), labels)


def _scatter(stored: Stored) -> Iterator[Panel]:
    matching = chosen(stored.head_scores, score="prefix_matching", variant="", task="")
    if matching.empty:
        return
    rows = chosen(stored.head_scores, score=IMPORTANCE)
    listed = combinations(rows[rows["task"] != ""], "variant", "shots")
    for labels in primary_first(listed, "variant", "shots"):
        importance = stored.aggregate(str(labels["variant"]), int(labels["shots"]))
        if importance is not None:
            look = {"classes": stored.classes, "y": f"aggregate importance ({labels['variant']})"}
            title = f"Importance ({labels['variant']}), {in_context(labels['shots'])}"
            yield Panel(title, _points(grid(matching), importance, title=title, **look), labels)


def _points(*scores: Any, **options: Any) -> Callable[[], go.Figure]:
    return partial(importance_scatter, *scores, **options)


def _dots(stored: Stored) -> Iterator[Panel]:
    dots = dots_of(stored.comparisons)
    if dots:
        yield Panel("Drop of the gain", partial(dot_plot, dots, x="drop"))


def _contest(stored: Stored) -> Iterator[Panel]:
    held = stored.run.item_names
    sets = stored.run.items(CONTEST_SETS) if CONTEST_SETS in held else pd.DataFrame()
    groups = dict.fromkeys((ALL_TASKS, *sorted(set(chosen(stored.comparisons, kind=Kind.CONTEST_DROP)["b"]))))
    for group in groups:
        for positions, where in (("all", "all positions"), ("last", "the last position")):
            dots = contest_dots(stored.comparisons, sets, group=group, positions=positions)
            if dots:
                title = f"{group.capitalize()}, removed at {where}"
                labels = {"positions": positions, "group": group}
                yield Panel(title, partial(dot_plot, dots, title=title), labels, group != ALL_TASKS)


def in_context(shots: Any) -> str:
    """How many examples the context held."""
    return f"{shots} shot" if shots == 1 else f"{shots} shots"


def _by_metric(rows: pd.DataFrame) -> list[Labels]:
    rows = rows[~rows["metric"].isin(RELATED)]
    return primary_first(combinations(rows, "metric", "shots", "ablation"), "metric", "shots", "ablation")


def _count(things: list[str], noun: str) -> str:
    return f"Mean of {len(things)} {noun}s" if len(things) > 1 else things[0]


CATALOGUE = (
    Entry(
        "mosaic", "The mosaic of heads", "One score of every head, layers downwards.", "`headscope induction`", _mosaics
    ),
    Entry(
        "dots",
        "What is lost without the heads",
        "How much less the demonstrations are worth without the tested heads (diamonds, 95% interval by document) and "
        "without as many others of the same layers and key-value groups (a point a control set; bars: 5th to 95th "
        "percentile). Above zero: the heads were needed.",
        "`headscope study`",
        _dots,
    ),
    Entry(
        "contest",
        "Which kind of head carries the choice?",
        "What tasks lose without as many heads of each kind, replaced by their mean (diamonds), and without as many "
        "others of the same layers and key-value groups (a point a control set; bars: 5th to 95th percentile). Above "
        "zero: heads were needed.",
        "`headscope contest`",
        _contest,
    ),
    Entry(
        "pruning_heads",
        "Pruning heads",
        "The metric as attention heads are removed, least important first, beside its controls: random orders and "
        "orders with the identities of heads shuffled within each layer (median and 5th to 95th percentile over "
        "draws), and the inverse order. Heads are ranked on training documents and evaluated on validation documents.",
        "`headscope prune --component head`",
        _pruning("head"),
    ),
    Entry(
        "pruning_kv_groups",
        "Pruning key-value groups",
        "As the figure of pruned heads, for all heads at once that share a key-value head.",
        "`headscope prune --unit group`",
        _pruning("kv_group"),
    ),
    Entry(
        "pruning_ffns",
        "Pruning FFNs",
        "As the figure of pruned heads, for feed-forward networks.",
        "`headscope prune --component ffn`",
        _pruning("ffn"),
    ),
    Entry(
        "joint_grid",
        "Pruning heads and FFNs together",
        "Change of the metric against the full model when both are removed, each in its own order.",
        "`headscope prune --component both`",
        _joint,
    ),
    Entry(
        "ffn_knockout",
        "FFN knock-out by layer",
        "What is lost when one FFN is removed: the full model's value minus that without the FFN, so that positive "
        "means needed. Where position 0 is spared, the FFN is removed everywhere else. Thin lines are single tasks.",
        "`headscope knockout --component ffn`",
        _knockouts,
    ),
    Entry(
        "cross_task",
        "Do tasks need the same heads?",
        "Correlation of the importance of heads between tasks; a star marks p of at most .05 after Holm's correction "
        "within the matrix. Within layers, a trend over layers alone counts for nothing; disattenuated means divided "
        "by what the reliability of the scores allows. The paper's released code correlates head numbers, not ranks.",
        "`headscope compare`",
        _matrices(Kind.CROSS_TASK, rank_matrix),
    ),
    Entry(
        "cross_shot",
        "Do more examples call for other heads?",
        "Correlation of the importance of heads between numbers of examples in the context, task by task and of the "
        "aggregate over tasks; a star marks p of at most .05 after Holm's correction within the matrix.",
        "`headscope compare`",
        _matrices(Kind.CROSS_SHOT, shot_matrix),
    ),
    Entry(
        "transfer",
        "Pruning by another task's ranking",
        "Change of the metric of the task in the row when heads are removed by the ranking of the task in the column.",
        "`headscope prune --order TASK`",
        _transfer,
    ),
    Entry(
        "importance_scatter",
        "Induction heads against important heads",
        "One point a head: prefix matching, and importance averaged over tasks after dividing each task's scores by "
        "their total. Marks show the class of induction heads.",
        "`headscope importance`, after `headscope induction`,",
        _scatter,
    ),
    Entry(
        "overlap",
        "Overlap of induction heads and important heads",
        "Share of the top heads that two rankings have in common, and what chance gives freely and with the same "
        "number of heads in every layer.",
        "`headscope compare`",
        _overlap,
    ),
    Entry(
        "retention",
        "What pruning leaves of each score",
        "Share of a score's total still in the model after the least important heads are removed; the dotted line is "
        "pruning in random order.",
        "`headscope compare`",
        _retention,
    ),
    Entry(
        "layer_profile",
        "Layer by layer",
        "Each score by layer: the mean of the layer's heads and the highest of them; the lowest where a score has two "
        "sides.",
        "`headscope induction`",
        _profiles,
    ),
)
NAMES = tuple(entry.name for entry in CATALOGUE)
