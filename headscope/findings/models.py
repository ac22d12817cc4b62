"""Several runs beside each other in words: the cells of their table, what can be said of all, what a slope means."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

import pandas as pd

from headscope.findings.words import counted, estimate, number
from headscope.store.comparisons import INDUCTION_HEADS
from headscope.store.names import FEWEST_MODELS

HEADINGS = (
    "run",
    "parameters",
    "steps",
    INDUCTION_HEADS,
    "relative depth",
    "tasks",
    "choice gain",
    "drop without them",
    "effect in sd of controls",
    "removable at 95%",
)
OUTCOMES = {
    "effect": "the standardised effect of the induction heads",
    "depth": "their mean relative depth",
    "removable": "the share of heads removable at 95% of the choice gain",
}
UNITS = {"parameters": "tenfold of parameters", "steps": "thousand steps"}
NOTHING = "-"


def cells(row: Any) -> list[str]:
    """One run's line of the table; `-` for what it does not have."""
    return [
        row.run,
        whole(row.parameters),
        whole(row.steps),
        f"{row.induction_heads} of {row.heads}",
        estimate(row.depth, row.depth_first, row.depth_last),
        whole(row.tasks),
        number(row.gain, sign=True),
        estimate(row.drop, row.drop_low, row.drop_high, sign=True),
        estimate(row.effect, row.effect_low, row.effect_high, sign=True),
        f"{row.removable:.0f}%" if isfinite(row.removable) else NOTHING,
    ]


def sentences(table: pd.DataFrame, slopes: Any, against: str) -> Iterator[str]:
    """What the table says, and what it can't."""
    yield from effects(table)
    yield from depths(table)
    yield from missing(table)
    yield from trend(table, slopes, against)


def paired(rho: float, within: float, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> str:
    """How far two runs rank their heads alike by one score."""
    if shapes[0] != shapes[1]:
        sizes = " and ".join(f"{layers} layers of {heads}" for layers, heads in shapes)
        return f"The runs have {sizes} heads, so that no head has a partner: compare by relative depth."
    if not isfinite(rho):
        return "No rank correlation: the score is the same for every head of one run."
    inside = f"; within layers {number(within, sign=True)} on average" if isfinite(within) else ""
    return f"Spearman's rho over heads {number(rho, sign=True)}{inside}."


def effects(table: pd.DataFrame) -> Iterator[str]:
    """In how many runs the heads matter more than their controls."""
    known = table[table["effect"].notna()]
    if known.empty:
        return
    more = known[known["effect_low"] > 0]
    which = f" ({', '.join(more['run'])})" if 0 < len(more) < len(known) else ""
    yield (
        f"In {len(more)} of {len(known)} runs{which} the choice gain drops further without the induction heads than "
        "without matched controls: the interval of the standardised effect is above 0."
    )
    if len(counts := sorted({int(n) for n in known["tasks"]})) > 1:
        yield (
            f"A model is asked only about tasks that it learns: here {counts[0]} to {counted(counts[-1], 'task')}, so "
            "that effects are partly effects on different tasks."
        )
    others = known[known["tested"] != INDUCTION_HEADS]
    if len(others):
        names = ", ".join(f"{row.run}: {row.tested}" for row in others.itertuples(index=False))
        yield f"Where no head is an induction head, other heads were removed ({names})."


def depths(table: pd.DataFrame) -> Iterator[str]:
    known = table[table["depth"].notna()]["depth"]
    if len(known) > 1:
        yield (
            f"The induction heads stand at a mean relative depth of {known.min():.2f} to {known.max():.2f} (0: the "
            "first layer, 1: the last)."
        )
    without = table[table["induction_heads"] == 0]["run"]
    if len(without):
        yield f"No head is an induction head in {', '.join(without)}."


def missing(table: pd.DataFrame) -> Iterator[str]:
    """Stages that some runs lack."""
    absent = {
        "effect": "no answer to the primary question (`headscope study` asks it)",
        "removable": "no pruning by choice gain (`headscope study` or `headscope prune`)",
        "parameters": "no count of parameters (`headscope induction`, once more)",
    }
    for column, what in absent.items():
        names = table[table[column].isna()]["run"]
        if len(names):
            which = "all runs" if len(names) == len(table) else ", ".join(names)
            yield f"Not there: {what} in {which}."


def trend(table: pd.DataFrame, slopes: Any, against: str) -> Iterator[str]:
    """Slopes, or why there is none."""
    if len(table) < FEWEST_MODELS:
        yield f"{len(table)} runs: no slope is given, since that takes at least {FEWEST_MODELS}."
        return
    if not against:
        yield (
            "No slope is given: that takes runs with known numbers of parameters that differ in nothing else, or only "
            "in their training steps (--steps)."
        )
    for slope in slopes:
        yield (
            f"For each {UNITS[slope.against]} {OUTCOMES[slope.outcome]} changes by "
            f"{estimate(slope.value, slope.low, slope.high, sign=True)} (least squares over {slope.n} runs; it "
            "describes these models, which are not a random sample of models)."
        )


def whole(value: float) -> str:
    return f"{value:,.0f}" if isfinite(value) else NOTHING
