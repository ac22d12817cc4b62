"""The rows of `comparisons.parquet`: every kind, and the text of `a`, `b` and `level`, written and parsed here only.

`a` and `b` name what is compared: a score (`ScoreName`), a task, a ranking at a number of shots (`AtShots`), the
difference of two of them (`Difference`), an order of removal, a set of heads. What `level` holds goes by the kind
(`level_of`): how a coefficient was computed, a step of pruning, an outcome under an ablation, a cut. A value that does
not exist is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from ablation.statistics import holm
from headscope.store.tables import COMPARISONS

Row = dict[str, Any]
NO_INTERVAL = (nan, nan)
# Names that stand in `a` or `b` in place of a score or a task.
FULL = "full model"
POOLED = "pooled tasks"
INDUCTION_HEADS = "induction heads"
CONDITIONS = ("few", "none")  # with demonstrations and without
# A name that stands in `level`.
CONTROL_HEADS = "heads"


class Kind(StrEnum):
    """What a row is about."""

    CROSS_TASK = "cross_task"
    CROSS_TASK_SIGNED = "cross_task_signed"
    CROSS_TASK_CHOICE = "cross_task_choice"
    CROSS_TASK_OVERLAP = "cross_task_overlap"
    CROSS_SHOT = "cross_shot"
    CROSS_SHOT_SIGNED = "cross_shot_signed"
    CROSS_SHOT_CHOICE = "cross_shot_choice"
    RELIABILITY = "reliability"
    INDUCTION_IMPORTANCE = "induction_importance"
    INDUCTION_IMPORTANCE_DESCRIPTIVE = "induction_importance_descriptive"
    INDUCTION_IMPORTANCE_PARTIAL = "induction_importance_partial"
    INDUCTION_IMPORTANCE_GAIN = "induction_importance_gain"
    SET_OVERLAP = "set_overlap"
    SET_OVERLAP_EXPECTED_FREE = "set_overlap_expected_free"
    SET_OVERLAP_EXPECTED_LAYER = "set_overlap_expected_layer"
    OVERLAP = "overlap"
    OVERLAP_EXPECTED_FREE = "overlap_expected_free"
    OVERLAP_EXPECTED_LAYER = "overlap_expected_layer"
    OVERLAP_JACCARD = "overlap_jaccard"
    OVERLAP_JACCARD_EXPECTED_FREE = "overlap_jaccard_expected_free"
    OVERLAP_JACCARD_EXPECTED_LAYER = "overlap_jaccard_expected_layer"
    CLASS_RANK = "class_rank"
    CLASS_RANK_DETECTABLE = "class_rank_detectable"
    KNOCK_OUT_SPEARMAN = "knock_out_spearman"
    KNOCK_OUT_SIGNS = "knock_out_signs"
    RETENTION_RAW = "retention_raw"
    RETENTION_EXCESS = "retention_excess"
    EXPLORATORY_FAMILY = "exploratory_family"

    PRUNING_AREA = "pruning_area"
    FULL_METRIC = "full_metric"
    AT_CHANCE = "at_chance"
    UNCHANGED_BOUND = "unchanged_bound"
    REMOVABLE_METRIC = "removable_metric"
    REMOVABLE_CHOICE = "removable_choice"
    REMOVABLE_KEPT = "removable_kept"
    NOT_REMOVABLE_METRIC = "not_removable_metric"
    NOT_REMOVABLE_CHOICE = "not_removable_choice"
    NOT_REMOVABLE_KEPT = "not_removable_kept"
    DECIDING_METRIC = "deciding_metric"
    DECIDING_CHOICE = "deciding_choice"
    DECIDING_KEPT = "deciding_kept"
    PRUNED_METRIC = "pruned_metric"
    PRUNED_CHOICE = "pruned_choice"
    PRUNED_MASS = "pruned_mass"
    PRUNED_MARGIN = "pruned_margin"
    PRUNED_PER_TOKEN = "pruned_per_token"  # noqa: S105 - no password
    PRUNED_KEPT = "pruned_kept"
    POOLED_TASKS = "pooled_tasks"
    POOLED_TASK = "pooled_task"

    FFN_NEEDED = "ffn_needed"

    SCREEN = "screen"
    SCREEN_LEVEL = "screen_level"
    SCREEN_PASSES = "screen_passes"
    SCREEN_DOCUMENTS = "screen_documents"

    VECTOR_RAISE = "vector_raise"
    VECTOR_BEYOND = "vector_beyond"

    CONTEST_DROP = "contest_drop"
    CONTEST_BEYOND = "contest_beyond"
    CONTEST_EFFECT = "contest_effect"
    CONTEST_RANK = "contest_rank"
    CONTEST_CONTROLS = "contest_controls"
    CONTEST_LEVEL = "contest_level"
    CONTEST_AHEAD = "contest_ahead"

    PRIMARY_DROP = "primary_drop"
    PRIMARY_DROP_RANDOM = "primary_drop_random"
    PRIMARY_BEYOND = "primary_beyond"
    PRIMARY_EFFECT = "primary_effect"
    PRIMARY_RANK = "primary_rank"
    PRIMARY_CONTROLS = "primary_controls"
    PRIMARY_CONTROL = "primary_control"
    PRIMARY_EQUIVALENCE = "primary_equivalence"
    PRIMARY_DOCUMENTS = "primary_documents"
    PRIMARY_TASK = "primary_task"
    PRIMARY_LEVEL = "primary_level"
    PRIMARY_OVERLAP = "primary_overlap"
    PRIMARY_REPEATS = "primary_repeats"

    @property
    def expected_free(self) -> Kind:
        """What chance gives, all heads alike."""
        return Kind(f"{self}_expected_free")

    @property
    def expected_layer(self) -> Kind:
        """What chance gives with the same number of heads in every layer."""
        return Kind(f"{self}_expected_layer")


# What each stage writes and replaces as a whole; the other kinds belong to `prune`.
COMPARED = tuple(list(Kind)[: list(Kind).index(Kind.EXPLORATORY_FAMILY) + 1])
SCREENED = tuple(kind for kind in Kind if kind.startswith("screen"))
PRIMARY = tuple(kind for kind in Kind if kind.startswith("primary_"))
PRIMARY_ASKED = ("choice", "mean")  # outcome and way of removing of the primary itself; the other effects are secondary
# What pages tell, and what stands beside it in the tables alone, in no family of tests: near relations of `choice`.
OUTCOMES, RELATED = ("choice", "mass", "metric"), ("margin", "per_token")
# By outcome: shown removable up to, shown not removable from, documents that would decide, change at a step.
REMOVABLE: dict[str, Kind] = {
    "metric": Kind.REMOVABLE_METRIC,
    "choice": Kind.REMOVABLE_CHOICE,
    "kept": Kind.REMOVABLE_KEPT,
}
NOT_REMOVABLE: dict[str, Kind] = {
    "metric": Kind.NOT_REMOVABLE_METRIC,
    "choice": Kind.NOT_REMOVABLE_CHOICE,
    "kept": Kind.NOT_REMOVABLE_KEPT,
}
DECIDING: dict[str, Kind] = {"metric": Kind.DECIDING_METRIC, "choice": Kind.DECIDING_CHOICE, "kept": Kind.DECIDING_KEPT}
PRUNED: dict[str, Kind] = {
    "metric": Kind.PRUNED_METRIC,
    "choice": Kind.PRUNED_CHOICE,
    "mass": Kind.PRUNED_MASS,
    "margin": Kind.PRUNED_MARGIN,
    "per_token": Kind.PRUNED_PER_TOKEN,
    "kept": Kind.PRUNED_KEPT,
}

ABLATIONS = ("mean", "zero", "resample")  # what stands in for pruned components: the first that a run has is told


def removable_row(
    rows: pd.DataFrame, component: str, order: str = "own", outcome: str = "kept", ways: Sequence[str] = ABLATIONS
) -> Any:
    """What is shown removable over the pooled tasks, by the first of these ablations that is there, at the most shots;
    None without any.
    """
    kept = rows[(rows["kind"] == REMOVABLE[outcome]) & (rows["a"] == POOLED) & (rows["b"] == order)]
    for ablation in ways:
        found = kept[kept["level"] == str(PruningLevel(component, ablation))].sort_values("shots")
        if len(found):
            return list(found.itertuples(index=False))[-1]
    return None


class Coefficient(StrEnum):
    """How an agreement of two rankings was computed; the corrected ones are free of the noise of both."""

    GLOBAL = "global"
    WITHIN_LAYER = "within_layer"
    GLOBAL_CORRECTED = "global_corrected"
    WITHIN_LAYER_CORRECTED = "within_layer_corrected"
    KENDALL = "kendall"
    BANSAL_RELEASED = "bansal_released"

    @property
    def corrected(self) -> Coefficient:
        return Coefficient(f"{self}_corrected")


VECTORS = tuple(kind for kind in Kind if kind.startswith("vector_"))
CONTEST = tuple(kind for kind in Kind if kind.startswith("contest_"))
FUNCTION_VECTOR = "function vector"  # stands in `a`


@dataclass(frozen=True)
class ScoreName:
    """`prefix_matching`, `copying/argmax`."""

    score: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.score}/{self.variant}" if self.variant else self.score

    @classmethod
    def parse(cls, text: str) -> ScoreName:
        score, _, variant = text.partition("/")
        return cls(score, variant)


@dataclass(frozen=True)
class KnockOutVariant:
    """The variant of a stored knock-out: the outcome, and `later` where position 0 was spared: `metric/later`."""

    outcome: str
    positions: str = ""

    def __str__(self) -> str:
        return f"{self.outcome}/{self.positions}" if self.positions else self.outcome

    @classmethod
    def parse(cls, text: str) -> KnockOutVariant:
        outcome, _, positions = text.partition("/")
        return cls(outcome, positions)


@dataclass(frozen=True)
class AtShots:
    """A ranking at a number of shots: `copa@5`, `importance/token@0`."""

    name: str
    shots: int

    def __str__(self) -> str:
        return f"{self.name}@{self.shots}"

    @classmethod
    def parse(cls, text: str) -> AtShots:
        name, _, shots = text.rpartition("@")
        return cls(name, int(shots))


@dataclass(frozen=True)
class Difference:
    """One ranking minus another: `importance/token@5 - importance/token@0`."""

    first: AtShots
    second: AtShots

    def __str__(self) -> str:
        return f"{self.first} - {self.second}"

    @classmethod
    def parse(cls, text: str) -> Difference:
        first, _, second = text.partition(" - ")
        return cls(AtShots.parse(first), AtShots.parse(second))


@dataclass(frozen=True)
class RankCut:
    """Where a ranking is cut: the top q percent, p percent pruned, the top k heads. `q=10`, `p=70`, `k=11`."""

    unit: str
    number: int

    def __str__(self) -> str:
        return f"{self.unit}={self.number}"

    @classmethod
    def parse(cls, text: str) -> RankCut:
        unit, _, number = text.partition("=")
        return cls(unit, int(number))


@dataclass(frozen=True)
class PruningLevel:
    """What is pruned, what stands in for it, and a step: `head/zero`, `head/zero/p=50`, `both/mean/h=70,f=20`.

    percent: of the component; heads and ffns: of each, in the joint grid. All None where the row is over all steps.
    """

    component: str
    ablation: str
    percent: int | None = None
    heads: int | None = None
    ffns: int | None = None

    def __str__(self) -> str:
        values = {"p": self.percent, "h": self.heads, "f": self.ffns}
        step = ",".join(f"{letter}={value}" for letter, value in values.items() if value is not None)
        return "/".join(part for part in (self.component, self.ablation, step) if part)

    @classmethod
    def parse(cls, text: str) -> PruningLevel:
        component, ablation, *step = text.split("/")
        sizes = [RankCut.parse(part) for part in step[0].split(",")] if step else []
        names = {"p": "percent", "h": "heads", "f": "ffns"}
        return cls(component, ablation, **{names[size.unit]: size.number for size in sizes})

    def at(self, heads: int, ffns: int) -> PruningLevel:
        """The step that removes these percentages of heads and of FFNs."""
        if self.component == "both":
            return PruningLevel(self.component, self.ablation, heads=heads, ffns=ffns)
        return PruningLevel(self.component, self.ablation, percent=heads + ffns)

    @property
    def whole(self) -> PruningLevel:
        """The curve or grid that the step is of."""
        return PruningLevel(self.component, self.ablation)


@dataclass(frozen=True)
class ControlSet:
    """One of several sets of heads that a tested set is held against: `group_matched/17`."""

    kind: str
    draw: int

    def __str__(self) -> str:
        return f"{self.kind}/{self.draw}"

    @classmethod
    def parse(cls, text: str) -> ControlSet:
        kind, _, draw = text.rpartition("/")
        return cls(kind, int(draw))


@dataclass(frozen=True)
class CausalLevel:
    """An outcome, and how heads or FFNs are removed: `metric/zero`, `choice/mean/later`."""

    outcome: str
    ablation: str

    def __str__(self) -> str:
        return f"{self.outcome}/{self.ablation}"

    @classmethod
    def parse(cls, text: str) -> CausalLevel:
        outcome, _, ablation = text.partition("/")
        return cls(outcome, ablation)


@dataclass(frozen=True)
class ContestLevel:
    """An outcome, how heads are removed, and which: `choice/mean/last/class/kept`, `choice/mean/all/class/kept/0.5`.

    share: `class` (as many as there are induction heads), or `5%`. overlap: whether heads that another arm has too are
    `kept` or `left out`. dose: how far the heads are removed, where it is not wholly. Of the whole model: the outcome.
    """

    outcome: str
    ablation: str = ""
    positions: str = ""
    share: str = ""
    overlap: str = ""
    dose: str = ""

    def __str__(self) -> str:
        parts = (self.outcome, self.ablation, self.positions, self.share, self.overlap, self.dose)
        return "/".join(part for part in parts if part)

    @classmethod
    def parse(cls, text: str) -> ContestLevel:
        return cls(*text.split("/"))


def level_of(kind: str, text: str) -> Any:
    """The level of a row of this kind, parsed; plain text where it has no parts. Raises ValueError for another text."""
    parse = _LEVELS.get(Kind(kind), str)
    return parse(text)


CROSS = tuple(kind for kind in Kind if kind.startswith("cross_") and kind is not Kind.CROSS_TASK_OVERLAP)
CUT = tuple(kind for kind in Kind if kind.startswith(("overlap", "set_overlap", "retention")))
_LEVELS: dict[Kind, Any] = {
    **dict.fromkeys((*CROSS, Kind.RELIABILITY, Kind.CLASS_RANK, Kind.CLASS_RANK_DETECTABLE), Coefficient),
    **dict.fromkeys((kind for kind in Kind if kind.startswith("induction_importance")), Coefficient),
    **dict.fromkeys((Kind.KNOCK_OUT_SPEARMAN, Kind.KNOCK_OUT_SIGNS), ScoreName.parse),
    **dict.fromkeys((Kind.CROSS_TASK_OVERLAP, *CUT), RankCut.parse),
    **dict.fromkeys(
        (*REMOVABLE.values(), *NOT_REMOVABLE.values(), *DECIDING.values(), *PRUNED.values()), PruningLevel.parse
    ),
    **dict.fromkeys((Kind.PRUNING_AREA, Kind.FULL_METRIC, Kind.AT_CHANCE, Kind.UNCHANGED_BOUND), PruningLevel.parse),
    **dict.fromkeys((Kind.POOLED_TASKS, Kind.POOLED_TASK), PruningLevel.parse),
    **dict.fromkeys(
        (Kind.FFN_NEEDED, *(kind for kind in PRIMARY if kind is not Kind.PRIMARY_OVERLAP)), CausalLevel.parse
    ),
    **dict.fromkeys(VECTORS, RankCut.parse),
    **dict.fromkeys(CONTEST, ContestLevel.parse),
}


def row(
    kind: str,
    a: str | ScoreName | AtShots,
    b: str | ScoreName | Difference | AtShots | ControlSet,
    shots: int,
    level: str | RankCut | PruningLevel | CausalLevel | ContestLevel | ScoreName,
    value: float,
    *,
    interval: tuple[float, float] = NO_INTERVAL,
    p: float = nan,
    p_holm: float = nan,
    n: int = 0,
) -> Row:
    """One comparison; `n` counts heads unless the kind says otherwise."""
    low, high = interval
    return {
        "kind": Kind(kind).value,
        "a": str(a),
        "b": str(b),
        "shots": shots,
        "level": str(level),
        "value": float(value),
        "ci_low": float(low),
        "ci_high": float(high),
        "p": float(p),
        "p_holm": float(p_holm),
        "n": int(n),
    }


def with_holm(rows: Iterable[Row]) -> list[Row]:
    """The rows with Holm's p over all of them that have a p."""
    tested = list(rows)
    adjusted = holm(np.array([test["p"] for test in tested], dtype=float))
    return [{**test, "p_holm": float(p)} for test, p in zip(tested, adjusted, strict=True)]


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table, in the store's columns."""
    return pd.DataFrame(list(rows), columns=list(COMPARISONS.columns)).astype(dict(COMPARISONS.columns))
