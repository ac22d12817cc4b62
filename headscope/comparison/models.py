"""Several runs as one table: how much the induction heads carry, where they are, and how much of the heads can go.

One row a run, from what its stages stored:
1. effect: the standardised causal effect of the primary (Method 5): the drop of the choice gain without the induction
   heads beyond the mean of the controls, in standard deviations of the controls; beside it gain and drop in nats.
2. depth: the mean of layer / (number of layers - 1) over the heads classed as induction heads (Method 2.8), from 0 (the
   first layer) to 1; depth_first and depth_last are the outermost of them. A model of one layer has no depth.
3. removable: the share of heads shown removable with 95% of the choice gain kept (Method 4).
4. parameters, as the induction stage counted them; steps, as given, or as a checkpoint's name or revision says.
What a run does not have is NaN. Which runs may stand beside each other: protocols.py. Rows are sorted by parameters,
then by steps.

A slope is least squares over runs, with a Student interval, against the base-10 logarithm of parameters, or against
thousands of steps where all runs have the same number of parameters. Runs of which both vary have none, nor do fewer
than five.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import linregress
from scipy.stats import t as student

from headscope.comparison.protocols import check_alike
from headscope.store.comparisons import FULL, PRIMARY_ASKED, CausalLevel, Kind, removable_row
from headscope.store.names import FEWEST_MODELS
from headscope.store.run import Run
from headscope.store.snapshot import chosen
from interp.errors import UsageError

LEVEL = CausalLevel(*PRIMARY_ASKED)
OUTCOMES = ("effect", "depth", "removable")
CHECKPOINT = re.compile(r"(?:^|[-_])step[-_]?(\d+)$")  # `step-000200`, and Pythia's revisions, `step1000`
PARAMETERS, STEPS = "parameters", "steps"


@dataclass(frozen=True)
class Slope:
    """What an outcome changes by for each tenfold of parameters, or thousand steps, over `n` runs; 95% interval."""

    outcome: str
    against: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ModelComparison:
    """The table, one row a run, and the slopes that it has."""

    table: pd.DataFrame
    slopes: tuple[Slope, ...]
    against: str  # `parameters` or `steps`; empty where neither tells the runs apart, or both do


def compare_models(runs: Sequence[Run], *, steps: Sequence[int] | None = None) -> ModelComparison:
    """Raises UsageError for runs that can't stand beside each other: one alone, equal weights, unlike protocols."""
    if len(runs) < 2:
        raise UsageError("one run has nothing to stand beside: name two run directories or more")
    if steps is not None and len(steps) != len(runs):
        raise UsageError(
            f"--steps has {len(steps)} numbers and there are {len(runs)} runs: give one for each, in order"
        )
    check_alike(runs)
    names = distinct_names([run.folder for run in runs])
    told = [nan] * len(runs) if steps is None else map(float, steps)
    rows = [model_row(run, name, step) for run, name, step in zip(runs, names, told, strict=True)]
    table = pd.DataFrame(rows).sort_values([PARAMETERS, STEPS], kind="stable", ignore_index=True)
    against = axis_of(table)
    return ModelComparison(table, tuple(slopes(table, against)), against)


def model_row(run: Run, name: str, steps: float = nan) -> dict[str, Any]:
    """Everything that the table says of one run."""
    found = {"run": name, "model": str(run.identity.get("source", "")), PARAMETERS: parameters_of(run)}
    found[STEPS] = steps if isfinite(steps) else steps_of(run.identity)
    return {**found, **heads_row(run.classes), **primary_row(run.comparisons), "removable": removable(run.comparisons)}


def heads_row(classes: pd.DataFrame) -> dict[str, Any]:
    """How many heads there are, how many are induction heads, and at which relative depth."""
    layers = int(classes["layer"].max()) + 1
    found = classes[classes["class"] != ""]["layer"].to_numpy(dtype=float)
    depths = found / (layers - 1) if layers > 1 and len(found) else np.array([nan])
    row = {"layers": layers, "heads": len(classes), "induction_heads": len(found)}
    return {**row, "depth": depths.mean(), "depth_first": depths.min(), "depth_last": depths.max()}


def primary_row(rows: pd.DataFrame) -> dict[str, Any]:
    """What the primary read out: gain and drop in nats, the standardised effect, over how many tasks."""
    rows = rows[rows["level"] == str(LEVEL)]
    effect, drop = only(rows, Kind.PRIMARY_EFFECT), only(rows, Kind.PRIMARY_DROP)
    levels = chosen(rows, kind=Kind.PRIMARY_LEVEL, a=FULL).set_index("b")["value"]
    return {
        "tested": effect.get("a", ""),
        "tasks": float(drop.get("n", nan)),
        "gain": levels.get("few", nan) - levels.get("none", nan),
        **valued("drop", drop),
        **valued("effect", effect),
        "p": effect.get("p", nan),
        "controls": float(effect.get("n", nan)),
    }


def only(rows: pd.DataFrame, kind: Kind) -> Mapping[str, Any]:
    """The one row of a kind; empty where there is none."""
    found = rows[rows["kind"] == kind.value].to_dict("records")
    return {str(name): value for name, value in found[0].items()} if found else {}


def valued(name: str, row: Mapping[str, Any]) -> dict[str, float]:
    columns = {name: "value", f"{name}_low": "ci_low", f"{name}_high": "ci_high"}
    return {column: row.get(stored, nan) for column, stored in columns.items()}


def removable(rows: pd.DataFrame) -> float:
    """Percent of the heads shown removable at 95% of the choice gain, in the tasks' own order, at the most shots."""
    found = removable_row(rows, "head")
    return nan if found is None else float(found.value)


def parameters_of(run: Run) -> float:
    """As the induction stage recorded them."""
    return float(run.manifest.recorded(PARAMETERS) or nan)


def steps_of(identity: Mapping[str, Any]) -> float:
    """The step that a checkpoint's revision or folder is named by."""
    for text in (identity.get("revision"), identity.get("source")):
        if found := CHECKPOINT.search(str(text or "")):
            return float(found[1])
    return nan


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each folder's path, and as many parts before it as tell all of them apart."""
    whole = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, whole)) + 1):
        names = ["/".join(parts[-count:]) for parts in whole]
        if len(set(names)) == len(names):
            break
    return names


def axis_of(table: pd.DataFrame) -> str:
    """What tells the runs apart: parameters, or steps where the parameters are equal; empty where both vary."""
    if table[PARAMETERS].isna().any():
        return ""
    sizes, steps = (table[name].nunique(dropna=False) for name in (PARAMETERS, STEPS))
    if sizes > 1:
        return PARAMETERS if steps == 1 else ""
    return STEPS if steps > 1 and table[STEPS].notna().all() else ""


def slopes(table: pd.DataFrame, against: str) -> Iterator[Slope]:
    """One for each outcome that five runs have."""
    if not against:
        return
    x = np.log10(table[PARAMETERS]) if against == PARAMETERS else table[STEPS] / 1000
    for outcome in OUTCOMES:
        known = table[outcome].notna()
        n = int(known.sum())
        if n < FEWEST_MODELS or x[known].nunique() < 2:
            continue
        fit = linregress(x[known], table.loc[known, outcome])
        reach = float(student.ppf(0.975, n - 2)) * float(fit.stderr)
        yield Slope(outcome, against, float(fit.slope), float(fit.slope) - reach, float(fit.slope) + reach, n)
