"""A task's metric and outcomes on a model, whole or with heads and FFNs removed (Method 4, 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ablation.engine.likelihood import Progress, log_likelihoods
from ablation.gold import refuse_no_documents
from ablation.outcomes import OUTCOMES, Choices, Outcome
from ablation.replacement import Replacement
from interp.errors import UsageError
from interp.masks import FFNs, Heads
from interp.shown import one_line

if TYPE_CHECKING:
    from interp.model import HookedModel


Evaluate = Callable[..., "Evaluation"]  # evaluate, or what stands in for it: a program that stores evaluations
METRIC = "metric"
LOG_LIKELIHOOD = "log_likelihood"


@one_line
@dataclass(frozen=True)
class Evaluation:
    """What every document got, and what follows for the task.

    log_likelihoods: a list a document of one value a choice, in nats. values, units and clusters: the metric by unit (a
    document, or in MultiRC a question). documents, document_clusters and right: the same by document, `right` being
    whether its best choice is a right one. gold and target_lengths: the gold choice and its number of tokens.
    dropped and trimmed: demonstrations and tokens that over-long prompts lost. choices: what outcomes.py has to know.
    """

    task: str
    shots: int
    metric_name: str
    log_likelihoods: list[list[float]]
    values: Float[np.ndarray, "unit"]
    units: tuple[str, ...]
    clusters: tuple[str, ...]
    documents: tuple[str, ...]
    document_clusters: tuple[str, ...]
    right: Float[np.ndarray, "document"]
    gold: tuple[int, ...]
    target_lengths: tuple[int, ...]
    dropped: tuple[int, ...]
    trimmed: tuple[int, ...]
    choices: Choices | None = field(default=None, repr=False)

    @property
    def metric(self) -> float:
        """The task's metric, in [0, 1]."""
        return float(self.values.mean())

    @cached_property
    def stderr(self) -> float:
        """Standard error of the metric, clusters being the unit; NaN with a single cluster."""
        return self.outcome(METRIC).stderr

    @property
    def per_document(self) -> Float[np.ndarray, "document"]:
        """1.0 where a document's best choice is right, else 0.0."""
        return self.right

    @property
    def gold_log_likelihoods(self) -> Float[np.ndarray, "document"]:
        """log p of each document's gold continuation, in nats."""
        return np.asarray([row[gold] for row, gold in zip(self.log_likelihoods, self.gold, strict=True)])

    @property
    def choice(self) -> Float[np.ndarray, "item"]:
        """Does it choose? ll_gold - mass, in nats; -log K is chance (outcomes.py)."""
        return self.outcome("choice").values

    @property
    def mass(self) -> Float[np.ndarray, "item"]:
        """Does it answer in the format? logsumexp over the choices, in nats."""
        return self.outcome("mass").values

    @property
    def margin(self) -> Float[np.ndarray, "item"]:
        """ll_gold - the mean of the other choices, in nats."""
        return self.outcome("margin").values

    @property
    def per_token(self) -> Float[np.ndarray, "item"]:
        """`choice` of the choices' mean log-likelihood a token."""
        return self.outcome("per_token").values

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The outcomes that these documents have, the metric first."""
        return (METRIC, *(self.choices.available if self.choices is not None else ()))

    def outcome(self, name: str) -> Outcome:
        """`metric`, `choice`, `mass`, `sum`, `margin` or `per_token` by unit; `log_likelihood` (of gold) by document.

        Raises UsageError for a name that is none of these, and for documents that have no such outcome.
        """
        if name not in self._taken:
            self._taken[name] = self._take(name)
        return self._taken[name]

    @cached_property
    def _taken(self) -> dict[str, Outcome]:
        """Outcomes that were asked for already."""
        return {}

    def _take(self, name: str) -> Outcome:
        if name == METRIC:
            return Outcome(METRIC, self.values, self.units, self.clusters)
        if name == LOG_LIKELIHOOD:
            return Outcome(LOG_LIKELIHOOD, self.gold_log_likelihoods, self.documents, self.document_clusters)
        if name not in OUTCOMES:
            raise UsageError(f"{name!r} is no outcome; there are {', '.join((METRIC, *OUTCOMES, LOG_LIKELIHOOD))}")
        if self.choices is None:
            raise UsageError(
                f"this evaluation of {self.task} was made without its documents' choices, so it has no {name}: make it "
                "with evaluate, or with judged"
            )
        return self.choices.outcome(name, np.array([value for row in self.log_likelihoods for value in row]))

    @property
    def n_cut(self) -> int:
        """Documents whose prompt was longer than the model's context."""
        return sum(bool(lost) for lost in zip(self.dropped, self.trimmed, strict=True) if any(lost))


def evaluate(
    model: HookedModel,
    task: Any,
    *,
    heads: Heads | None = None,
    ffns: FFNs | None = None,
    replacement: Replacement | None = None,
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score every choice of every document of a task (`load_task`) and take its metric; ties go to the first choice.

    `heads` and `ffns` (masks: 1 keeps, 0 removes; or lists of what goes) and `replacement` (zero if None) are Method
    3.3's. Raises UsageError for a task that does not fit the model.
    """
    refuse_no_documents(task, whole=True)
    documents = list(task.token_documents(model))
    rows = log_likelihoods(
        model, documents, heads=heads, ffns=ffns, replacement=replacement, token_budget=token_budget, progress=progress
    )
    return judged(task, documents, rows)


def judged(task: Any, documents: Sequence[Any], log_likelihoods: list[list[float]]) -> Evaluation:
    """What `evaluate` makes of the log-likelihoods of a task's token documents: one list a document, in order."""
    score = task.score(log_likelihoods)
    pairs = zip(log_likelihoods, task.documents, strict=True)
    right = [float(np.argmax(row) in right_choices(document)) for row, document in pairs]
    return Evaluation(
        task=task.name,
        shots=task.shots,
        metric_name=task.metric,
        log_likelihoods=log_likelihoods,
        values=score.values,
        units=score.units,
        clusters=score.clusters,
        documents=tuple(document.id for document in documents),
        document_clusters=tuple(document.cluster for document in documents),
        right=np.asarray(right),
        gold=tuple(document.gold for document in documents),
        target_lengths=tuple(len(document.target) for document in documents),
        dropped=tuple(document.dropped for document in documents),
        trimmed=tuple(document.trimmed for document in documents),
        choices=choices_of(task, documents),
    )


def choices_of(task: Any, documents: Sequence[Any]) -> Choices:
    """What outcomes have to know of a task's token documents; without a task the gold choice alone is right."""
    rights = [right_choices(document) for document in getattr(task, "documents", documents)]
    return Choices.of(documents, right=rights, metric=getattr(task, "metric", "acc"))


def right_choices(document: Any) -> tuple[int, ...]:
    """The choices that count as right: the gold one, where a document does not name more."""
    return getattr(document, "right", (document.gold,))
