"""`load_task`: the one way from a task's name to its documents (Method 6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablation.tasks.definitions import definition, quiet_harness
from ablation.tasks.labels import labelled
from ablation.tasks.names import BOS, DEMOS, ICL14, LABELS
from ablation.tasks.own_files import named
from ablation.tasks.rendering import Renderer
from ablation.tasks.reserved import PARTS, divided
from ablation.tasks.rows import distinct, identified, misfit, telling_row
from ablation.tasks.sources import sources_of
from ablation.tasks.spread import spread_places
from ablation.tasks.task import Task
from ablation.tasks.tokens import Document
from interp.errors import HeadscopeError, UsageError, quoted
from interp.whole import whole_number

METRICS = {"record": "em", "multirc": "question_acc"}
SPLITS = ("validation", "train")


def load_task(
    name: str | Path,
    *,
    shots: int = 0,
    limit: int | None = None,
    seed: int = 0,
    data: str | Path = "hub",
    split: str = "validation",
    demos: str = "document",
    bos: str = "auto",
    labels: str = "true",
    part: str = "all",
) -> Task:
    """A multiple-choice task with its prompts: one of the 14, a probe, one of lm-evaluation-harness, or a YAML file.

    `limit` takes so many documents of the split (questions in MultiRC), spread over it (spread.py). `data` is `hub` or
    a folder with TASK/{train,validation}.jsonl; with `hub`, HEADSCOPE_DATA is read where it has the task.
    Demonstrations are drawn from train by (seed, task, document id), or by (seed, task) with `demos="fixed"`, and never
    include the document, its twin, its passage or a copy, nor a row without a label (`Task.unlabelled` counts those).
    `bos` says what stands in front of a prompt (`auto`: what the tokenizer adds by itself); `labels="shuffled"` gives
    the demonstrations random answers of their own choices. `part`: `screen` are the training documents kept for the
    screen, `rest` is all but those (reserved.py).

    Raises UsageError for a value out of range, an unknown or unfit task, and documents that are missing or broken.
    """
    check_arguments(shots=shots, limit=limit, split=split, demos=demos, bos=bos, labels=labels, part=part)
    if part == "screen" and split != "train":
        raise UsageError("The documents kept for the screen are training documents: load them with split='train'.")
    if not isinstance(name, str | Path):
        raise UsageError(f"A task is given by its name or its file, got {quoted(name)} ({type(name).__name__}).")
    name = named(str(name))
    source, place = definition(name, data)
    metric = METRICS.get(name, "acc") if name in ICL14 else "acc"
    rows, pool, unlabelled = list(evaluated(source, name, split)), demonstration_pool(source, name), 0
    sources = sources_of(source, split, rows, pool, shots=shots)
    with telling_misfits(name):
        held, pool = len(pool), labelled(source, pool, metric)
        unlabelled = held - len(pool)
        if split == "train":
            held, rows = len(rows), labelled(source, rows, metric)
            unlabelled = max(unlabelled, held - len(rows))
            if held and not rows:
                raise UsageError(f"None of the {held} train documents of {name} has a label: give labelled ones.")
    if part != "all":
        training = None
        if source.has_training_docs():
            training = labelled(source, evaluated(source, name, "train"), metric)
        rows, pool = divided(rows, pool, training, part, name)
    if shots > len(pool):
        raise UsageError(
            f"{shots} shots were asked for, but {name} has {len(pool)} documents to draw demonstrations from"
            f"{f' ({unlabelled} more have no label)' if unlabelled else ''}. "
            f"Ask for at most {len(pool)} shots."
        )
    renderer = Renderer(source, pool, shots=shots, seed=seed, demos=demos, labels=labels, metric=metric)
    documents = render(renderer, rows, limit)
    return Task(
        name=name,
        shots=shots,
        documents=documents,
        metric=metric,
        split=split,
        seed=seed,
        demos=demos,
        labels=labels,
        bos=bos,
        data=place,
        unlabelled=unlabelled,
        sources=sources,
    )


def check_arguments(*, shots: int, limit: int | None, **words: str) -> None:
    """Refuse values out of range."""
    if whole_number(shots, "shots") < 0:
        raise UsageError(f"The number of shots is {shots}. Expected 0 (no demonstrations) or more.")
    if limit is not None and whole_number(limit, "limit") < 1:
        raise UsageError(f"The limit is {limit}. Expected at least 1 document; leave it out to use all of them.")
    known = {"split": SPLITS, "demos": DEMOS, "bos": BOS, "labels": LABELS, "part": PARTS}
    for name, word in words.items():
        if word not in known[name]:
            raise UsageError(f"{name} is {word!r}. Expected one of: {', '.join(known[name])}.")


def render(renderer: Renderer, rows: Iterable[Mapping[str, Any]], limit: int | None) -> tuple[Document, ...]:
    """The documents that the limit takes."""
    documents: list[Document] = []
    for row in limited(rows, limit):
        with quiet_harness(), telling_row(row):
            documents.append(renderer.document(row))
    return tuple(documents)


@contextmanager
def telling_misfits(document: str) -> Iterator[None]:
    """Around work on rows: a field that is missing or odd is a sentence."""
    try:
        with quiet_harness():
            yield
    except HeadscopeError:
        raise
    except Exception as error:  # Jinja and the prompts raise any kind.
        raise misfit(document, error) from error


def limited(rows: Iterable[Mapping[str, Any]], limit: int | None) -> list[Mapping[str, Any]]:
    """All rows in their own order; with a limit, those of so many units (documents; questions in MultiRC), spread."""
    held = list(rows)
    if limit is None:
        return held
    units = [str(row.get("unit_id") or row["document_id"]) for row in held]
    clusters = [str(row.get("cluster_id") or unit) for row, unit in zip(held, units, strict=True)]
    return [held[place] for place in spread_places(units, clusters, limit)]


def evaluated(source: Any, name: str, split: str) -> Sequence[Mapping[str, Any]]:
    """The rows of the split; `validation` is the split that the harness evaluates."""
    rows = source.training_docs() if split == "train" else source.eval_docs
    if rows is None:
        raise UsageError(f"{name} has no train documents: use `split='validation'`.")
    return distinct([numbered(row, name, split, index) for index, row in enumerate(rows)])


def demonstration_pool(source: Any, name: str) -> Sequence[Mapping[str, Any]]:
    """The rows that demonstrations are drawn from: train, or what one of the harness's own tasks says."""
    sampler = getattr(source, "sampler", None)
    split = "train" if source.has_training_docs() and source.fewshot_cfg.split in (None, "train") else "demonstrations"
    return distinct([numbered(row, name, split, index) for index, row in enumerate(sampler.df if sampler else [])])


def numbered(row: Mapping[str, Any], name: str, split: str, index: int) -> Mapping[str, Any]:
    """The row with the columns that its data set does not give: a document id, and a cluster of its own."""
    default = f"{name}/{split}/{index}"
    row = identified(row, {"document_id": default, "cluster_id": default, "pool_id": ""})
    return identified(row, {"unit_id": row["document_id"]})
