"""A task as the likelihood engine sees it: documents with their prompts and choices, and the metric (Method 4, 6)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from ablation.tasks.tokens import Document, TokenDocuments, front_ids
from interp.errors import UsageError
from interp.shown import one_line
from interp.tokenizer import tokenizer_of

LIKELY = 8  # of the answers that are right most often, one scores most when it is always given


@one_line
@dataclass(frozen=True)
class TaskScore:
    """The metric, one value a unit: a document, or in MultiRC a question.

    `clusters` names each unit's cluster: units of one cluster are not independent (Method 4).
    """

    values: Float[np.ndarray, "unit"]
    units: tuple[str, ...]
    clusters: tuple[str, ...]

    @property
    def mean(self) -> float:
        """The task's metric, in [0, 1]."""
        return float(self.values.mean())


@one_line
@dataclass(frozen=True)
class Task:
    """Documents of one split with their demonstrations, ready to be tokenised and scored.

    `metric` is `acc`, `em` (ReCoRD) or `question_acc` (MultiRC); `data` is `built in`, `hub`, `folder` or `file`;
    `split`, `seed`, `demos`, `labels` and `bos` are what `load_task` was asked for. `unlabelled` counts the training
    rows that do not say what is right: they are no demonstrations. `sources`: hashes of all rows that the prompts are
    made of, by split (sources.py).
    """

    name: str
    shots: int
    documents: tuple[Document, ...]
    metric: str
    split: str
    seed: int
    demos: str
    labels: str
    bos: str
    data: str
    unlabelled: int = 0
    sources: tuple[tuple[str, str], ...] = ()

    def token_documents(self, model: Any) -> TokenDocuments:
        """The documents as token ids, tokenised when they are asked for.

        `model` needs `.tokenizer` and `.max_length` (None: unlimited). Raises UsageError where the tokenizer has no
        BOS token to put in front, and where there is no tokenizer.
        """
        tokenizer = tokenizer_of(model, f"the documents of {self.name}")
        front = front_ids(tokenizer, self.bos)
        return TokenDocuments(self.documents, tokenizer=tokenizer, max_length=model.max_length, front=front)

    def select(self, indices: Iterable[int]) -> Task:
        """The same task with some of its documents: a shard. Prompts do not change."""
        return replace(self, documents=tuple(self.documents[index] for index in indices))

    def score(self, log_likelihoods: Iterable[Iterable[Any]]) -> TaskScore:
        """The metric from one log-likelihood a choice, for every document in order; ties go to the first choice."""
        rows = [np.fromiter(row, dtype=float) for row in log_likelihoods]
        check_log_likelihoods(rows, self.documents)
        return self.score_choices([int(np.argmax(row)) for row in rows])

    def score_choices(self, chosen: Sequence[int]) -> TaskScore:
        """The metric when these choices are taken: a unit is right when all its documents are."""
        right: dict[str, bool] = {}
        clusters: dict[str, str] = {}
        for document, choice in zip(self.documents, chosen, strict=True):
            right[document.unit] = right.get(document.unit, True) and choice in document.right
            clusters.setdefault(document.unit, document.cluster)
        values = np.array(list(right.values()), dtype=float)
        return TaskScore(values=values, units=tuple(right), clusters=tuple(clusters.values()))

    @property
    def chance(self) -> float:
        """What choosing blindly scores: the mean over units of right choices / choices (Method 4).

        A MultiRC question multiplies those of its answers. In ReCoRD an entity may be named in several ways, all right.
        """
        share: dict[str, float] = {}
        for document in self.documents:
            share[document.unit] = share.get(document.unit, 1.0) * len(document.right) / len(document.continuations)
        return float(np.mean(list(share.values())))

    @property
    def majority(self) -> float:
        """The metric of always giving the same answer, at its best; where it is not offered, it is wrong.

        Answers are texts: a choice's place is nothing that a model sees.
        """
        offered = [_answers(document) for document in self.documents]
        right = Counter(
            answer
            for document, answers in zip(self.documents, offered, strict=True)
            for answer in {answers[choice] for choice in document.right}
        )
        always = (
            [answers.index(one) if one in answers else -1 for answers in offered]
            for one, _ in right.most_common(LIKELY)
        )
        return max(self.score_choices(chosen).mean for chosen in always)

    @property
    def fingerprint(self) -> str:
        """A hash of all prompts, choices and labels, for stores that must notice other documents."""
        parts = (repr((d.id, d.cluster, d.unit, d.contexts, d.continuations, d.gold, d.right)) for d in self.documents)
        return hashlib.sha256("\n".join((self.name, self.metric, self.bos, *parts)).encode()).hexdigest()


def _answers(document: Document) -> list[tuple[str, str]]:
    """What each choice says; where choices differ in front of the continuation (WinoGrande), that is part of it."""
    alike = len(set(document.queries)) == 1
    return [
        ("" if alike else query, text) for query, text in zip(document.queries, document.continuations, strict=True)
    ]


def check_log_likelihoods(rows: Sequence[np.ndarray], documents: Sequence[Document]) -> None:
    """Refuse what can't be scored: too few documents or choices, and NaN."""
    if len(rows) != len(documents):
        raise UsageError(f"Log-likelihoods of {len(rows)} documents were given, expected {len(documents)}.")
    for row, document in zip(rows, documents, strict=True):
        if len(row) != len(document.continuations):
            raise UsageError(
                f"{document.id} has {len(document.continuations)} choices, but {len(row)} log-likelihoods were given."
            )
        if np.isnan(row).any():
            raise UsageError(
                f"A log-likelihood of {document.id} is NaN: {row.tolist()}. Check the model with `doctor`."
            )
