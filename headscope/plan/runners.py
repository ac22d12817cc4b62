"""The stages of a study, each as it is run for a plan: what the budget reaches, on the documents that are its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation.statistics.standardised import FEWEST_CONTROLS
from headscope.plan.cost import contest_documents, vector_queries
from headscope.plan.hours import heads_of
from headscope.plan.study_plan import StudyPlan
from headscope.stages.cells import TaskChoice
from headscope.stages.comparison import compare_rankings
from headscope.stages.contest import ContestChoice, measure_contest
from headscope.stages.evaluation import replaceable
from headscope.stages.importance import measure_importance
from headscope.stages.induction import measure_induction
from headscope.stages.knock_out import measure_knock_out, measure_needed_ffns
from headscope.stages.primary import PrimaryChoice, measure_primary
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.stages.screening import measure_screening
from headscope.stages.vectors import measure_vectors, vector_choice
from headscope.store.run import open_run

if TYPE_CHECKING:
    from interp.model import HookedModel

Show = Callable[[str], AbstractContextManager[Any]]
Runner = Callable[["HookedModel", Path, "StudyPlan", "Show"], Any]


def run_induction(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """Task-agnostic scores, nulls and classes."""
    with show("scoring heads") as tell:
        measure_induction(
            model,
            folder,
            protocol=plan.budget.protocol,
            length=plan.length,
            seed=plan.seed,
            counts=plan.counts,
            progress=tell,
        )


def run_screen(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """Which tasks carry the claims."""
    if plan.answerable:
        with show("screening tasks") as tell:
            measure_screening(model, folder, plan.screened, progress=tell)


def run_primary(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """The question that the study is for, by mean, then by its further ways."""
    if plan.answerable:
        primary = PrimaryChoice(controls=plan.budget.controls, ways=plan.budget.primary_ways)
        with show("the primary question") as tell:
            measure_primary(model, folder, plan.asked, primary, progress=tell)


def run_vectors(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """Function-vector heads and label heads, on the tasks that are learnt."""
    if plan.answerable:
        queries = vector_queries(plan.budget.primary_documents)
        with show("function vectors") as tell:
            measure_vectors(model, folder, vector_choice(plan.screened), queries=queries, progress=tell)


def run_contest(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """Every kind of head removed alike, on the primary's documents."""
    if plan.answerable:
        choice = replace(plan.asked, limit=contest_documents(plan.budget.primary_documents))
        controls = plan.budget.controls
        wanted = plan.budget.contest_controls
        contest = ContestChoice(controls if controls >= FEWEST_CONTROLS else 0, controls_of=wanted)
        with show("the contest") as tell:
            measure_contest(model, folder, choice, contest, progress=tell)


def run_importance(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """True labels at all numbers of shots by both objectives; at the most, by choice, the mean and shuffled labels."""
    with show("importance to the answer") as tell:
        measure_importance(model, folder, plan.ranked, progress=tell)
    names = with_a_choice(model, plan.ranked)
    if not names:
        return
    choosing = replace(plan.ranked, names=names)
    with show("importance to the choice") as tell:
        measure_importance(model, folder, choosing, objective="choice", progress=tell)
    at_most = replace(choosing, shots=(plan.most,))
    if replaced := replaceable(at_most, "train", "mean"):
        with show("importance to the choice (mean)") as tell:
            how: dict[str, Any] = {"objective": "choice", "ablation": "mean"}
            measure_importance(model, folder, replace(at_most, names=replaced), **how, progress=tell)
    if plan.most:
        shuffled = replace(at_most, labels="shuffled")
        with show("importance with shuffled labels") as tell:
            measure_importance(model, folder, shuffled, objective="choice", progress=tell)


def with_a_choice(model: HookedModel, choice: TaskChoice) -> tuple[str, ...]:
    """The tasks that have documents with a choice to make; all that passed a screen do."""
    from ablation.outcomes import with_choices

    tasks = replace(choice, shots=choice.shots[:1]).tasks("train")
    return tuple(task.name for task in tasks if with_choices(task, model)[0].documents)


def run_knockout(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """FFNs by zero, which rank them, and on other documents by mean and by zero; then heads.

    Heads by mean, which the claims rest on; some by zero, a second removal to compare an importance with.
    """
    if model.ffn_layers:
        with show("knock-out of every FFN") as tell:
            measure_knock_out(model, folder, plan.knocked, component="ffn", progress=tell)
    for ablation in ("mean", "zero") if model.ffn_layers else ():
        if names := replaceable(plan.knocked_once, "validation", ablation):
            validated = replace(plan.knocked_once, names=names)
            with show(f"which FFNs are needed ({ablation})") as tell:
                measure_needed_ffns(model, folder, validated, ablation=ablation, progress=tell)
    for ablation, few in (("mean", False), ("zero", True)):
        if names := replaceable(plan.knocked_once, "train", ablation):
            knocked = replace(plan.knocked_once, names=names)
            how: dict[str, Any] = {"ablation": ablation, "heads": heads_to_knock_out(model, folder, plan, few=few)}
            with show(f"knock-out of heads ({ablation})") as tell:
                measure_knock_out(model, folder, knocked, component="head", progress=tell, **how)


def heads_to_knock_out(
    model: HookedModel, folder: Path, plan: StudyPlan, *, few: bool = False
) -> tuple[tuple[int, int], ...] | None:
    """None for all of them; if few are wanted or all too dear, as many as check a score, spread over that score."""
    from ablation.names import SAMPLED
    from ablation.stratified import stratified_heads
    from headscope.comparison.scored import Shelf
    from headscope.plan.cost import SAMPLE, heads_knocked_out, tokens_of

    every = heads_of(model)
    if few:
        count = min(every, SAMPLED)
    else:
        tasks = replace(plan.ranked, limit=SAMPLE).tasks("train")
        counted = tokens_of(tasks, model.tokenizer, model.max_length, model.d_model)
        count = heads_knocked_out(plan.budget, counted, model.n_layers, every)
    if count == every:
        return None
    shelf, by_mean = Shelf(open_run(folder)), ("importance", "signed/choice/mean", plan.most)
    score = by_mean if not few and shelf.tasks(*by_mean) else ("importance", "signed/choice", plan.most)
    return stratified_heads(shelf.aggregate(*score).scores, count)


def run_prune(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """Heads by importance, FFNs by knock-out as the paper does, both together."""
    for tasks, choice, title in prunings(plan):
        if choice.component != "head" and not model.ffn_layers:
            continue
        with show(title) as tell:
            measure_pruning(model, folder, tasks, choice, progress=tell)


def orders_for(tasks: Sequence[str], names: tuple[str, ...]) -> tuple[str, ...]:
    """Without those that need another task where there is none."""
    return names if len(tasks) > 1 else tuple(name for name in names if name not in ("aggregate", "transfer"))


def prunings(plan: StudyPlan) -> Iterator[tuple[TaskChoice, PruneChoice, str]]:
    """By mean, where a task has documents that stand in; by zero as the paper does, in all orders where both can be."""
    budget = plan.budget
    common: dict[str, Any] = {"draws": budget.draws, "percents": budget.percents, "ffn_ranking": "knock_out"}
    common["screened"] = plan.answerable
    claimed = replaceable(plan.evaluated, "validation", "mean")
    spared = claimed == plan.names and not budget.prune_all_shots
    for component, names, words in (("head", budget.head_orders, "heads"), ("ffn", budget.ffn_orders, "FFNs")):
        if claimed:
            choice = PruneChoice(component, orders_for(claimed, names), ablation="mean", **common)
            yield replace(plan.evaluated, names=claimed), choice, f"pruning {words} (mean)"
        zero = ("own",) if spared else orders_for(plan.names, names)
        yield plan.evaluated, PruneChoice(component, zero, **common), f"pruning {words} (zero)"
    yield plan.evaluated, PruneChoice("both", ("own",), grid=budget.grid, **common), "pruning heads and FFNs"


def run_compare(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """Rankings against rankings, where there are any."""
    if not len(open_run(folder).head_scores.query("score == 'importance'")):
        return
    with show("comparing rankings") as tell:
        compare_rankings(folder, seed=plan.seed, progress=tell)


def run_report(model: HookedModel, folder: Path, plan: StudyPlan, show: Show) -> None:
    """The page."""
    from headscope.report import render

    render(folder)


RUNNERS: dict[str, Runner] = {
    "induction": run_induction,
    "screen": run_screen,
    "primary": run_primary,
    "vectors": run_vectors,
    "contest": run_contest,
    "importance": run_importance,
    "knockout": run_knockout,
    "prune": run_prune,
    "compare": run_compare,
    "report": run_report,
}
