"""The page of the small models from its tables: sentences, tables and pictures; no model is needed.

What a sentence says of all models it counts; nothing is written by hand that a number could contradict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.stats import spearmanr

from headscope.figures.style import colour, styled

TABLES = ("models", "losses", "heads", "checkpoints", "tasks", "removals")
NAMES = {"small_recall": "recall", "small_kinds": "kinds", "small_facts": "facts"}
CHOICES = {"small_recall": 4, "small_kinds": 2, "small_facts": 3}
ALL = "all induction heads"
THRESHOLD = 0.4  # of prefix matching, Method 2.8
DETAIL = "llama-l2-d64"
LAYER_COLOURS = {1: "grey", 2: "blue", 3: "green", 4: "purple"}
Z = 1.96


@dataclass(frozen=True)
class Tables:
    """The CSV files of a folder, models in the order of their size."""

    models: pd.DataFrame
    losses: pd.DataFrame
    heads: pd.DataFrame
    checkpoints: pd.DataFrame
    tasks: pd.DataFrame
    removals: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Tables:
        held = {name: pd.read_csv(folder / f"{name}.csv", keep_default_na=False) for name in TABLES}
        held["models"] = held["models"].sort_values(["layers", "family", "width"], ascending=[True, False, True])
        return cls(**held)

    @property
    def names(self) -> list[str]:
        return list(self.models["model"])

    def layers(self, model: str) -> int:
        return int(self.models.set_index("model").loc[model, "layers"])

    def shallow(self) -> list[str]:
        """Models of one layer."""
        return [name for name in self.names if self.layers(name) == 1]

    def deep(self) -> list[str]:
        """Models of two layers or more."""
        return [name for name in self.names if self.layers(name) > 1]

    def over_steps(self, model: str, task: str = "") -> pd.DataFrame:
        """A model's rows of `checkpoints`, or of a task, by step."""
        rows = self.tasks[self.tasks["task"] == task] if task else self.checkpoints
        return rows[rows["model"] == model].sort_values("step").set_index("step")

    def last(self, model: str, task: str = "") -> pd.Series:
        return self.over_steps(model, task).iloc[-1]

    def first_step(self, model: str) -> int | None:
        """The first checkpoint with an induction head."""
        steps = self.over_steps(model)
        found = steps.index[steps["induction_heads"] > 0]
        return int(found[0]) if len(found) else None


# ---- sentences ------------------------------------------------------------------------------------------------------


def sentences(tables: Tables) -> Iterator[str]:
    """What came out, in the order of the question."""
    yield one_layer(tables)
    yield more_layers(tables)
    yield from (gains(tables, task) for task in NAMES)
    yield together(tables)
    yield removed(tables)


def one_layer(tables: Tables) -> str:
    rows = tables.heads[tables.heads["model"].isin(tables.shallow())]
    classed = int((rows["class"] != "").sum())
    above = int(rows["above_null"].map(truth).sum())
    return (
        f"**One layer**: {classed or 'none'} of {len(rows)} scores of heads ({count(tables.shallow(), 'model')}, every "
        f"checkpoint) make an induction head; prefix matching is {rows['prefix_matching'].max():.2f} at most, and "
        f"{above} of the scores are above both nulls."
    )


def more_layers(tables: Tables) -> str:
    with_heads = [name for name in tables.deep() if tables.last(name)["induction_heads"] > 0]
    steps = [step for name in with_heads if (step := tables.first_step(name)) is not None]
    best = [float(tables.last(name)["strongest"]) for name in with_heads]
    return (
        f"**Two layers or more**: {len(with_heads)} of {count(tables.deep(), 'model')} end with induction heads, which "
        f"first stand at a checkpoint between steps {min(steps)} and {max(steps)}; at the end the strongest head of each "
        f"has a prefix matching of {min(best):.2f} to {max(best):.2f}."
        if with_heads
        else f"**Two layers or more**: none of {count(tables.deep(), 'model')} ends with an induction head."
    )


def gains(tables: Tables, task: str) -> str:
    says = {
        "small_recall": "the answer stands in the prompt, behind an earlier copy of the query",
        "small_kinds": "the label of the query's kind; the query itself was not shown",
        "small_facts": "the examples tell which fact is asked for; the answer is not among them",
    }
    parts = [
        f"{spread([float(tables.last(name, task)['gain']) for name in held])} nats with {label}"
        for held, label in ((tables.shallow(), "one layer"), (tables.deep(), "more"))
        if held
    ]
    return (
        f"**Choice gain of {NAMES[task]}** ({says[task]}): {', '.join(parts)}; from an even guess to certainty it is "
        f"{log(CHOICES[task]):.2f}."
    )


def together(tables: Tables) -> str:
    """Whether prefix matching and the gain of recall rise in the same interval between checkpoints."""
    held = tables.deep()
    same, rhos = 0, []
    for name in held:
        strongest = tables.over_steps(name)["strongest"].astype(float)
        gain = tables.over_steps(name, "small_recall")["gain"].astype(float)
        same += strongest.diff().idxmax() == gain.diff().idxmax()
        rhos.append(float(spearmanr(strongest, gain).statistic))
    return (
        f"**When**: in {same} of {count(held, 'model')} the strongest head's prefix matching and the choice gain of recall "
        f"rise most between the same two checkpoints; over checkpoints the two go together at a Spearman coefficient "
        f"of {spread(rhos)} (descriptive: both also rise with training)."
    )


def removed(tables: Tables) -> str:
    """What recall loses without all induction heads, beside the single other head that costs most."""
    rows = tables.removals[tables.removals["task"] == "small_recall"]
    parts = []
    for name in tables.deep():
        own = rows[rows["model"] == name].set_index("removed")["drop"].astype(float)
        if ALL in own.index:
            parts.append((own[ALL], float(tables.last(name, "small_recall")["gain"])))
    if not parts:
        return "**Removal**: no model has induction heads to remove."
    shares = [100 * drop / gain for drop, gain in parts]
    return (
        f"**Removal**: without all its induction heads (their mean in their place) a model loses "
        f"{spread([drop for drop, _ in parts])} nats of the choice gain of recall, {spread(shares, 0)}% of it."
    )


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`+0.01 to +0.05`, or the one value."""
    sign = "+" if digits else ""
    ends = [f"{value + 0.0:{sign}.{digits}f}" for value in (min(values), max(values))]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def count(held: Sequence[str], noun: str) -> str:
    return f"{len(held)} {noun}" + ("" if len(held) == 1 else "s")


def truth(value: Any) -> bool:
    """A truth value as pandas reads it from a file whose empty cells are kept."""
    return str(value) == "True"


# ---- tables ---------------------------------------------------------------------------------------------------------


def at_the_end(tables: Tables) -> Iterator[list[str]]:
    yield [
        "model",
        "parameters",
        "heads",
        "induction heads",
        "strongest: prefix matching",
        "repeat score",
        *(f"gain, {name}" for name in NAMES.values()),
    ]
    for name in tables.names:
        last = tables.last(name)
        rows = tables.heads[(tables.heads["model"] == name) & (tables.heads["step"] == last.name)]
        best = rows.loc[rows["prefix_matching"].astype(float).idxmax()]
        yield [
            name,
            f"{int(last['parameters']):,}",
            str(len(rows)),
            str(last["induction_heads"]),
            f"{best['layer']}.{best['head']}: {best['prefix_matching']:.2f} [{best['ci_low']:.2f}, {best['ci_high']:.2f}]",
            f"{float(last['repeat_score']):+.2f}",
            *(with_error(tables.last(name, task), "gain", "gain_stderr") for task in NAMES),
        ]


def when(tables: Tables) -> Iterator[list[str]]:
    yield [
        "model",
        "first checkpoint with an induction head",
        "strongest head, before and at it",
        "gain of recall, before and at it",
        "gain of kinds, before and at it",
    ]
    for name in tables.deep():
        step = tables.first_step(name)
        if step is None:
            yield [name, "none", "-", "-", "-"]
            continue
        series = [tables.over_steps(name)["strongest"], *(tables.over_steps(name, t)["gain"] for t in list(NAMES)[:2])]
        yield [name, str(step), *(before_and_at(one.astype(float), step) for one in series)]


def before_and_at(series: pd.Series, step: int) -> str:
    place = list(series.index).index(step)
    before = f"{series.iloc[place - 1]:.2f}" if place else "-"
    return f"{before}, {series.iloc[place]:.2f}"


def losses_without(tables: Tables) -> Iterator[list[str]]:
    yield ["model", "task", "choice gain", "loss without all induction heads", "most by one of them", "most by one other"]
    for name in tables.names:
        heads = tables.heads[(tables.heads["model"] == name) & (tables.heads["step"] == tables.last(name).name)]
        classed = {f"{row.layer}.{row.head}" for row in heads.itertuples() if row[heads.columns.get_loc("class") + 1]}
        if not classed:
            continue
        for task, label in NAMES.items():
            rows = tables.removals[(tables.removals["model"] == name) & (tables.removals["task"] == task)]
            rows = rows.set_index("removed")
            single = rows.drop(index=ALL)
            yield [
                name,
                label,
                f"{float(tables.last(name, task)['gain']):+.2f}",
                with_error(rows.loc[ALL], "drop", "stderr"),
                *(
                    most(single[[title in classed for title in single.index]]),
                    most(single[[title not in classed for title in single.index]]),
                ),
            ]


def most(rows: pd.DataFrame) -> str:
    """`1.3: +0.52`, the largest drop."""
    if rows.empty:
        return "-"
    drops = rows["drop"].astype(float)
    return f"{drops.idxmax()}: {drops.max():+.2f}"


def with_error(row: pd.Series, value: str, stderr: str) -> str:
    return f"{float(row[value]) + 0.0:+.2f} ± {Z * float(row[stderr]):.2f}"


def markdown(rows: Iterator[list[str]]) -> str:
    heading, *body = rows
    lines = [heading, ["---"] * len(heading), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
