"""The study's stages, each as the call that its command makes (study.py says in which order)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscope.stages.causal import CausalChoice, measure_causal_check
from headscope.stages.comparison import compare_rankings
from headscope.stages.importance import measure_importance
from headscope.stages.induction import measure_induction
from headscope.stages.knockout import measure_knock_out
from headscope.stages.pruning import PruneChoice, measure_pruning

if TYPE_CHECKING:
    from headscope.study import Show, StudyPlan
    from interp.model import HookedModel

Runner = Callable[["HookedModel", Path, "StudyPlan", "Show"], Any]


def run_induction(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """Task-agnostic scores, nulls and classes."""
    with show("scoring heads") as tell:
        measure_induction(model, folder, protocol=plan.budget.protocol, seed=plan.seed, progress=tell)


def run_importance(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """True labels at all numbers of shots, then shuffled ones at the most."""
    with show("importance") as tell:
        measure_importance(model, folder, plan.ranked, progress=tell)
    if plan.most:
        shuffled = replace(plan.ranked, shots=(plan.most,), labels="shuffled")
        with show("importance with shuffled labels") as tell:
            measure_importance(model, folder, shuffled, progress=tell)


def run_knockout(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """Every FFN; heads are left to `headscope knockout --component head`."""
    with show("knock-out of every FFN") as tell:
        measure_knock_out(model, folder, plan.knocked, component="ffn", progress=tell)


def run_prune(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """Heads by importance, FFNs by knock-out as the paper does, both together."""
    budget = plan.budget
    common: dict[str, Any] = {"draws": budget.draws, "percents": budget.percents, "ffn_ranking": "knock_out"}
    for choice, title in (
        (PruneChoice("head", plan.orders(budget.head_orders), **common), "pruning heads"),
        (PruneChoice("ffn", plan.orders(budget.ffn_orders), **common), "pruning FFNs"),
        (PruneChoice("both", ("own",), grid=budget.grid, **common), "pruning heads and FFNs"),
    ):
        with show(title) as tell:
            measure_pruning(model, folder, plan.evaluated, choice, progress=tell)


def run_compare(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """Rankings against rankings."""
    with show("comparing rankings") as tell:
        compare_rankings(folder, seed=plan.seed, progress=tell)


def run_causal(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """Without the induction heads; nothing where 0 shots can't be compared with more."""
    if not (0 in plan.shots and plan.most):
        return
    budget = plan.budget
    causal = CausalChoice(budget.causal_percents, budget.causal_ablations, budget.causal_kinds, budget.controls)
    with show("removing induction heads and controls") as tell:
        measure_causal_check(model, folder, plan.checked, causal, progress=tell)


def run_report(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """The page."""
    from headscope.report import render

    render(folder)


RUNNERS: dict[str, Runner] = {
    "induction": run_induction,
    "importance": run_importance,
    "knockout": run_knockout,
    "prune": run_prune,
    "compare": run_compare,
    "causal": run_causal,
    "report": run_report,
}
