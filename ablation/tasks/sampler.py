"""Which demonstrations a document gets: seeded by (seed, task, document id), without state (Method 6).

Drawing in order without repeats from the pool, a row is passed over when it belongs to the document's own cluster
(itself, its twin, its passage), equals the document in content, or is in another pool. The first k of n
demonstrations are therefore the demonstrations at k shots, and any shard of documents gets what the whole would.
With `fixed`, the order depends on (seed, task) alone: all documents share one prompt, but for those that would meet
themselves in it, which take the next row instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

from ablation.tasks.rows import COLUMNS, PLACE, column_text
from interp.errors import UsageError

# Numbers of a row that say nothing about its content.
NUMBERING = frozenset({*COLUMNS, PLACE, "idx", "ind", "id"})


def draw(
    pool: Sequence[Mapping[str, Any]], document: Mapping[str, Any], n: int, *, seed: int, demos: str = "document"
) -> list[int]:
    """Positions in the pool of the document's n demonstrations, in the order in which the prompt shows them.

    Raises UsageError where the pool has fewer rows that may be shown.
    """
    identifier = str(document["document_id"])
    task = identifier.rsplit("/", 2)[0]
    chosen: list[int] = []
    for index in random_order(len(pool), f"{seed}|{task}" + (f"|{identifier}" if demos == "document" else "")):
        if len(chosen) == n:
            break
        if may_show(pool[index], document):
            chosen.append(index)
    if len(chosen) < n:
        raise UsageError(
            f"{n} shots were asked for, but only {len(chosen)} of the {len(pool)} documents that {task} has for "
            f"demonstrations may be shown to {identifier} (its own passage, twin and copies are left out). "
            f"Ask for at most {len(chosen)} shots."
        )
    return chosen


def random_order(n: int, key: str) -> Iterator[int]:
    """0..n-1 in an order that the key alone decides, lazily (Fisher and Yates)."""
    random = Random(key)  # noqa: S311  (a seeded order, no secret)
    moved: dict[int, int] = {}
    for place in range(n):
        other = random.randrange(place, n)
        yield moved.get(other, other)
        moved[other] = moved.get(place, place)


def may_show(row: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether a row of the pool may stand in the document's prompt."""
    if column_text(row, "pool_id") != column_text(document, "pool_id"):
        return False
    if column_text(row, "cluster_id") == column_text(document, "cluster_id"):
        return False
    return content(row) != content(document)


def content(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without its numbering, and without nulls: a field that other rows have is null in this one."""
    return without_nulls({name: value for name, value in row.items() if name not in NUMBERING})


def without_nulls(value: Any) -> Any:
    """An object without its fields that are null, and those of the objects in it."""
    if not isinstance(value, Mapping):
        return value
    return {name: without_nulls(held) for name, held in value.items() if held is not None}


@cache
def sampler_class() -> type:
    """The same draw as a ContextSampler of the harness, for those who run these YAML files with lm-eval itself."""
    from lm_eval.api.samplers import ContextSampler

    class DocumentSampler(ContextSampler):
        """Stateless: the seed is what `set_fewshot_seed` gave, the document is the one it is asked for."""

        seed: int = 0

        def set_rnd(self, rnd: int | None) -> Any:
            self.seed = rnd or 0
            return self

        def sample(self, n: int, eval_doc: Any = None, df: Any = None, **ignored: Any) -> list[Any]:
            rows = self.df if df is None else df
            return [rows[index] for index in draw(rows, eval_doc, n, seed=self.seed)] if n else []

    return DocumentSampler


def __getattr__(name: str) -> Any:
    """`DocumentSampler`, built on demand: the harness takes seconds to import."""
    if name == "DocumentSampler":
        return sampler_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
