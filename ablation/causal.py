"""The causal check: does in-context learning need the induction heads? (Method 5)

1. Remove the tested sets (the heads classed as induction heads, the top 1, 3, 5, 10%) by `mean`, and by `zero` beside
   it; at all positions, at positions >= 1, or at the last one of the context.
2. Remove control sets of the same size: random; matched by layer, by layer and norm, by layer and key-value group
   (control_sets.py).
3. Outcome: the drop, paired by document, of what demonstrations are worth (gains.py): to the whole model, less to the
   model without the heads. Positive = the heads were needed for it. The levels of both models stand beside it.
4. Every set is reported, with the rank p = (1 + #) / (N + 1) among the controls. Heads may be chosen on loss over
   repeated tokens, so that loss is a check of the manipulation, and no evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from ablation.control_sets import CONTROLS, KINDS, TESTED, Head, HeadSet, all_sets
from ablation.evaluation import Evaluate, evaluate
from ablation.gains import Conditions, Shots
from ablation.gold import gold_documents
from ablation.references import make_replacement
from ablation.replacement import POSITIONS, At, Replacement
from ablation.statistics.kv_groups import kv_groups
from ablation.statistics.permutation import RankP, rank_p_value
from ablation.statistics.standardised import FEWEST_CONTROLS, StandardisedEffect, TaskDrops, standardised_effect
from interp.errors import UsageError
from interp.masks import HeadMask
from interp.shown import one_line

if TYPE_CHECKING:
    import pandas as pd

    from interp.model import HookedModel

__all__ = ["CausalCheck", "CausalTest", "Removed", "Shots", "causal_check", "existing", "removal_ways"]

ABLATIONS = ("mean", "zero")
RepeatLoss = Callable[[HeadMask, Replacement | None], float]
Pair = tuple[Replacement | None, Replacement | None]
Way = Replacement | None | Pair


@dataclass(frozen=True)
class Removed:
    """A set of heads removed in one way. repeat_loss: loss on repeated tokens, where it was measured (nats)."""

    heads: HeadSet
    ablation: str
    shots: Shots
    repeat_loss: float | None = None


@dataclass(frozen=True)
class CausalTest:
    """One tested set against one kind of control: mean drop, its standard error by cluster, and its rank.

    levels, removed_levels: the mean outcome of the whole model and of the model without the set, by condition. effect:
    how many standard deviations of the controls the drop lies from their mean; None with fewer than three controls.
    """

    tested: str
    ablation: str
    control: str
    outcome: str
    drop: float
    stderr: float
    rank: RankP
    controls: Float[np.ndarray, "control"]
    contrast: str = "gain"
    levels: Mapping[str, float] = field(default_factory=dict)
    removed_levels: Mapping[str, float] = field(default_factory=dict)
    effect: StandardisedEffect | None = None


@one_line
@dataclass(frozen=True)
class CausalCheck:
    """Everything that was removed, beside the whole model."""

    task: str
    shots: int
    full: Shots
    removed: tuple[Removed, ...]

    def drop(self, removed: Removed, outcome: str, contrast: str = "gain") -> Float[np.ndarray, "item"]:
        """Drop of what demonstrations are worth, item by item. Raises UsageError for an unknown outcome or contrast."""
        return self.full.contrast(outcome, contrast).minus(removed.shots.contrast(outcome, contrast)).values

    def tests(self, outcome: str = "choice", contrast: str = "gain") -> list[CausalTest]:
        """Every tested set and way of removing it against every kind of control."""
        return list(self._tests(outcome, contrast))

    def task_drops(self, test: CausalTest) -> TaskDrops:
        """The drops of a test item by item, tested set and controls: what the statistics over tasks are made of."""
        tested = next(one for one in self.removed if _names(one) == (test.tested, TESTED, test.ablation))
        how = (test.outcome, test.contrast)
        return TaskDrops(
            task=self.task,
            tested=self.drop(tested, *how),
            controls=np.stack([self.drop(one, *how) for one in self._controls(tested, test.control)]),
            clusters=self.full.contrast(*how).labels,
        )

    def to_frame(self, outcomes: Sequence[str] | None = None) -> pd.DataFrame:
        """One row a set, way, outcome and contrast: the sets themselves, controls included, with all levels."""
        import pandas as pd

        wanted = [(name, contrast) for name in outcomes or self.full.outcomes for contrast in self.full.contrasts]
        return pd.DataFrame([self._row(one, *how) for how in wanted for one in self.removed])

    def _row(self, one: Removed, outcome: str, contrast: str) -> dict[str, Any]:
        levels, without = self.full.levels(outcome), one.shots.levels(outcome)
        return {
            "task": self.task,
            "shots": self.shots,
            "tested": one.heads.tested,
            "kind": one.heads.kind,
            "draw": one.heads.draw,
            "ablation": one.ablation,
            "outcome": outcome,
            "contrast": contrast,
            "removed": len(one.heads.heads),
            "drop": float(self.drop(one, outcome, contrast).mean()),
            **{f"full_{name}": value for name, value in levels.items()},
            **{f"removed_{name}": value for name, value in without.items()},
            "repeat_loss": one.repeat_loss,
            "moved": one.heads.moved,
            "norm_gap": one.heads.norm_gap,
            "heads": ",".join(f"{layer}.{head}" for layer, head in one.heads.heads),
        }

    def _tests(self, outcome: str, contrast: str) -> Iterator[CausalTest]:
        whole = self.full.contrast(outcome, contrast)
        for one in self.removed:
            if one.heads.kind != TESTED:
                continue
            drop = whole.minus(one.shots.contrast(outcome, contrast))
            for kind in KINDS:
                controls = np.array([self.drop(other, outcome, contrast).mean() for other in self._controls(one, kind)])
                if not controls.size:
                    continue
                test = CausalTest(
                    tested=one.heads.tested,
                    ablation=one.ablation,
                    control=kind,
                    outcome=outcome,
                    drop=drop.mean,
                    stderr=drop.stderr,
                    rank=rank_p_value(drop.mean, controls),
                    controls=controls,
                    contrast=contrast,
                    levels=self.full.levels(outcome),
                    removed_levels=one.shots.levels(outcome),
                )
                enough = controls.size >= FEWEST_CONTROLS and len(set(drop.clusters)) > 1
                yield replace(test, effect=standardised_effect([self.task_drops(test)]) if enough else None)

    def _controls(self, tested: Removed, kind: str) -> Iterator[Removed]:
        for one in self.removed:
            if _names(one) == (tested.heads.tested, kind, tested.ablation):
                yield one


def _names(one: Removed) -> tuple[str, str, str]:
    return one.heads.tested, one.heads.kind, one.ablation


def causal_check(
    model: HookedModel,
    few: Any,
    none: Any,
    sets: Mapping[str, Sequence[Head]] | Sequence[HeadSet],
    *,
    shuffled: Any = None,
    ablations: Sequence[str] = ABLATIONS,
    positions: Sequence[str] = POSITIONS[:1],
    references: tuple[Sequence[Any], Sequence[Any]] | None = None,
    replacements: Mapping[str, Way] | None = None,
    norms: Float[np.ndarray, "layer head"] | None = None,
    controls: int = CONTROLS,
    kinds: Sequence[str] | None = None,
    seed: int = 0,
    repeat_loss: RepeatLoss | None = None,
    evaluate: Evaluate = evaluate,
    progress: Callable[[int, int], None] | None = None,
) -> CausalCheck:
    """Remove the tested sets (`induction_sets`) and their controls from a k-shot and a 0-shot task.

    few, none, shuffled: the task with k demonstrations, with none, and (for `learning` and `format`) with shuffled
    labels. sets: the tested sets by name, whose controls are drawn here, or sets and controls as they are. ablations,
    positions: how heads are removed; `mean` needs `references`, token documents with demonstrations and without that
    are not evaluated. replacements: made before, in place of ablations; each one replacement, or a pair (with
    demonstrations, without). norms: the heads' mean |r|, for norm-matched controls. kinds: of controls
    (control_sets.py). repeat_loss(mask, replacement): the manipulation check, run for tested sets. evaluate: called as
    evaluate(model, task, heads=, replacement=). progress(done, total) counts sets.
    """
    conditions = Conditions(few, none, shuffled)
    if replacements is None:
        replacements = _replacements(model, conditions, ablations, references, seed)
    ways = removal_ways(replacements, positions)
    groups = kv_groups(model.n_layers, model.n_heads, model.n_kv_heads)
    drawn: dict[str, Any] = {"norms": norms, "groups": groups, "controls": controls, "kinds": kinds, "seed": seed}
    chosen = list(all_sets(sets, existing(model), **drawn) if isinstance(sets, Mapping) else sets)
    full = conditions.evaluated(model, evaluate=evaluate)
    removed: list[Removed] = []
    for name, pair in ways.items():
        for heads in chosen:
            mask = HeadMask.keep_all(model.n_layers, model.n_heads).without(heads.heads)
            shots = Shots(
                **{
                    condition: evaluate(model, task, heads=mask, replacement=pair[condition == "none"])
                    for condition, task in conditions.tasks.items()
                }
            )
            tested = repeat_loss is not None and heads.kind == TESTED
            loss = repeat_loss(mask, pair[1]) if tested and repeat_loss is not None else None
            removed.append(Removed(heads, name, shots, loss))
            if progress is not None:
                progress(len(removed), len(ways) * len(chosen))
    return CausalCheck(task=few.name, shots=few.shots, full=full, removed=tuple(removed))


def removal_ways(replacements: Mapping[str, Way], positions: Sequence[str] = POSITIONS[:1]) -> dict[str, Pair]:
    """Every replacement at every choice of positions: `mean`, `mean/later`, `zero`, ...; pairs (with demonstrations,
    without)."""
    found: dict[str, Pair] = {}
    for name, way in replacements.items():
        pair = way if isinstance(way, tuple) else (way, way)
        for place in positions:
            if place == "all":
                found[name] = pair
            else:
                found[f"{name}/{place}"] = (At(place, pair[0]), At(place, pair[1]))
    if not found:
        raise UsageError("nothing says how heads are removed: name at least one ablation and one choice of positions")
    return found


def _replacements(
    model: HookedModel,
    conditions: Conditions,
    ablations: Sequence[str],
    references: tuple[Sequence[Any], Sequence[Any]] | None,
    seed: int,
) -> dict[str, Way]:
    found: dict[str, Way] = {}
    for name in ablations:
        held = references if references is not None else ((), ())
        tasks = (conditions.few, conditions.none)
        pair = [
            make_replacement(
                model, name, own, evaluated=gold_documents(model, task) if name != "zero" else (), seed=seed
            )
            for own, task in zip(held, tasks, strict=True)
        ]
        found[name] = (pair[0], pair[1])
    return found


def existing(model: HookedModel) -> Bool[np.ndarray, "layer head"]:
    """Which heads there are."""
    grid = np.zeros((model.n_layers, model.n_heads), dtype=bool)
    grid[list(model.attention_layers)] = True
    return grid
