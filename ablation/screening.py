"""The screen: which tasks does the model learn from its context at all? (Method 4)

1. The full model on 60 training documents a task used for nothing else (tasks/reserved.py), with k demonstrations
   in three draws, a third of the documents each; with none; and with demonstrations whose labels are shuffled.
2. A task is learnt in context if the one-sided 95% bound of its choice gain, paired by document and by cluster, is
   above 0. Screened tasks carry the claims; the others get one line.
3. The screen decides and is not read again: what a task brings is measured on other documents. (Tasks that are chosen
   on the documents that judge them look better than they are.)
Documents without a choice to make are left out and named. A task that can't be screened does not pass, with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablation.evaluation import Evaluate, evaluate
from ablation.gains import Conditions, Shots, load_conditions, with_common_choices
from ablation.names import DEMO_DRAWS
from ablation.statistics.intervals import ClusterEstimate
from ablation.tasks.reserved import RESERVED
from interp.errors import UsageError
from interp.shown import one_line

if TYPE_CHECKING:
    import pandas as pd

    from interp.model import HookedModel

CHOICE = "choice"
FEWEST = 12  # clusters: with fewer a bound rests on the shape of the documents' distribution
CONFIDENCE = 0.95


@one_line
@dataclass(frozen=True)
class Screened:
    """One task. shots_of: its evaluations, None where it could not be screened; reason: why it does not pass, or empty.

    left_out: a sentence for each document without a choice to make.
    """

    task: str
    shots: int
    passes: bool
    reason: str
    shots_of: Shots | None
    left_out: tuple[str, ...] = ()

    def estimate(self, outcome: str = CHOICE, contrast: str = "gain") -> ClusterEstimate:
        """The mean over documents with its error by cluster. Raises UsageError for a task that was not evaluated."""
        if self.shots_of is None:
            raise UsageError(f"{self.task} was not screened: {self.reason}")
        return self.shots_of.contrast(outcome, contrast).estimate

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row an outcome and contrast: its mean, error and one-sided bound, beside the levels it comes from."""
        if self.shots_of is None:
            return
        for outcome in self.shots_of.outcomes:
            for contrast in self.shots_of.contrasts:
                found = self.estimate(outcome, contrast)
                yield {
                    "task": self.task,
                    "shots": self.shots,
                    "outcome": outcome,
                    "contrast": contrast,
                    "value": found.value,
                    "stderr": found.stderr,
                    "lower_bound": found.lower_bound(CONFIDENCE),
                    **self.shots_of.levels(outcome),
                    "n": found.n_items,
                    "clusters": found.n_clusters,
                    "passes": self.passes,
                }


@one_line
@dataclass(frozen=True)
class Screen:
    """All tasks, in the order in which they were given."""

    tasks: tuple[Screened, ...]

    @property
    def learnt(self) -> tuple[str, ...]:
        """The tasks that the model learns from its context."""
        return tuple(one.task for one in self.tasks if one.passes)

    @property
    def sentence(self) -> str:
        """What the screen found, also where it is nothing."""
        others = [f"{one.task}: {one.reason}" for one in self.tasks if not one.passes]
        shots = max((one.shots for one in self.tasks), default=0)
        if not self.learnt:
            found = f"None of the {len(self.tasks)} tasks is learnt from {shots} demonstrations."
        else:
            found = f"{len(self.learnt)} of {len(self.tasks)} tasks are learnt from {shots} demonstrations: "
            found += f"{', '.join(self.learnt)}."
        return " ".join([found, *(f"{other}." for other in others)])

    def to_frame(self) -> pd.DataFrame:
        """All rows of all tasks that were evaluated."""
        import pandas as pd

        return pd.DataFrame([row for one in self.tasks for row in one.rows()])


def screen(
    model: HookedModel,
    tasks: Iterable[Conditions],
    *,
    evaluate: Evaluate = evaluate,
    progress: Callable[[int, int], None] | None = None,
) -> Screen:
    """Screen tasks in the conditions of `load_conditions(..., split="train", part="screen")`.

    evaluate: called as evaluate(model, task). progress(done, total) counts tasks. Raises UsageError without a task.
    """
    held = list(tasks)
    if not held:
        raise UsageError("a screen needs at least one task; got none (--tasks)")
    found = []
    for conditions in held:
        found.append(_screened(model, conditions, evaluate))
        if progress is not None:
            progress(len(found), len(held))
    return Screen(tuple(found))


def load_screen(
    names: Sequence[str],
    *,
    shots: int,
    limit: int | None = None,
    draws: int = DEMO_DRAWS,
    seed: int = 0,
    **options: Any,
) -> tuple[Conditions, ...]:
    """The documents that are kept for the screen of these tasks; `options` as in load_task.

    limit: at most so many documents a task. Raises UsageError where that is too few to show anything.
    """
    count = RESERVED if limit is None else limit
    if count < FEWEST:
        raise UsageError(
            f"a screen of {count} documents a task can show nothing: it takes {FEWEST} at least. Raise the budget or "
            "the limit, or name fewer tasks"
        )
    kept = {"split": "train", "part": "screen", "limit": count, "seed": seed, **options}
    return tuple(load_conditions(name, shots=shots, draws=draws, **kept) for name in names)


def _screened(model: HookedModel, conditions: Conditions, evaluate: Evaluate) -> Screened:
    few = conditions.few
    kept, left_out = with_common_choices(model, conditions)
    told = {"task": few.name, "shots": few.shots, "passes": False, "shots_of": None, "left_out": left_out}
    clusters = {document.cluster for document in kept.few.documents}
    if not clusters:
        return Screened(**told, reason=f"no document has a choice to make ({left_out[0]})")
    if len(clusters) < FEWEST:
        return Screened(
            **told, reason=f"{len(clusters)} independent documents are kept for the screen, which takes {FEWEST}"
        )
    shots = kept.evaluated(model, evaluate=evaluate)
    gain = shots.contrast(CHOICE).estimate
    bound = gain.lower_bound(CONFIDENCE)
    reason = "" if bound > 0 else f"its choice gain is {gain.value:.2f} nats, its 95% bound {bound:.2f}"
    return Screened(**{**told, "passes": bound > 0, "shots_of": shots}, reason=reason)
