"""The tasks of a stage: each at a number of shots with one draw of demonstrations, cut into shards of documents.

A work unit is one shard of one task under one mask. Shards have a fixed size, so that a longer run finds the units of a
shorter one, and prompts are seeded by document (Method 6), so that any shard gives the numbers of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from interp.errors import UsageError, quoted

if TYPE_CHECKING:
    from ablation.tasks import Task
    from interp.model import HookedModel

Tell = Callable[..., None]
SHARD = 16


@dataclass(frozen=True)
class TaskChoice:
    """Which tasks are scored, and how their prompts are made; `limit` documents (questions in MultiRC) a task.

    limits: of single tasks, in place of `limit`. mixed: the draws of the demonstrations share the documents out among
    them, in place of each having all (ablation/gains.py). part: `rest` leaves out what a screen sees
    (ablation/tasks/reserved.py).
    """

    names: tuple[str, ...]
    shots: tuple[int, ...] = (0, 5)
    limit: int | None = None
    seed: int = 0
    demo_seeds: int = 1
    data: str = "hub"
    demos: str = "document"
    bos: str = "auto"
    labels: str = "true"
    limits: tuple[tuple[str, int], ...] = ()
    mixed: bool = False
    part: str = "all"

    def __post_init__(self) -> None:
        from ablation.tasks.loading import check_arguments

        for shots in self.shots:
            check_arguments(
                shots=shots, limit=self.limit, demos=self.demos, bos=self.bos, labels=self.labels, part=self.part
            )
        if self.demo_seeds < 1:
            raise UsageError(f"demonstrations are drawn {self.demo_seeds} times; expected 1 or more (--demo-seeds)")
        if not self.names or not self.shots:
            raise UsageError("name at least one task (--tasks) and one number of shots (--shots)")

    @property
    def protocol(self) -> dict[str, Any]:
        """What all stages of one command in one folder must agree on."""
        choices = {
            "limit": self.limit,
            "demos": self.demos,
            "demo_seeds": self.demo_seeds,
            "bos": self.bos,
            "limits": dict(self.limits) or None,
            "mixed": self.mixed or None,
            "part": self.part if self.part != "all" else None,
        }
        return {name: value for name, value in choices.items() if value is not None}

    def tasks(self, split: str) -> tuple[Task, ...]:
        """Every task at every number of shots, once a draw of its demonstrations; once where the draws are mixed.

        Raises UsageError for unknown or unfit ones, too many shots, and documents that are not there.
        """
        cells = [(name, shots) for name in self.names for shots in self.shots]
        drawn = [[self.task(*cell, split, draw) for draw in range(self._draws(cell[1]))] for cell in cells]
        if not self.mixed:
            return tuple(task for draws in drawn for task in draws)
        from ablation.gains import mixed_draws

        return tuple(mixed_draws(draws) for draws in drawn)

    def task(self, name: str, shots: int, split: str, draw: int = 0) -> Task:
        """One task at one number of shots, by one draw of its demonstrations."""
        from ablation.tasks import load_task

        return load_task(
            name,
            shots=shots,
            limit=dict(self.limits).get(name, self.limit),
            seed=self.seed + draw,
            data=self.data,
            split=split,
            demos=self.demos,
            bos=self.bos,
            labels=self.labels,
            part=self.part,
        )

    def _draws(self, shots: int) -> int:
        return self.demo_seeds if shots else 1


def title_of(task: Task) -> str:
    """`copa, 5 shots`."""
    return f"{task.name}, {shots_told(task.shots)}"


def shards(task: Task, size: int = SHARD) -> list[Task]:
    """The documents in parts of at most `size`."""
    count = len(task.documents)
    return [task.select(range(start, min(start + size, count))) for start in range(0, count, size)]


def text_length(task: Task) -> float:
    """Characters of all prompts and choices: how long a shard takes beside others."""
    return float(sum(len(each.context) + sum(map(len, each.continuations)) for each in task.documents))


def first(task: Task, documents: int) -> Task:
    """The same task with its first documents only."""
    return task if documents >= len(task.documents) else task.select(range(documents))


@dataclass
class Progress:
    """Counts the documents (or other pieces) of all tasks together and says which task is in work."""

    total: int
    tell: Tell | None = None
    done: int = 0
    what: str = field(default="")

    def add(self, count: int, what: str = "") -> None:
        self.done += count
        self.what = what or self.what
        if self.tell is not None:
            self.tell(self.done, self.total, self.what)

    def within(self, count: int, what: str) -> Callable[[int, int], None]:
        """For a function that reports (done, total) of a piece that counts as `count`; the caller adds it when done."""

        def tell(done: int, total: int) -> None:
            if self.tell is not None:
                self.tell(self.done + count * done // max(1, total), self.total, what)

        return tell


def by_task_and_shots(tasks: tuple[Task, ...]) -> dict[tuple[str, int], list[Task]]:
    """The draws of demonstrations of each task and number of shots."""
    groups: dict[tuple[str, int], list[Task]] = {}
    for task in tasks:
        groups.setdefault((task.name, task.shots), []).append(task)
    return groups


def fingerprints(tasks: tuple[Task, ...]) -> Mapping[str, str]:
    """A hash of the documents of every task, for the manifest."""
    return {f"{title_of(task)}, seed {task.seed}": task.fingerprint[:16] for task in tasks}


def sources_of(tasks: Iterable[Task]) -> dict[str, str]:
    """A hash of all rows that each task's prompts are made of, by split: every stage in a folder must read the same."""
    return {f"{task.name}, {part}": mark[:16] for task in tasks for part, mark in task.sources}


def cut_prompts(model: HookedModel, tasks: tuple[Task, ...]) -> dict[str, int]:
    """How many prompts of each task and number of shots were longer than the model's context, where there are any."""
    cut: dict[str, int] = {}
    for draws in by_task_and_shots(tasks).values():
        documents = (document for task in draws for document in task.token_documents(model))
        if count := sum(bool(document.dropped or document.trimmed) for document in documents):
            cut[title_of(draws[0])] = count
    return cut


def check_component(model: HookedModel, component: str) -> None:
    """Raises UsageError where the model has none of these: removing nothing would pass for a success."""
    if component in ("ffn", "both") and not model.ffn_layers:
        raise UsageError(
            f"{model.layout.architecture} has no FFN that headscope can place, so there is none to remove: give "
            "--component head"
        )


def unlabelled_rows(tasks: Iterable[Task]) -> dict[str, int]:
    """How many training documents of each task have no label, where there are any: they are no demonstrations."""
    return {task.name: task.unlabelled for task in tasks if task.unlabelled}


def shots_told(shots: int) -> str:
    return f"{shots} shot" if shots == 1 else f"{shots} shots"


def parse_shots(text: str) -> tuple[int, ...]:
    """`0,1,5` -> (0, 1, 5). Raises UsageError for anything that is no list of numbers."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise UsageError(f"{quoted(text)} is no list of numbers of shots: write, for example, --shots 0,1,5")
    return tuple(sorted({int(part) for part in parts}))
