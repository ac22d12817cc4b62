"""The two metrics that are not plain accuracy, as the harness calls them (Method 6).

ReCoRD: the best entity equals an answer, after SQuAD's normalisation (case, punctuation, articles and white space do
not count; Rajpurkar et al. 2016, used by ReCoRD's own evaluation). MultiRC: a question is right when each of its
answers is judged rightly.
"""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ablation.tasks.prompts import record_entities

Row = Mapping[str, Any]
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def best(results: Sequence[tuple[float, bool]]) -> int:
    """The choice of highest log-likelihood, ties to the first."""
    return int(np.argmax([value for value, _ in results]))


def normalised(text: str) -> str:
    """SQuAD's normal form of an answer."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(NO_PUNCTUATION)).split())


def record_right(row: Row) -> tuple[int, ...]:
    """Positions of the entities that count as an answer."""
    answers = {normalised(answer) for answer in row["answers"]}
    return tuple(i for i, entity in enumerate(record_entities(row)) if normalised(entity) in answers)


def record_results(row: Row, results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """The harness's `process_results`: exact match of the best entity."""
    return {"em": float(best(results) in record_right(row))}


def multirc_results(row: Row, results: Sequence[tuple[float, bool]]) -> dict[str, tuple[str, bool]]:
    """The harness's `process_results`: which question, and whether this answer was judged rightly."""
    return {"acc": (row["unit_id"], best(results) == 1 - row["label"])}


def by_question(items: Sequence[tuple[str, bool]]) -> float:
    """The harness's aggregation: share of questions all of whose answers were judged rightly."""
    questions: dict[str, list[bool]] = defaultdict(list)
    for question, right in items:
        questions[question].append(right)
    return float(np.mean([all(judged) for judged in questions.values()]))
