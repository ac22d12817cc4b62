"""The causal check: does in-context learning need the induction heads? (METHODS 5)

1. Remove the top 1, 3, 5, 10% induction heads, and the heads classed as such, by `zero` and by `mean`.
2. Remove control sets of the same size: random, layer-matched, layer- and norm-matched (control_sets.py).
3. Outcome: the drop of (k-shot minus 0-shot), paired by document: what the examples in the context are worth to the
   whole model, less what they are worth to the model without the heads. Positive = the heads were needed for it.
4. Every set is reported, with the median of the controls and the rank p = (1 + #) / (N + 1). Heads may be chosen on
   loss over repeated tokens, so that loss is a check of the manipulation, and no evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from ablation.control_sets import CONTROLS, KINDS, TESTED, Head, HeadSet, all_sets
from ablation.evaluation import Evaluate, Evaluation, evaluate, number
from ablation.replacement import Replacement
from ablation.statistics.intervals import cluster_mean
from ablation.statistics.permutation import RankP, rank_p_value
from interp.errors import UsageError
from interp.masks import HeadMask

if TYPE_CHECKING:
    import pandas as pd

    from interp.model import HookedModel

OUTCOMES = ("metric", "log_likelihood")
RepeatLoss = Callable[[HeadMask, Replacement | None], float]
Way = Replacement | None | tuple[Replacement | None, Replacement | None]


@dataclass(frozen=True)
class Shots:
    """A task's evaluations with k demonstrations and with none, on the same documents in the same order."""

    few: Evaluation
    none: Evaluation

    def __post_init__(self) -> None:
        if self.few.documents != self.none.documents or self.few.units != self.none.units:
            raise UsageError(
                "the k-shot and the 0-shot task must have the same documents in the same order: load both "
                "with the same split and limit"
            )

    def gain(self, outcome: str) -> Float[np.ndarray, "item"]:
        """What the demonstrations are worth: by unit in points of the metric, or by document in nats."""
        if outcome == "metric":
            return self.few.values - self.none.values
        return self.few.gold_log_likelihoods - self.none.gold_log_likelihoods

    def clusters(self, outcome: str) -> tuple[str, ...]:
        return self.few.clusters if outcome == "metric" else self.few.document_clusters


@dataclass(frozen=True)
class Removed:
    """A set of heads removed in one way. repeat_loss: loss on repeated tokens, where it was measured (nats)."""

    heads: HeadSet
    ablation: str
    shots: Shots
    repeat_loss: float | None = None


@dataclass(frozen=True)
class CausalTest:
    """One tested set against one kind of control: mean drop, its standard error by cluster, and its rank."""

    tested: str
    ablation: str
    control: str
    outcome: str
    drop: float
    stderr: float
    rank: RankP
    controls: Float[np.ndarray, "control"]


@dataclass(frozen=True)
class CausalCheck:
    """Everything that was removed, beside the whole model."""

    task: str
    shots: int
    full: Shots
    removed: tuple[Removed, ...]

    def drop(self, removed: Removed, outcome: str) -> Float[np.ndarray, "item"]:
        """Drop of (k-shot minus 0-shot), item by item."""
        if outcome not in OUTCOMES:
            raise UsageError(f"{outcome!r} is no outcome; there are {', '.join(OUTCOMES)}")
        return self.full.gain(outcome) - removed.shots.gain(outcome)

    def tests(self, outcome: str = "metric") -> list[CausalTest]:
        """Every tested set and kind of ablation against every kind of control."""
        return list(self._tests(outcome))

    def to_frame(self) -> pd.DataFrame:
        """One row a set, ablation and outcome: the sets themselves, controls included."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "task": self.task,
                    "shots": self.shots,
                    "tested": one.heads.tested,
                    "kind": one.heads.kind,
                    "draw": one.heads.draw,
                    "ablation": one.ablation,
                    "outcome": outcome,
                    "removed": len(one.heads.heads),
                    "drop": float(self.drop(one, outcome).mean()),
                    "repeat_loss": one.repeat_loss,
                    "moved": one.heads.moved,
                    "norm_gap": one.heads.norm_gap,
                    "heads": ",".join(f"{layer}.{head}" for layer, head in one.heads.heads),
                }
                for outcome in OUTCOMES
                for one in self.removed
            ]
        )

    def _tests(self, outcome: str) -> Iterator[CausalTest]:
        clusters = number(self.full.clusters(outcome))
        for one in self.removed:
            if one.heads.kind != TESTED:
                continue
            drop = self.drop(one, outcome)
            stderr = cluster_mean(drop, clusters).stderr if clusters.max() else float("nan")
            for kind in KINDS:
                controls = np.array([self.drop(other, outcome).mean() for other in self._controls(one, kind)])
                if controls.size:
                    rank = rank_p_value(float(drop.mean()), controls)
                    yield CausalTest(
                        one.heads.tested, one.ablation, kind, outcome, float(drop.mean()), stderr, rank, controls
                    )

    def _controls(self, tested: Removed, kind: str) -> Iterator[Removed]:
        for one in self.removed:
            if (one.heads.tested, one.heads.kind, one.ablation) == (tested.heads.tested, kind, tested.ablation):
                yield one


def causal_check(
    model: HookedModel,
    few: Any,
    none: Any,
    sets: Mapping[str, Sequence[Head]] | Sequence[HeadSet],
    *,
    norms: Float[np.ndarray, "layer head"] | None = None,
    replacements: Mapping[str, Way] | None = None,
    controls: int = CONTROLS,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
    repeat_loss: RepeatLoss | None = None,
    evaluate: Evaluate = evaluate,
    progress: Callable[[int, int], None] | None = None,
) -> CausalCheck:
    """Remove the tested sets (`induction_sets`) and their controls from a k-shot and a 0-shot task.

    few, none: the task with k demonstrations and with none. sets: the tested sets by name, whose controls are drawn
    here, or sets and controls as they are. norms: the heads' mean |r|, for norm-matched controls. kinds: of controls;
    unset, all that can be drawn. replacements: how heads are removed, each by one replacement or by a pair (with
    demonstrations, without); unset, by zero only. repeat_loss(mask, replacement): the manipulation check, run for
    tested sets. evaluate: called as evaluate(model, task, heads=, replacement=). progress(done, total) counts sets.
    """
    ways = {name: _pair(way) for name, way in (replacements if replacements is not None else {"zero": None}).items()}
    drawn: dict[str, Any] = {"norms": norms, "controls": controls, "kinds": kinds, "seed": seed}
    chosen = list(all_sets(sets, existing(model), **drawn) if isinstance(sets, Mapping) else sets)
    full = Shots(evaluate(model, few), evaluate(model, none))
    removed: list[Removed] = []
    for name, pair in ways.items():
        for heads in chosen:
            mask = HeadMask.keep_all(model.n_layers, model.n_heads).without(heads.heads)
            shots = Shots(
                evaluate(model, few, heads=mask, replacement=pair[0]),
                evaluate(model, none, heads=mask, replacement=pair[1]),
            )
            tested = repeat_loss is not None and heads.kind == TESTED
            loss = repeat_loss(mask, pair[1]) if tested and repeat_loss is not None else None
            removed.append(Removed(heads, name, shots, loss))
            if progress is not None:
                progress(len(removed), len(ways) * len(chosen))
    return CausalCheck(task=few.name, shots=few.shots, full=full, removed=tuple(removed))


def _pair(way: Way) -> tuple[Replacement | None, Replacement | None]:
    """What stands in with demonstrations, and without."""
    return way if isinstance(way, tuple) else (way, way)


def existing(model: HookedModel) -> Bool[np.ndarray, "layer head"]:
    """Which heads there are."""
    grid = np.zeros((model.n_layers, model.n_heads), dtype=bool)
    grid[list(model.attention_layers)] = True
    return grid
