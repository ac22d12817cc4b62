"""The screening stage: which tasks does the model learn from its context at all? (Method 4; ablation/screening.py)

On training documents that serve nothing else. `comparisons` has, for a = task: `screen` (b = `gain`, `learning` or
`format`, level = outcome; the one-sided 95% bound as low end; n clusters), `screen_level` (b = `few`, `none` or
`shuffled`: the mean itself) and `screen_passes` (1 or 0). The manifest keeps the sentence, and why a task is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

from ablation.screening import FEWEST, Screen, load_screen, screen
from headscope.stages.cells import Progress, TaskChoice, Tell, title_of
from headscope.stages.evaluation import StoredEvaluations
from headscope.store.ahead import ahead
from headscope.store.comparisons import SCREENED, Kind, Row, frame, row
from headscope.store.manifest import Stage
from headscope.store.run import Run
from headscope.store.writer import open_stage
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.model import HookedModel

LEVELS = ("few", "none", "shuffled")
COMMAND = "screen"
__all__ = ["FEWEST", "learnt_tasks", "measure_screening", "screen_rows", "screening_stage"]


def screening_stage(choice: TaskChoice) -> Stage:
    """The manifest's entry; the most shots of the choice are screened."""
    return Stage(COMMAND, choice.protocol, seed=choice.seed, tasks=choice.names, options={"shots": max(choice.shots)})


def measure_screening(
    model: HookedModel, folder: str | Path, choice: TaskChoice, *, progress: Tell | None = None
) -> Screen:
    """Screen every task of the choice at its most shots, `choice.limit` documents a task (unset: all that are kept)."""
    conditions = load_screen(
        choice.names,
        shots=max(choice.shots),
        limit=choice.limit,
        seed=choice.seed,
        data=choice.data,
        demos=choice.demos,
        bos=choice.bos,
    )
    counter = Progress(len(conditions), progress)
    with open_stage(model, folder, screening_stage(choice)) as run:
        run.record(documents={title_of(condition.few): condition.few.fingerprint[:16] for condition in conditions})
        evaluations = StoredEvaluations(run.units)
        ahead(run.units, (partial(screen, model, [each], evaluate=evaluations) for each in conditions))
        screened = screen(
            model,
            conditions,
            evaluate=evaluations,
            progress=lambda done, total: counter.add(1, title_of(conditions[done - 1].few)),
        )
        reasons = {condition.task: condition.reason for condition in screened.tasks if not condition.passes}
        run.record(sentence=screened.sentence, learnt=list(screened.learnt), reasons=reasons)
        run.replace_comparisons(frame(screen_rows(screened)), kinds=SCREENED)
    return screened


def screen_rows(screened: Screen) -> Iterator[Row]:
    """Every task that was evaluated: each contrast of each outcome, and the levels it comes from."""
    for task in screened.tasks:
        yield row(Kind.SCREEN_PASSES, task.task, "", task.shots, "choice", float(task.passes))
        levels: dict[tuple[str, str], float] = {}
        for line in task.rows():
            interval = (line["lower_bound"], nan)
            key = (task.task, line["contrast"], task.shots, line["outcome"])
            yield row(Kind.SCREEN, *key, line["value"], interval=interval, n=line["clusters"])
            levels |= {(name, line["outcome"]): line[name] for name in LEVELS}
        for (name, outcome), value in levels.items():
            yield row(Kind.SCREEN_LEVEL, task.task, name, task.shots, outcome, value)


def learnt_tasks(run: Run, names: tuple[str, ...]) -> tuple[str, ...]:
    """The tasks that passed the run's screen, in the order of `names`. Raises UsageError where there was no screen."""
    stages = [stage for stage in run.stages if stage.command == COMMAND and stage.finished]
    if not stages:
        raise UsageError(
            f"the run '{run.folder}' holds no screen, so nobody knows which tasks the model learns from its context. "
            f"Run `headscope study --only screen -o {run.folder}` first."
        )
    passed = set(stages[-1].record.get("learnt", ()))
    return tuple(name for name in names if name in passed)
