"""The screening stage: which tasks does the model learn from its context at all? (Method 4; ablation/screening.py)

On training documents that serve nothing else. `comparisons` has, for a = task: `screen` (b = `gain`, `learning` or
`format`, level = outcome; the one-sided 95% bound as low end; n clusters), `screen_level` (b = `few`, `none` or
`shuffled`: the mean itself), `screen_passes` (1 or 0) and, for a task that does not pass, `screen_documents`: how many
would show a gain of this size with 80% power, infinite where it is not above 0. The manifest keeps the sentence, and
why a task is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING

from ablation.names import DEMO_DRAWS, RECHECKED
from ablation.screening import CONFIDENCE, FEWEST, Screen, Screened, load_screen, screen
from ablation.statistics.power import documents_for
from ablation.tasks.names import GROUPS
from headscope.stages.cells import Progress, TaskChoice, Tell, sources_of, title_of, unlabelled_rows
from headscope.stages.evaluation import StoredEvaluations
from headscope.stages.token_counts import UNIFORM
from headscope.store.ahead import ahead
from headscope.store.comparisons import SCREENED, Kind, Row, frame, row
from headscope.store.manifest import Manifest, Stage, read_manifest
from headscope.store.run import MODEL, Run, command_into
from headscope.store.writer import open_stage
from interp.errors import UsageError

if TYPE_CHECKING:
    from ablation.gains import Conditions
    from ablation.tasks import Task
    from interp.model import HookedModel

LEVELS = ("few", "none", "shuffled")
COMMAND = "screen"
NO_SCREEN = "no screen"  # how a study's line begins that says why it can't have one
SCREEN = ("study", "--only", "screen")  # as it is typed
USUAL = {"budget": "small", "bos": "auto", "seed": 0}
__all__ = ["FEWEST", "NO_SCREEN", "learnt_tasks", "measure_screening", "screen_rows", "screening_stage", "seen_tasks"]


def screening_stage(choice: TaskChoice) -> Stage:
    """The manifest's entry; the most shots of the choice are screened."""
    return Stage(COMMAND, choice.protocol, seed=choice.seed, tasks=choice.names, options={"shots": max(choice.shots)})


def measure_screening(
    model: HookedModel, folder: str | Path, choice: TaskChoice, *, progress: Tell | None = None
) -> Screen:
    """Screen every task of the choice at its most shots, `choice.limit` documents a task (unset: all that are kept)."""
    check_limit(choice)
    conditions, unfit = loaded(choice)
    counter = Progress(len(conditions), progress)
    sources = sources_of(condition.few for condition in conditions)
    with open_stage(model, folder, screening_stage(choice), sources=sources) as run:
        run.record(documents={title_of(condition.few): condition.few.fingerprint[:16] for condition in conditions})
        run.record(unlabelled=unlabelled_rows([condition.few for condition in conditions]))
        run.record(choices={condition.few.name: choices_of(condition.few) for condition in conditions})
        evaluations = StoredEvaluations(run.units)
        ahead(run.units, (partial(screen, model, [each], evaluate=evaluations) for each in conditions))
        found = (
            screen(
                model,
                conditions,
                evaluate=evaluations,
                progress=lambda done, total: counter.add(1, title_of(conditions[done - 1].few)),
            )
            if conditions
            else Screen(())
        )
        of = {one.task: one for one in (*found.tasks, *unfit)}
        screened = Screen(tuple(of[name] for name in choice.names))
        reasons = {condition.task: condition.reason for condition in screened.tasks if not condition.passes}
        run.record(sentence=screened.sentence, learnt=list(screened.learnt), reasons=reasons)
        run.record(draws=DEMO_DRAWS, running_check=RECHECKED)
        run.replace_comparisons(frame(screen_rows(screened)), kinds=SCREENED)
    return screened


def check_limit(choice: TaskChoice) -> None:
    """Raises UsageError where so few documents can show nothing."""
    if choice.limit is not None and choice.limit < FEWEST:
        raise UsageError(
            f"a screen of {choice.limit} documents a task can show nothing: it takes {FEWEST} at least. Raise the "
            "budget or the limit"
        )


def loaded(choice: TaskChoice) -> tuple[list[Conditions], list[Screened]]:
    """The documents of every task that has some to keep; the other tasks, which do not pass, with the reason."""
    conditions: list[Conditions] = []
    unfit: list[Screened] = []
    for name in choice.names:
        try:
            conditions += load_screen(
                (name,),
                shots=max(choice.shots),
                limit=choice.limit,
                seed=choice.seed,
                data=choice.data,
                demos=choice.demos,
                bos=choice.bos,
            )
        except UsageError as error:
            reason = str(error).rstrip(".")
            unfit.append(Screened(name, max(choice.shots), passes=False, reason=reason, shots_of=None))
    return conditions, unfit


def choices_of(task: Task) -> list[int]:
    """How many choices its documents have, each number once."""
    return sorted({len(document.continuations) for document in task.documents})


def screen_rows(screened: Screen) -> Iterator[Row]:
    """Every task that was evaluated: each contrast of each outcome, and the levels it comes from."""
    for task in screened.tasks:
        yield row(Kind.SCREEN_PASSES, task.task, "", task.shots, "choice", float(task.passes))
        if not task.passes and task.shots_of is not None:
            yield row(Kind.SCREEN_DOCUMENTS, task.task, "gain", task.shots, "choice", documents_to_pass(task))
        levels: dict[tuple[str, str], float] = {}
        for line in task.rows():
            interval = (line["lower_bound"], nan)
            key = (task.task, line["contrast"], task.shots, line["outcome"])
            yield row(Kind.SCREEN, *key, line["value"], interval=interval, n=line["clusters"])
            levels |= {(name, line["outcome"]): line[name] for name in LEVELS}
        for (name, outcome), value in levels.items():
            yield row(Kind.SCREEN_LEVEL, task.task, name, task.shots, outcome, value)


def documents_to_pass(task: Screened) -> float:
    """How many documents would let a task pass, were its gain what it is measured to be."""
    gain = task.estimate()
    return documents_for(gain.value, gain, level=2 * (1 - CONFIDENCE)) if gain.value > 0 else inf


def seen_tasks(folder: str | Path, model: str | None = None) -> tuple[str, ...]:
    """The tasks that a run's screen saw; model: as it was typed. Raises UsageError where there was no screen."""
    manifest = read_manifest(Path(folder))
    stages = [stage for stage in (manifest.stages if manifest else ()) if stage.command == COMMAND and stage.finished]
    if not stages:
        typed = model or (Run(Path(folder)).typed_model if manifest else MODEL)
        raise UsageError(
            f"the run '{folder}' holds no screen, so nobody knows which tasks the model learns from its context"
            f"{_way_to_screen(Path(folder), manifest, typed)}"
        )
    return tuple(stages[-1].tasks)


def _way_to_screen(folder: Path, manifest: Manifest | None, model: str) -> str:
    """One command that suffices: by the protocol of the folder's study, and into another where that can't have one."""
    if manifest is not None and manifest.identity.get("tokenizer_hash", "") is None:
        return ": that model has no tokenizer, and a screen reads documents"
    study = next((stage for stage in manifest.stages if stage.command == "study"), None) if manifest else None
    if study is None:
        return f". Run `{command_into(folder, *SCREEN, model=model)}` first."
    for line in study.record.get("left_out", ()):
        if line.startswith(NO_SCREEN):
            other = command_into(Path("FOLDER"), *SCREEN, *_typed_tasks(study), model=model)
            return f"; its study can't have one ({line}). Screen into another folder: `{other}`."
    return f". Run `{command_into(folder, *SCREEN, *typed_options(study), model=model)}` first."


def _typed_tasks(study: Stage) -> list[str]:
    """Nothing where they are the default."""
    return [] if list(study.tasks) == list(GROUPS["probes"]) else ["--tasks", ",".join(study.tasks)]


def typed_options(study: Stage) -> list[str]:
    """The options of a study as they are typed, those that are its defaults left out."""
    held = dict(study.protocol) if isinstance(study.protocol, Mapping) else {}
    held |= {"seed": study.seed, "shots": ",".join(map(str, study.options.get("shots", ())))}
    if held.get("counts") not in (None, UNIFORM):
        held["counts"] = "FILE"  # the manifest has its hash
    given = [(name, value) for name, value in held.items() if value not in (None, "") and value != USUAL.get(name)]
    return [*_typed_tasks(study), *(word for name, value in given for word in (f"--{name}", str(value)))]


def learnt_tasks(run: Run, names: tuple[str, ...]) -> tuple[str, ...]:
    """The tasks that passed the run's screen, in the order of `names`.

    Raises UsageError where there was no screen, or one that did not see all of them.
    """
    seen = seen_tasks(run.folder)
    if unseen := [name for name in names if name not in seen]:
        raise UsageError(
            f"the screen of '{run.folder}' did not see {', '.join(unseen)}: it was of {', '.join(seen)}. Name tasks of "
            f"the screen (--tasks), or screen these into another folder: "
            f"`{command_into(Path('FOLDER'), *SCREEN, '--tasks', ','.join(unseen), model=run.typed_model)}`."
        )
    stages = [stage for stage in run.stages if stage.command == COMMAND and stage.finished]
    passed = set(stages[-1].record.get("learnt", ()))
    return tuple(name for name in names if name in passed)
