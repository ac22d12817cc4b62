"""The study: all of it in the paper's order, on any model, going on after any interruption (Method 1-5).

1. induction: what each head does on random repeated tokens. 2. screen: which tasks the model learns from its context.
3. primary: what these tasks lose without the induction heads. 4. vectors: which heads carry a function. 5. contest:
without every kind of head. 6. importance: heads and FFNs for every task and number of shots, by the paper's objective
and by choice, and once more with shuffled labels. 7. knockout: every FFN, and every head or a sample of them. 8. prune:
heads, FFNs, and both. 9. compare: the rankings. 10. report.
What decides the question comes first. From 3 on the study goes on with the tasks that passed the screen, on documents
that the screen has not seen; without a screen, with all tasks. Every finished unit is kept: the same call goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablation.statistics.standardised import FEWEST_CONTROLS
from headscope.plan.budget import PAPER, TIERS, Budget, parse_budget
from headscope.plan.cost import contest_documents, vector_queries
from headscope.plan.hours import chosen_budget, fitted_budget, heads_of
from headscope.plan.names import BEHIND_SCREEN, CARRIED, STAGES, TAIL, shots_of
from headscope.stages.cells import TaskChoice, Tell, parse_shots
from headscope.stages.comparison import compare_rankings
from headscope.stages.contest import ContestChoice, measure_contest
from headscope.stages.evaluation import replaceable
from headscope.stages.importance import measure_importance
from headscope.stages.induction import measure_induction
from headscope.stages.knock_out import measure_knock_out, measure_needed_ffns
from headscope.stages.primary import PrimaryChoice, measure_primary
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.stages.screening import COMMAND as SCREEN
from headscope.stages.screening import FEWEST, learnt_tasks, measure_screening
from headscope.stages.token_counts import mark_of, read_counts
from headscope.stages.vectors import measure_vectors, vector_choice
from headscope.store.manifest import Stage, read_manifest
from headscope.store.run import Run, check_output_folder, open_run
from interp.errors import HeadscopeError, RefusedModelError, UsageError
from interp.tokenizer import tokenizer_of

if TYPE_CHECKING:
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

NO_FFNS = "no FFN is scored, removed or pruned: the model has none that headscope can place"
Show = Callable[[str], AbstractContextManager[Any]]
Runner = Callable[["HookedModel", Path, "StudyPlan", "Show"], Any]


@dataclass(frozen=True)
class StudyPlan:
    """What a study runs: tasks, shots, budget; the choices of its stages follow.

    length: of the random blocks that heads are scored on, in place of the protocol's. counts: how often tokens occur, a
    file or `uniform`. part: `rest` for what follows a screen.
    """

    names: tuple[str, ...]
    shots: tuple[int, ...]
    budget: Budget
    data: str = "hub"
    bos: str = "auto"
    seed: int = 0
    length: int | None = None
    counts: str | None = None
    part: str = "all"

    @property
    def most(self) -> int:
        return max(self.shots)

    @property
    def pruned_shots(self) -> tuple[int, ...]:
        """The numbers of shots at which components are removed."""
        return self.shots if self.budget.prune_all_shots else (self.most,)

    @property
    def ranked(self) -> TaskChoice:
        """The training documents that importance is measured on."""
        return TaskChoice(
            self.names,
            self.shots,
            limit=self.budget.rank_documents,
            seed=self.seed,
            data=self.data,
            bos=self.bos,
            part=self.part,
        )

    @property
    def knocked(self) -> TaskChoice:
        return replace(
            self.ranked,
            shots=self.pruned_shots,
            limit=self.budget.knockout_documents,
            limits=self.budget.limits("knockout"),
        )

    @property
    def evaluated(self) -> TaskChoice:
        """The validation documents that pruned models are evaluated on."""
        return replace(
            self.ranked,
            shots=self.pruned_shots,
            limit=self.budget.prune_documents,
            limits=self.budget.limits("prune"),
            demos=self.budget.demos,
            demo_seeds=self.budget.demo_seeds,
            mixed=True,
        )

    @property
    def knocked_once(self) -> TaskChoice:
        """At the most shots alone: heads on training documents, needed FFNs on validation documents."""
        return replace(self.knocked, shots=(self.most,))

    @property
    def screened(self) -> TaskChoice:
        """The training documents that say which tasks are learnt from the context: all that are kept for it."""
        return replace(self.ranked, shots=(0, self.most), limit=None, demos="fixed", part="all")

    @property
    def asked(self) -> TaskChoice:
        """The validation documents of the primary question."""
        return replace(self.screened, limit=self.budget.primary_documents)

    @property
    def answerable(self) -> bool:
        """Whether tasks with demonstrations are compared with tasks without, on documents enough for a screen."""
        return 0 in self.shots and self.most > 0 and self.budget.primary_documents >= FEWEST

    def left_out(self) -> list[str]:
        """What is not run, and why."""
        less = self.budget.left_out()
        if missing := [str(count) for count in shots_of(self.names, PAPER) if count not in self.shots]:
            less.append(f"nothing at {', '.join(missing)} {'shot' if missing == ['1'] else 'shots'}")
        if len(self.names) < 2:
            less.append("one task alone has no transfer, no aggregate of others and no comparison of tasks")
        if not (0 in self.shots and self.most):
            less.append("no screen, no primary and no gain over 0 shots: they compare 0 shots with more")
        elif not self.answerable:
            less.append(f"no screen and no primary question: they take {FEWEST} documents a task at least")
        return less


def study(
    model: HookedModel | str,
    *,
    out: str | Path | None = None,
    tasks: str = "probes",
    shots: str | None = None,
    data: str = "hub",
    limit: int | None = None,
    budget: str = "small",
    bos: str = "auto",
    seed: int = 0,
    length: int | None = None,
    counts: str | None = None,
    only: str | None = None,
    load: Callable[[], HookedModel] | None = None,
    show: Show | None = None,
) -> Run:
    """Run the study into `out` (runs/<model name> if unset), or go on with it; returns the run.

    model: a loaded model, or what `interp.load_model` takes. tasks: names with commas between, `probes` and `icl14`
    being groups. shots: numbers with commas between; the budget's if unset. limit: at most so many documents a task.
    budget: `small`, `paper`, or hours on this machine. length: of the random blocks that heads are scored on, in place
    of the protocol's. counts: how often tokens occur, a file or `uniform`. only: one of the stages. show(title): a
    context that gives tell(done, total, what), for progress. Raises HeadscopeError before anything is run where the
    input is at fault.
    """
    folder, names = folder_of(model, out), expanded(tasks, data)
    if only is not None and only not in STAGES:
        raise UsageError(f"{only!r} is no stage of a study; there are {', '.join(STAGES)} (--only)")
    wanted = parse_budget(budget)
    chosen = wanted if isinstance(wanted, Budget) else TIERS[-1]
    shot_counts = parse_shots(shots) if shots is not None else shots_of(names, chosen)
    stage = study_stage(names, shot_counts, budget, limit, bos, seed, length, counts)
    check_output_folder(folder, stage)
    plan = StudyPlan(names, shot_counts, chosen.limited(limit), data, bos, seed, length, counts)
    for choice, split in ((plan.ranked, "train"), (plan.evaluated, "validation")):
        choice.tasks(split)  # Every task, before the model is loaded.
    subject = loaded(model, load)
    tokenizer_of(subject, f"the documents of {names[0]}")
    if not isinstance(wanted, Budget):
        found = chosen_budget(folder, stage) or fitted_budget(subject, plan.ranked, wanted)
        plan = replace(plan, budget=found.limited(limit))
    if only in (None, "induction"):
        check_sequences(subject, plan)
    hours = wanted if not isinstance(wanted, Budget) and only is None else None
    return run_stages(subject, folder, stage, plan, only, show or silent, hours=hours)


def check_sequences(model: HookedModel, plan: StudyPlan) -> None:
    """Raises UsageError where the model's context is too short for them: a refusal must not bind the folder."""
    from induction import repeated_sequences
    from induction.scoring import unrepeated_for
    from induction.sequences import fitting_length

    protocol: Any = plan.budget.protocol
    counts = read_counts(plan.counts)
    length = plan.length or fitting_length(model, protocol)
    drawn = repeated_sequences(model, protocol=protocol, length=length, seed=plan.seed, counts=counts)
    unrepeated_for(model, drawn)


def run_stages(
    model: HookedModel,
    folder: Path,
    stage: Stage,
    plan: StudyPlan,
    only: str | None,
    show: Show,
    *,
    hours: float | None = None,
) -> Run:
    """One stage after the other; the study itself is noted as finished when the last one is.

    hours: where they are the budget, what they hold is shared out anew behind the screen (hours.py).
    """
    from headscope.store.writer import open_stage

    finished = only is not None and is_finished(folder, stage)
    writer = open_stage(model, folder, stage)
    if finished:
        writer.finish()  # One stage made again does not undo the study.
    record_budget(writer, model, plan)
    for name in STAGES if only is None else (only,):
        if name == BEHIND_SCREEN and hours is not None:
            plan = fitted_to_learnt(model, folder, writer, plan, hours)
        if name == STAGES[-1] and only is None:
            writer.finish()  # The report is of a finished study.
        before = open_run(folder).stages
        try:
            run_part(model, folder, writer, plan, name, show, asked=only is not None)
        except (UsageError, RefusedModelError) as error:  # what this model, or its scores, can't give
            if only is not None:
                raise
            leave_out(model, folder, stage, name, error, before)
    return open_run(folder)


def record_budget(writer: RunWriter, model: HookedModel, plan: StudyPlan) -> None:
    less = [*plan.left_out(), *([] if model.ffn_layers else [NO_FFNS])]
    writer.record(budget=plan.budget.recorded(), left_out=less, fewer=plan.budget.fewer())


def fitted_to_learnt(model: HookedModel, folder: Path, writer: RunWriter, plan: StudyPlan, hours: float) -> StudyPlan:
    """The plan with what the tasks that the screen left out would have cost given to the others.

    As it is where all tasks passed or none did, and where anything behind the screen was begun.
    """
    learnt = carrying(plan, folder).names
    begun = any(stage.command.split()[0] in (BEHIND_SCREEN, *TAIL) for stage in open_run(folder).stages)
    if not learnt or learnt == plan.names or begun:
        return plan
    protocol = writer.stage.protocol
    limit = protocol.get("limit") if isinstance(protocol, Mapping) else None
    plan = replace(plan, budget=fitted_budget(model, plan.ranked, hours, learnt).limited(limit))
    record_budget(writer, model, plan)
    return plan


def run_part(
    model: HookedModel, folder: Path, writer: RunWriter, plan: StudyPlan, name: str, show: Show, *, asked: bool
) -> None:
    """One stage, if the budget reaches it or it is asked for; those behind the screen are for the tasks it passed."""
    carried = plan
    if name in CARRIED:
        carried = carrying(plan, folder)
        writer.record(carried=list(carried.names), not_learnt=not_learnt(folder, plan, carried))
    if carried.names and (asked or name not in plan.budget.without):
        RUNNERS[name](model, folder, carried, show)


def leave_out(
    model: HookedModel, folder: Path, study: Stage, name: str, error: HeadscopeError, before: Sequence[Stage]
) -> None:
    """Note why a part of the study is not there, so that the rest can be; its own stage is closed with the reason.

    before: the folder's stages before the part began. One that was interrupted then, and not begun again, stays so.
    """
    from headscope.store.writer import open_stage

    for stage in open_run(folder).stages:
        if stage.same(study):
            told = [*stage.record.get("left_out", ()), f"no {name}: {error}"]
            open_stage(model, folder, stage).record(left_out=told)
        elif not stage.finished and stage not in before:
            writer = open_stage(model, folder, stage)
            writer.record(left_out=[str(error)])
            writer.finish()


def carrying(plan: StudyPlan, folder: Path) -> StudyPlan:
    """The plan for the tasks that passed the screen, on documents that it did not see; as it is without a screen.

    Raises UsageError where the screen is still to be run.
    """
    if not plan.answerable:
        return plan
    return replace(plan, names=learnt_tasks(open_run(folder), plan.names), part="rest")


def not_learnt(folder: Path, plan: StudyPlan, carried: StudyPlan) -> str:
    """A line on the tasks that were left out behind the screen, and why; empty where none was."""
    out = [name for name in plan.names if name not in carried.names]
    stages = [stage for stage in open_run(folder).stages if stage.command == SCREEN and stage.finished]
    if not out or not stages:
        return ""
    reasons = stages[-1].record.get("reasons", {})
    listed = "; ".join(f"{name} ({reasons.get(name, 'not screened')})" for name in out)
    return f"Did not pass the screen, and left out of all that follows it: {listed}."


def is_finished(folder: Path, stage: Stage) -> bool:
    """Whether this very study has ended before."""
    manifest = read_manifest(folder)
    return manifest is not None and any(other.same(stage) and other.finished for other in manifest.stages)


def study_stage(
    names: tuple[str, ...],
    shots: tuple[int, ...],
    budget: str,
    limit: int | None,
    bos: str,
    seed: int,
    length: int | None = None,
    counts: str | None = None,
) -> Stage:
    """The manifest's entry."""
    options = {"budget": budget, "limit": limit, "bos": bos, "length": length, "counts": mark_of(counts)}
    protocol = {name: value for name, value in options.items() if value is not None}
    return Stage("study", protocol, seed=seed, tasks=names, options={"shots": list(shots)})


def expanded(tasks: str, data: str) -> tuple[str, ...]:
    from ablation.tasks import expand_task_names

    return tuple(expand_task_names(tasks, data=data))


def folder_of(model: HookedModel | str, out: str | Path | None) -> Path:
    if out is not None:
        return Path(out)
    source = model if isinstance(model, str) else str(model.provenance.get("source") or "model")
    return Path("runs") / (Path(source).name.removesuffix(".gguf") or "model")


def loaded(model: HookedModel | str, load: Callable[[], HookedModel] | None) -> HookedModel:
    if not isinstance(model, str):
        return model
    if load is not None:
        return load()
    from interp import load_model

    return load_model(model)


@contextmanager
def silent(title: str) -> Iterator[Tell | None]:
    """Progress that nobody asked for."""
    yield None


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

    Heads by mean, which the claims rest on; some by zero, which is what their first-order importance estimates.
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
