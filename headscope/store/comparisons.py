"""The rows of `comparisons.parquet`: every kind, and the text of `a`, `b` and `level`, written and parsed here only.

`a` and `b` name what is compared: a score (`ScoreName`), a task, a ranking at a number of shots (`AtShots`), the
difference of two of them (`Difference`), an order of removal, a set of heads. What `level` holds goes by the kind
(`level_of`): how a coefficient was computed, a step of pruning, an outcome under an ablation, a cut. A value that does
not exist is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
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
ABOVE = "tasks above chance"
INDUCTION_HEADS = "induction heads"
# Names that stand in `level`.
CONTROL_HEADS = "heads"
TESTS = "tests"


class Kind(StrEnum):
    """What a row is about."""

    CROSS_TASK = "cross_task"
    CROSS_TASK_SIGNED = "cross_task_signed"
    CROSS_TASK_OVERLAP = "cross_task_overlap"
    CROSS_SHOT = "cross_shot"
    CROSS_SHOT_SIGNED = "cross_shot_signed"
    RELIABILITY = "reliability"
    INDUCTION_IMPORTANCE = "induction_importance"
    INDUCTION_IMPORTANCE_PRIMARY = "induction_importance_primary"
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
    RETENTION_RAW = "retention_raw"
    RETENTION_EXCESS = "retention_excess"
    EXPLORATORY_FAMILY = "exploratory_family"

    PRUNING_AREA = "pruning_area"
    FULL_METRIC = "full_metric"
    AT_CHANCE = "at_chance"
    UNCHANGED_BOUND = "unchanged_bound"
    REMOVABLE_METRIC = "removable_metric"
    REMOVABLE_LOG_LIKELIHOOD = "removable_log_likelihood"
    PRUNED_METRIC = "pruned_metric"
    PRUNED_LOG_LIKELIHOOD = "pruned_log_likelihood"
    TASKS_ABOVE_CHANCE = "tasks_above_chance"
    POOLED_TASK = "pooled_task"

    SCREEN = "screen"
    SCREEN_LEVEL = "screen_level"
    SCREEN_PASSES = "screen_passes"

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
    PRIMARY_EQUIVALENCE = "primary_equivalence"
    PRIMARY_DOCUMENTS = "primary_documents"
    PRIMARY_TASK = "primary_task"
    PRIMARY_LEVEL = "primary_level"
    PRIMARY_OVERLAP = "primary_overlap"

    CAUSAL_GAIN = "causal_gain"
    CAUSAL_DROP = "causal_drop"
    CAUSAL_CONTROLS = "causal_controls"
    CAUSAL_CONTROLS_OVERLAP = "causal_controls_overlap"
    CAUSAL_CONTROLS_SHARED = "causal_controls_shared"
    CAUSAL_CONTROLS_NORM_GAP = "causal_controls_norm_gap"
    CAUSAL_REPEATS = "causal_repeats"

    @property
    def expected_free(self) -> Kind:
        """What chance gives, all heads alike."""
        return Kind(f"{self}_expected_free")

    @property
    def expected_layer(self) -> Kind:
        """What chance gives with the same number of heads in every layer."""
        return Kind(f"{self}_expected_layer")


# What `compare` and the causal check write and replace as a whole; the other kinds belong to `prune`.
COMPARED = tuple(list(Kind)[: list(Kind).index(Kind.EXPLORATORY_FAMILY) + 1])
CAUSAL = tuple(kind for kind in Kind if kind.startswith("causal_"))
SCREENED = tuple(kind for kind in Kind if kind.startswith("screen"))
PRIMARY = tuple(kind for kind in Kind if kind.startswith("primary_"))
REMOVABLE: dict[str, Kind] = {"metric": Kind.REMOVABLE_METRIC, "log_likelihood": Kind.REMOVABLE_LOG_LIKELIHOOD}
PRUNED: dict[str, Kind] = {"metric": Kind.PRUNED_METRIC, "log_likelihood": Kind.PRUNED_LOG_LIKELIHOOD}


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
class CausalLevel:
    """An outcome, and what stands in for the removed heads: `metric/zero`."""

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


_LEVELS: dict[Kind, Any] = {
    **dict.fromkeys((Kind.CROSS_TASK, Kind.CROSS_TASK_SIGNED, Kind.CROSS_SHOT, Kind.CROSS_SHOT_SIGNED), Coefficient),
    **dict.fromkeys((kind for kind in Kind if kind.startswith("induction_importance")), Coefficient),
    Kind.RELIABILITY: Coefficient,
    Kind.CROSS_TASK_OVERLAP: RankCut.parse,
    **dict.fromkeys((kind for kind in Kind if kind.startswith(("overlap", "set_overlap", "retention"))), RankCut.parse),
    **dict.fromkeys((*REMOVABLE.values(), *PRUNED.values()), PruningLevel.parse),
    **dict.fromkeys((Kind.PRUNING_AREA, Kind.FULL_METRIC, Kind.AT_CHANCE, Kind.UNCHANGED_BOUND), PruningLevel.parse),
    **dict.fromkeys((Kind.TASKS_ABOVE_CHANCE, Kind.POOLED_TASK), PruningLevel.parse),
    **dict.fromkeys((Kind.CAUSAL_DROP, Kind.CAUSAL_CONTROLS), CausalLevel.parse),
    **dict.fromkeys((kind for kind in PRIMARY if kind is not Kind.PRIMARY_OVERLAP), CausalLevel.parse),
    **dict.fromkeys(VECTORS, RankCut.parse),
    **dict.fromkeys(CONTEST, ContestLevel.parse),
}


def row(
    kind: str,
    a: str | ScoreName | AtShots,
    b: str | ScoreName | Difference | AtShots,
    shots: int,
    level: str | RankCut | PruningLevel | CausalLevel | ContestLevel,
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
