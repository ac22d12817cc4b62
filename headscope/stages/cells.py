"""The cells of a stage: a task at a number of shots with one draw of demonstrations, cut into shards of documents.

A work unit is one shard of one cell under one mask. Shards have a fixed size, so that a longer run finds the units of a
shorter one, and prompts are seeded by document (METHODS 6), so that any shard gives the numbers of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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

    limits: of single tasks, in place of `limit`.
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

    def __post_init__(self) -> None:
        from ablation.tasks.loading import check_arguments

        for shots in self.shots:
            check_arguments(shots=shots, limit=self.limit, demos=self.demos, bos=self.bos, labels=self.labels)
        if self.demo_seeds < 1:
            raise UsageError(f"demonstrations are drawn {self.demo_seeds} times; expected 1 or more (--demo-seeds)")
        if not self.names or not self.shots:
            raise UsageError("name at least one task (--tasks) and one number of shots (--shots)")

    @property
    def protocol(self) -> dict[str, Any]:
        """What all stages of one command in one folder must agree on."""
        told = {
            "limit": self.limit,
            "demos": self.demos,
            "demo_seeds": self.demo_seeds,
            "bos": self.bos,
            "limits": dict(self.limits) or None,
        }
        return {name: value for name, value in told.items() if value is not None}

    def cells(self, split: str) -> tuple[Cell, ...]:
        """Load all tasks. Raises UsageError for unknown or unfit ones, too many shots, documents that can't be had."""
        return tuple(self._cells(split))

    def _cells(self, split: str) -> Iterator[Cell]:
        from ablation.tasks import load_task

        limits = dict(self.limits)
        for name in self.names:
            for shots in self.shots:
                for draw in range(self.demo_seeds if shots else 1):
                    task = load_task(
                        name,
                        shots=shots,
                        limit=limits.get(name, self.limit),
                        seed=self.seed + draw,
                        data=self.data,
                        split=split,
                        demos=self.demos,
                        bos=self.bos,
                        labels=self.labels,
                    )
                    yield Cell(task, self.seed + draw)


@dataclass(frozen=True)
class Cell:
    """One task at one number of shots, its demonstrations drawn with `demo_seed`."""

    task: Task
    demo_seed: int

    @property
    def name(self) -> str:
        return f"{self.task.name}, {shots_told(self.task.shots)}"

    def shards(self, size: int = SHARD) -> list[Task]:
        """The documents in parts of at most `size`."""
        count = len(self.task.documents)
        return [self.task.select(range(start, min(start + size, count))) for start in range(0, count, size)]

    def first(self, documents: int) -> Cell:
        """The same cell with its first documents only."""
        count = len(self.task.documents)
        return self if documents >= count else replace(self, task=self.task.select(range(documents)))


@dataclass
class Progress:
    """Counts the documents (or other pieces) of all cells together and says which task is in work."""

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


def by_task_and_shots(cells: tuple[Cell, ...]) -> dict[tuple[str, int], list[Cell]]:
    """The draws of demonstrations of each task and number of shots."""
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.task.name, cell.task.shots), []).append(cell)
    return groups


def fingerprints(cells: tuple[Cell, ...]) -> Mapping[str, str]:
    """A hash of the documents of every cell, for the manifest."""
    return {f"{cell.name}, seed {cell.demo_seed}": cell.task.fingerprint[:16] for cell in cells}


def cut_prompts(model: HookedModel, cells: tuple[Cell, ...]) -> dict[str, int]:
    """How many prompts of each task and number of shots were longer than the model's context, where there are any."""
    found: dict[str, int] = {}
    for (task, shots), group in by_task_and_shots(cells).items():
        documents = (document for cell in group for document in cell.task.token_documents(model))
        if count := sum(bool(document.dropped or document.trimmed) for document in documents):
            found[f"{task}, {shots_told(shots)}"] = count
    return found


def shots_told(shots: int) -> str:
    return f"{shots} shot" if shots == 1 else f"{shots} shots"


def parse_shots(text: str) -> tuple[int, ...]:
    """`0,1,5` -> (0, 1, 5). Raises UsageError for anything that is no list of numbers."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise UsageError(f"{quoted(text)} is no list of numbers of shots: write, for example, --shots 0,1,5")
    return tuple(sorted({int(part) for part in parts}))
