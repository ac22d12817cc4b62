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

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscope.plan.budget import NAMED, TIERS, Budget, parse_budget
from headscope.plan.hours import Subject, begun_with, first_budget, fitted_budget
from headscope.plan.names import ASKED, CARRIED, PRIMARY, STAGES, TAIL, WITHOUT_TEXT, shots_of
from headscope.plan.runners import RUNNERS, Show
from headscope.plan.study_plan import StudyPlan
from headscope.stages.cells import Tell, parse_shots
from headscope.stages.screening import COMMAND as SCREEN
from headscope.stages.screening import NO_SCREEN, learnt_tasks
from headscope.stages.token_counts import mark_of, read_counts
from headscope.store.manifest import Stage, read_manifest
from headscope.store.run import Run, check_output_folder, open_run
from interp.errors import HeadscopeError, RefusedModelError, UsageError
from interp.tokenizer import tokenizer_of

if TYPE_CHECKING:
    from headscope.store.writer import RunWriter
    from interp.model import HookedModel

PARTS = tuple(f"no {name}: " for name in STAGES)  # how a line of what is left out begins that names a stage
NO_TEXT = "nothing that reads documents is run: the model has no tokenizer, and random sequences take token ids alone"
NO_FFNS = "no FFN is scored, removed or pruned: the model has none that headscope can place"


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
    plan = StudyPlan(names, shot_counts, chosen.limited(limit), data, bos, seed, length, counts, limit=limit)
    check_only(plan, only)
    for choice, split in ((plan.ranked, "train"), (plan.evaluated, "validation")):
        choice.tasks(split)  # Every task, before the model is loaded.
    subject = loaded(model, load)
    if only is not None and only not in WITHOUT_TEXT:
        tokenizer_of(subject, f"the documents of {names[0]}")
    if subject.tokenizer is None and not isinstance(wanted, Budget):
        plan = replace(plan, budget=NAMED["small"].limited(limit))  # no documents are read: nothing to fit into hours
    elif not isinstance(wanted, Budget):
        found, tokens = begun_with(folder, stage) or first_budget(subject, plan.ranked, wanted)
        plan = replace(plan, budget=found.limited(limit), tokens=tokens)
    if only in (None, "induction"):
        check_sequences(subject, plan)
    return run_stages(subject, folder, stage, plan, only, show or silent)


def check_only(plan: StudyPlan, only: str | None) -> None:
    """Raises UsageError where the one stage that is asked for is one that such a study has not."""
    if only in ASKED and not plan.answerable:
        raise UsageError(f"this study has no stage {only!r}: {plan.unanswerable}")


def check_sequences(model: HookedModel, plan: StudyPlan) -> None:
    """Raises UsageError where context or vocabulary can't give them: a refusal must not bind the folder."""
    from induction import repeated_sequences
    from induction.scoring import unrepeated_for
    from induction.sequences import drawn_from, fitting_length

    protocol: Any = plan.budget.protocol
    pool = drawn_from(model, None, read_counts(plan.counts))
    fitted = None if plan.length else fitting_length(model, protocol, pool)
    length = fitted.length if fitted else plan.length
    drawn = repeated_sequences(model, protocol=protocol, length=length, seed=plan.seed, candidates=pool)
    unrepeated_for(model, drawn)


def run_stages(model: HookedModel, folder: Path, stage: Stage, plan: StudyPlan, only: str | None, show: Show) -> Run:
    """One stage after the other; the study itself is noted as finished when the last one is."""
    from headscope.store.writer import open_stage

    finished = only is not None and is_finished(folder, stage)
    writer = open_stage(model, folder, stage)
    if finished:
        writer.finish()  # One stage made again does not undo the study.
    record_budget(writer, model, plan)
    stages = STAGES if model.tokenizer is not None else WITHOUT_TEXT
    for name in stages if only is None else (only,):
        if name == PRIMARY and only is None:
            plan = fitted_to_learnt(model, folder, writer, plan)
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


def record_budget(writer: RunWriter, model: HookedModel, plan: StudyPlan, *, parts: Sequence[str] = ()) -> None:
    """What is run, and what is not; parts: lines of `leave_out` that stay."""
    lacking = [*([] if model.ffn_layers else [NO_FFNS]), *([] if model.tokenizer is not None else [NO_TEXT])]
    less = [*plan.left_out(), *lacking, *parts]
    writer.record(budget=plan.budget.recorded(), tokens=plan.tokens, left_out=less, fewer=plan.budget.fewer())


def fitted_to_learnt(model: HookedModel, folder: Path, writer: RunWriter, plan: StudyPlan) -> StudyPlan:
    """The plan of a number of hours with what tasks that are not learnt would have cost given to the others (hours.py).

    As it is where all tasks passed, none did or there was no screen, and where anything behind the screen was begun.
    """
    run = open_run(folder)
    begun = any(stage.command.split()[0] in (PRIMARY, *TAIL) for stage in run.stages)
    screened = any(stage.command == SCREEN and stage.finished for stage in run.stages)
    if plan.tokens is None or begun or not screened:
        return plan
    learnt = carrying(plan, folder).names
    if not learnt or learnt == plan.names:
        return plan
    found = fitted_budget(Subject.of(model), plan.ranked, plan.tokens, learnt=learnt, protocol=plan.budget.protocol)
    told = next(stage.record.get("left_out", ()) for stage in run.stages if stage.same(writer.stage))
    plan = replace(plan, budget=found.limited(plan.limit))
    record_budget(writer, model, plan, parts=[line for line in told if line.startswith(PARTS)])
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


def holes(run: Run) -> list[str]:
    """What of the study this model, these tasks or their scores could not give, as it was noted."""
    noted = [line for stage in run.stages if stage.command == "study" for line in stage.record.get("left_out", ())]
    return [line for line in noted if line.startswith((*PARTS, NO_SCREEN, NO_TEXT, NO_FFNS))]


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
