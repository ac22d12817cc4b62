"""The study: all of it in the paper's order, on any model, going on after any interruption (Method 1-5).

1. induction: what each head does on random repeated tokens. 2. screen: which tasks the model learns from its context.
3. primary: what these tasks lose without the induction heads. 4. importance: heads and FFNs for every task and number
of shots, and once more with shuffled labels. 5. knockout: every FFN. 6. prune: heads, FFNs, and both. 7. compare: the
rankings. 8. causal: sets of heads removed by zero from all tasks. 9. report. What decides the question comes first.
Each stage is a command of its own as well, and every finished unit is kept: the same call goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscope.plan.budget import PAPER, TIERS, Budget, fitted, parse_budget, restored
from headscope.plan.names import STAGES, shots_of
from headscope.stages.causal import CausalChoice, measure_causal_check
from headscope.stages.cells import TaskChoice, Tell, parse_shots
from headscope.stages.comparison import compare_rankings
from headscope.stages.importance import measure_importance
from headscope.stages.induction import measure_induction
from headscope.stages.knock_out import measure_knock_out
from headscope.stages.primary import PrimaryChoice, measure_primary
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.stages.screening import FEWEST, measure_screening
from headscope.store.manifest import Stage, read_manifest
from headscope.store.run import Run, check_output_folder, open_run
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.model import HookedModel

Show = Callable[[str], AbstractContextManager[Any]]
Runner = Callable[["HookedModel", Path, "StudyPlan", "Show"], Any]


@dataclass(frozen=True)
class StudyPlan:
    """What a study runs: tasks, shots, budget; the choices of its stages follow.

    length: of the random blocks that heads are scored on, in place of the protocol's.
    """

    names: tuple[str, ...]
    shots: tuple[int, ...]
    budget: Budget
    data: str = "hub"
    bos: str = "auto"
    seed: int = 0
    length: int | None = None

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
            self.names, self.shots, limit=self.budget.rank_documents, seed=self.seed, data=self.data, bos=self.bos
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
        )

    @property
    def checked(self) -> TaskChoice:
        """The validation documents of the causal check, with and without examples."""
        return replace(
            self.evaluated,
            shots=(0, self.most),
            limit=self.budget.causal_documents,
            limits=self.budget.limits("causal"),
        )

    @property
    def screened(self) -> TaskChoice:
        """The training documents that say which tasks are learnt from the context: all that are kept for it."""
        return replace(self.ranked, shots=(0, self.most), limit=None, demos="fixed")

    @property
    def asked(self) -> TaskChoice:
        """The validation documents of the primary question."""
        return replace(self.screened, limit=self.budget.primary_documents)

    @property
    def answerable(self) -> bool:
        """Whether tasks with demonstrations are compared with tasks without, on documents enough for a screen."""
        return 0 in self.shots and self.most > 0 and self.budget.primary_documents >= FEWEST

    def orders(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Without those that need another task where there is none."""
        return names if len(self.names) > 1 else tuple(n for n in names if n not in ("aggregate", "transfer"))

    def left_out(self) -> list[str]:
        """What is not run, and why."""
        less = self.budget.left_out()
        if missing := [str(count) for count in shots_of(self.names, PAPER) if count not in self.shots]:
            less.append(f"nothing at {', '.join(missing)} {'shot' if missing == ['1'] else 'shots'}")
        if len(self.names) < 2:
            less.append("one task alone has no transfer, no aggregate of others and no comparison of tasks")
        if not (0 in self.shots and self.most):
            less.append("no primary, no causal check and no gain over 0 shots: they compare 0 shots with more")
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
    only: str | None = None,
    load: Callable[[], HookedModel] | None = None,
    show: Show | None = None,
) -> Run:
    """Run the study into `out` (runs/<model name> if unset), or go on with it; returns the run.

    model: a loaded model, or what `interp.load_model` takes. tasks: names with commas between, `probes` and `icl14`
    being groups. shots: numbers with commas between; the budget's if unset. limit: at most so many documents a task.
    budget: `small`, `paper`, or hours on this machine. length: of the random blocks that heads are scored on, in place
    of the protocol's. only: one of the stages. show(title): a context that gives
    tell(done, total, what), for progress. Raises HeadscopeError before anything is run where the input is at fault.
    """
    folder, names = folder_of(model, out), expanded(tasks, data)
    if only is not None and only not in STAGES:
        raise UsageError(f"{only!r} is no stage of a study; there are {', '.join(STAGES)} (--only)")
    wanted = parse_budget(budget)
    chosen = wanted if isinstance(wanted, Budget) else TIERS[-1]
    counts = parse_shots(shots) if shots is not None else shots_of(names, chosen)
    stage = study_stage(names, counts, budget, limit, bos, seed, length)
    check_output_folder(folder, stage)
    plan = StudyPlan(names, counts, chosen.limited(limit), data, bos, seed, length)
    for choice, split in ((plan.ranked, "train"), (plan.evaluated, "validation")):
        choice.tasks(split)  # Every task, before the model is loaded.
    subject = loaded(model, load)
    if not isinstance(wanted, Budget):
        plan = replace(plan, budget=fitted_budget(subject, folder, stage, plan, wanted).limited(limit))
    if only in (None, "induction"):
        check_sequences(subject, plan)
    return run_stages(subject, folder, stage, plan, only, show or silent)


def check_sequences(model: HookedModel, plan: StudyPlan) -> None:
    """Raises UsageError where the model's context is too short for them: a refusal must not bind the folder."""
    from induction import repeated_sequences
    from induction.scoring import unrepeated_for

    protocol: Any = plan.budget.protocol
    drawn = repeated_sequences(model, protocol=protocol, length=plan.length, seed=plan.seed)
    unrepeated_for(model, drawn)


def run_stages(model: HookedModel, folder: Path, stage: Stage, plan: StudyPlan, only: str | None, show: Show) -> Run:
    """One stage after the other; the study itself is noted as finished when the last one is."""
    from headscope.store.writer import open_stage

    finished = only is not None and is_finished(folder, stage)
    writer = open_stage(model, folder, stage)
    if finished:
        writer.finish()  # One stage made again does not undo the study.
    writer.record(budget=plan.budget.recorded(), left_out=plan.left_out(), fewer=plan.budget.fewer())
    for name in STAGES if only is None else (only,):
        if name == STAGES[-1] and only is None:
            writer.finish()  # The report is of a finished study.
        RUNNERS[name](model, folder, plan, show)
    return open_run(folder)


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
) -> Stage:
    """The manifest's entry."""
    options = {"budget": budget, "limit": limit, "bos": bos, "length": length}
    protocol = {name: value for name, value in options.items() if value is not None}
    return Stage("study", protocol, seed=seed, tasks=names, options={"shots": list(shots)})


def fitted_budget(model: HookedModel, folder: Path, stage: Stage, plan: StudyPlan, hours: float) -> Budget:
    """What fits into the hours by a timed forward pass; what an interrupted study had chosen, where there is one."""
    from headscope.plan.cost import SAMPLE, shares, speed, study_cost, tokens_of

    manifest = read_manifest(folder)
    for other in manifest.stages if manifest is not None else ():
        if other.same(stage) and "budget" in other.record:
            return restored(dict(other.record["budget"]))
    tasks = replace(plan.ranked, limit=SAMPLE).tasks("train")
    counted = tokens_of(tasks, model.tokenizer, model.max_length, model.d_model)
    dear = tuple(sorted(shares(counted).items()))
    tiers = [replace(tier, shares=dear) for tier in TIERS]
    costs = [sum(study_cost(tier, counted, model.n_layers).values()) for tier in tiers]
    return fitted(hours * 3600 * speed(model), costs, tiers)


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
            model, folder, protocol=plan.budget.protocol, length=plan.length, seed=plan.seed, progress=tell
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
    "screen": run_screen,
    "primary": run_primary,
    "importance": run_importance,
    "knockout": run_knockout,
    "prune": run_prune,
    "compare": run_compare,
    "causal": run_causal,
    "report": run_report,
}
