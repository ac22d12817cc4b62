"""The prompts of function vectors: three sets of documents of a task that share none, not even a cluster (Method 3.5).

1. What is not kept for the screen (tasks/reserved.py) is divided by cluster: three tenths, whose
   prompts give the mean, three tenths that are asked, and the rest, which demonstrations are drawn from.
2. The mean set stands behind right labels, and once more behind wrong ones; the queries behind wrong ones. Wrong: drawn
   from the choices that are not right, where a demonstration has such; `changed` is the share of labels that it holds
   for. (Shuffling labels among the demonstrations would leave half of two labels right.)
3. A task whose documents follow several rules (`pool`) has as many functions, each with a mean of its own.
Validation documents are not touched: they judge what the vectors' heads are worth (Method 5).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation.tasks.definitions import definition
from ablation.tasks.labels import labelled
from ablation.tasks.loading import METRICS, demonstration_pool, evaluated, limited, render, telling_misfits
from ablation.tasks.names import ICL14
from ablation.tasks.own_files import named
from ablation.tasks.rendering import Renderer
from ablation.tasks.reserved import cluster_of, divided
from ablation.tasks.sources import sources_of
from ablation.tasks.task import Task
from interp.errors import UsageError
from interp.shown import one_line

SHOTS = 10
MEAN_DOCUMENTS = 64
QUERIES = 40
SHARES = (3, 3, 4)  # of the clusters: mean set, queries, demonstrations
Row = Mapping[str, Any]


@one_line
@dataclass(frozen=True)
class VectorTask:
    """One task's prompts.

    mean: behind right labels. null: the same documents behind wrong ones. queries: others, behind wrong labels; plain:
    the same without demonstrations. changed: the share of labels that are wrong where they should be.
    """

    name: str
    mean: Task
    null: Task
    queries: Task
    plain: Task
    changed: float = 1.0

    def __post_init__(self) -> None:
        sets = [{document.id for document in task.documents} for task in (self.mean, self.queries)]
        shown = {
            d.id for task in (self.mean, self.null, self.queries) for doc in task.documents for d in doc.demonstrations
        }
        if shared := sets[0] & sets[1] | (sets[0] | sets[1]) & shown:
            raise UsageError(
                f"{len(shared)} documents of {self.name} stand in two of the mean set, the queries and the "
                f"demonstrations (such as {min(shared)!r}): a vector must not be tested on what it was made of"
            )

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of its functions, in order: the task's own where it follows one rule."""
        return tuple(dict.fromkeys(self.function_of(document) for document in self.mean.documents))

    def function_of(self, document: Any) -> str:
        return f"{self.name}/{document.pool}" if document.pool else self.name


def vector_task(
    name: str,
    *,
    shots: int = SHOTS,
    seed: int = 0,
    data: str | Path = "hub",
    bos: str = "auto",
    queries: int = QUERIES,
    mean_documents: int = MEAN_DOCUMENTS,
    mean_labels: str = "true",
) -> VectorTask:
    """Load a task's prompts. mean_labels="wrong" gives the mean set wrong labels, too, others than the null's: then
    there is nothing to find.

    Rows without a label are counted (`Task.unlabelled`) and left out.
    Raises UsageError for a task without training documents, or with too few for `shots` demonstrations.
    """
    name = named(name)
    source, place = definition(name, data)
    metric = METRICS.get(name, "acc") if name in ICL14 else "acc"
    if not source.has_training_docs():
        raise UsageError(f"{name} has no train documents, so mean set, queries and demonstrations can't be kept apart")
    training, pool = list(evaluated(source, name, "train")), demonstration_pool(source, name)
    sources = sources_of(source, "train", training, pool, shots=shots)
    with telling_misfits(name):
        held, training, pool = (
            (len(training), len(pool)),
            *(labelled(source, part, metric) for part in (training, pool)),
        )
    unlabelled = max(held[0] - len(training), held[1] - len(pool))
    rows, pool = divided(training, pool, training, "rest", name)
    mean, asked, shown = split_by_cluster(rows)
    pool = [row for row in pool if cluster_of(row) in shown]
    if shots > len(pool):
        raise UsageError(f"{name} has {len(pool)} documents left for demonstrations, too few for {shots} shots")

    def task(clusters: frozenset[str], limit: int, labels: str, k: int, number: int = 0) -> Task:
        drawn = seed + 1_000_003 * number
        renderer = Renderer(source, pool, shots=k, seed=drawn, demos="document", labels=labels, metric=metric)
        chosen = limited([row for row in rows if cluster_of(row) in clusters], limit)
        documents = render(renderer, chosen, None)
        return Task(name, k, documents, metric, "train", drawn, "document", labels, bos, place, unlabelled, sources)

    null = task(mean, mean_documents, "wrong", shots)
    asking = task(asked, queries, "wrong", shots)
    return VectorTask(
        name=name,
        mean=task(mean, mean_documents, mean_labels, shots, int(mean_labels != "true")),
        null=null,
        queries=asking,
        plain=task(asked, queries, "true", 0),
        changed=_changed(task(mean, mean_documents, "true", shots), null),
    )


def split_by_cluster(rows: Sequence[Row]) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Clusters of the mean set, of the queries and of the demonstrations, in an order that a hash decides."""
    clusters = sorted({cluster_of(row) for row in rows}, key=_hash)
    first, second = (len(clusters) * sum(SHARES[:n]) // sum(SHARES) for n in (1, 2))
    return frozenset(clusters[:first]), frozenset(clusters[first:second]), frozenset(clusters[second:])


def _changed(true: Task, wrong: Task) -> float:
    """The share of demonstrations whose text differs."""
    pairs = [
        (a.text, b.text)
        for one, other in zip(true.documents, wrong.documents, strict=True)
        for a, b in zip(one.demonstrations, other.demonstrations, strict=True)
    ]
    return sum(a != b for a, b in pairs) / len(pairs) if pairs else 0.0


def _hash(cluster: str) -> str:
    return hashlib.sha256(f"vectors|{cluster}".encode()).hexdigest()
