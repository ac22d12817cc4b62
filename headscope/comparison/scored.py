"""A ranking with the documents (or sequences) it was made from, as the statistics want it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int

from ablation.statistics import ClusteredScores, Resampled, kv_groups, resample
from ablation.statistics.aggregate import aggregate_tables
from ablation.statistics.clusters import MINIMUM_CLUSTERS
from headscope.store.comparisons import ScoreName
from headscope.store.items import values_of
from headscope.store.run import Run
from headscope.store.scores import IMPORTANCE, NORM, label
from interp.scores import HeadScores

DOCUMENT = ("document", "demo_seed")  # one document's prompt
COMPARED_VARIANTS = ("token", "signed", "signed/choice")


@dataclass(frozen=True)
class Scored:
    """One ranking of the heads.

    stored: the table as it was stored. items: None where none were kept. documents_of: whose documents the items are;
    rankings of other tasks' documents are independent, whatever their numbers.
    """

    name: str
    stored: Float[np.ndarray, "layer head"]
    items: ClusteredScores | None = None
    null_mean: Float[np.ndarray, "layer head"] | None = None
    documents_of: tuple[str, ...] = ()
    seed: int = 0

    @cached_property
    def resampled(self) -> Resampled | None:
        """The same without part of the documents, and on halves; None with too few clusters for an interval."""
        if self.items is None or np.unique(self.items.clusters).size < MINIMUM_CLUSTERS:
            return None
        return resample(self.items, seed=self.seed)

    @property
    def scores(self) -> HeadScores:
        """The table as a score, for what ranks heads."""
        return HeadScores.from_items(self.name, torch.from_numpy(self.table)[None].float())

    @property
    def table(self) -> Float[np.ndarray, "layer head"]:
        """The score of every head, NaN where there is none."""
        return self.stored if self.resampled is None else self.resampled.full


@dataclass(frozen=True)
class Shelf:
    """The rankings of a run, each read and resampled once."""

    run: Run
    seed: int = 0
    held: dict[tuple[object, ...], Scored] = field(default_factory=dict, repr=False)

    @cached_property
    def stored(self) -> pd.DataFrame:
        """Which scores there are: columns score, variant, task, shots."""
        return self.run.head_scores[["score", "variant", "task", "shots"]].drop_duplicates(ignore_index=True)

    def tasks(self, score: str, variant: str, shots: int) -> tuple[str, ...]:
        """The tasks that have this score at this number of shots."""
        rows = self.stored.query("score == @score and variant == @variant and shots == @shots and task != ''")
        return tuple(sorted(rows["task"]))

    def shots(self, score: str = IMPORTANCE, variant: str = "token") -> tuple[int, ...]:
        """The numbers of shots at which tasks have this score."""
        rows = self.stored.query("score == @score and variant == @variant and task != ''")
        return tuple(sorted({int(shots) for shots in rows["shots"]}))

    def has(self, score: str, variant: str = "", task: str = "", shots: int = 0) -> bool:
        return (score, variant, task, shots) in set(self.stored.itertuples(index=False, name=None))

    def of_sequences(self, score: str, variant: str = "") -> Scored:
        """A score that needs no task; its items are sequences."""
        return self._once((score, variant), lambda: self._of_sequences(score, variant))

    def of_task(self, score: str, variant: str, task: str, shots: int) -> Scored:
        """A task's score; its items are documents."""
        return self._once((score, variant, task, shots), lambda: self._of_task(score, variant, task, shots))

    def aggregate(self, score: str, variant: str, shots: int, tasks: Sequence[str] | None = None) -> Scored:
        """Each task's table divided by its total, then averaged (Method 4)."""
        names = self.tasks(score, variant, shots) if tasks is None else tuple(tasks)
        return self._once((score, variant, names, shots), lambda: self._aggregate(score, variant, names, shots))

    def on_shared_documents(
        self, names: Sequence[ScoreName], task: str, shots: int
    ) -> list[Float[np.ndarray, "layer head"]]:
        """A task's tables of several scores, over the documents that all have; as stored where no such are kept."""
        scores = [self.run.head_score(name.score, name.variant, task=task, shots=shots) for name in names]
        labels = [f"head-{label(name.score, name.variant, task, shots)}" for name in names]
        items = [self.run.items(name) for name in labels if name in self.run.item_names]
        if len(items) == len(names) and all(set(DOCUMENT) <= set(table) for table in items):
            by_document = [table.set_index(list(DOCUMENT)) for table in items]
            shared = reduce(pd.Index.intersection, (table.index for table in by_document))
            if len(shared):
                return [_mean(table.loc[shared], like) for table, like in zip(by_document, scores, strict=True)]
        return [_table(of_score) for of_score in scores]

    def mean_norm(self, shots: int) -> Float[np.ndarray, "layer head"] | None:
        """Mean over tasks of mean |r|; None where it was not stored."""
        names = self.tasks(NORM, "", shots)
        if not names:
            return None
        return np.mean([_table(self.run.head_score(NORM, task=task, shots=shots)) for task in names], axis=0)

    @property
    def variants(self) -> tuple[str, ...]:
        """How importance was measured, of the ways that rankings are compared by: the paper's first."""
        there = set(self.stored[(self.stored["score"] == IMPORTANCE) & (self.stored["task"] != "")]["variant"])
        return tuple(variant for variant in COMPARED_VARIANTS if variant in there)

    @property
    def importance_shots(self) -> tuple[int, ...]:
        """The numbers of shots at which tasks have any of these importances."""
        return tuple(sorted({count for variant in self.variants for count in self.shots(IMPORTANCE, variant)}))

    @cached_property
    def groups(self) -> Int[np.ndarray, "layer head"]:
        """The key-value group of every head."""
        rows = self.run.head_scores
        layers, heads, groups = (int(rows[name].max()) + 1 for name in ("layer", "head", "kv_head"))
        return kv_groups(layers, heads, groups)

    @cached_property
    def induction_heads(self) -> Bool[np.ndarray, "layer head"] | None:
        """The set of Method 2.8; None where no classes were stored."""
        rows = self.run.classes
        if rows.empty:
            return None
        heads = np.zeros((int(rows["layer"].max()) + 1, int(rows["head"].max()) + 1), dtype=bool)
        heads[rows["layer"], rows["head"]] = rows["class"] != ""
        return heads

    def _once(self, key: tuple[object, ...], make: Callable[[], Scored]) -> Scored:
        if key not in self.held:
            self.held[key] = make()
        return self.held[key]

    def _of_sequences(self, score: str, variant: str) -> Scored:
        scores = self.run.head_score(score, variant)
        name = f"head-{label(score, variant)}"
        items = None
        if name in self.run.item_names:
            values = _values(self.run.items(name), scores)
            items = ClusteredScores(values, np.arange(len(values)))
        null = scores.null_mean.double().numpy() if scores.nulls else None
        return Scored(str(ScoreName(score, variant)), _table(scores), items, null, ("sequences",), self.seed)

    def _of_task(self, score: str, variant: str, task: str, shots: int) -> Scored:
        scores = self.run.head_score(score, variant, task=task, shots=shots)
        name = f"head-{label(score, variant, task, shots)}"
        items = _documents([self.run.items(name, needs=("cluster",))], scores) if name in self.run.item_names else None
        return Scored(task, _table(scores), items, documents_of=(task,), seed=self.seed)

    def _aggregate(self, score: str, variant: str, tasks: Sequence[str], shots: int) -> Scored:
        scores = [self.run.head_score(score, variant, task=task, shots=shots) for task in tasks]
        names = [f"head-{label(score, variant, task, shots)}" for task in tasks]
        items = None
        if set(names) <= set(self.run.item_names):
            items = _documents([self.run.items(name, needs=("cluster",)) for name in names], scores[0])
        table = aggregate_tables(np.stack([_table(of_task) for of_task in scores]))
        return Scored(str(ScoreName(score, variant)), table, items, documents_of=tuple(tasks), seed=self.seed)


def _table(scores: HeadScores) -> Float[np.ndarray, "layer head"]:
    return np.asarray(scores.mean.double().numpy())


def _values(items: pd.DataFrame, like: HeadScores) -> Float[np.ndarray, "item layer head"]:
    return values_of(items, tuple(like.mean.shape), np.float64)


def _mean(items: pd.DataFrame, like: HeadScores) -> Float[np.ndarray, "layer head"]:
    """What is stored of a score, over these documents."""
    return np.asarray(_values(items, like).sum(0) / _sizes(items).sum())


def _documents(tables: Sequence[pd.DataFrame], like: HeadScores) -> ClusteredScores:
    """The documents of all tasks: scores, clusters (labels of their own for each task), lengths and task."""
    layers = like.mean.shape[0]
    task = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    labels = [f"{index}|{cluster}" for index, table in enumerate(tables) for cluster in table["cluster"]]
    lengths = np.concatenate([_sizes(table) for table in tables])
    return ClusteredScores(
        per_item=np.concatenate([_values(table, like) for table in tables]),
        clusters=np.unique(labels, return_inverse=True)[1].astype(np.int64),
        sizes=np.repeat(lengths[:, None], layers, axis=1),
        tasks=task if len(tables) > 1 else None,
    )


def _sizes(items: pd.DataFrame) -> Float[np.ndarray, "item"]:
    """What each document adds to the denominator: its tokens but one for importance (Method 3.1), 1 for a mean."""
    return items["length"].to_numpy(dtype=np.float64) - 1 if "length" in items else np.ones(len(items))
