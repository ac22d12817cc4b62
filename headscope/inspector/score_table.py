"""Every stored score of every head, as the mosaics, the card and the table of heads read it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from headscope.report.contents import WITHOUT_TASK, class_names, kv_heads, score_entries, shape
from headscope.store.snapshot import Stored
from interp.scores import FAMILY_LEVEL

if TYPE_CHECKING:
    from interp.model import HookedModel

MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"
WIDE = 24  # heads a layer, above which cells are narrow
OVER_TASKS = ("", "aggregate")
VALUES = ("mean", "low", "high", "null", "p", "family")


@dataclass(frozen=True)
class ScoreTable:
    """The scores of a run, in the report's order; none where nothing was scored yet."""

    layers: int
    heads: int
    kv: int
    entries: tuple[Mapping[str, Any], ...] = ()
    classes: Sequence[str] = ()

    @classmethod
    def read(cls, stored: Stored) -> ScoreTable:
        layers, heads = shape(stored)
        return cls(layers, heads, kv_heads(stored), tuple(score_entries(stored)), tuple(class_names(stored) or ()))

    @classmethod
    def blank(cls, model: HookedModel) -> ScoreTable:
        return cls(model.n_layers, model.n_heads, model.n_kv_heads)

    @cached_property
    def by_id(self) -> dict[str, Mapping[str, Any]]:
        return {str(entry["id"]): entry for entry in self.entries}

    @cached_property
    def groups(self) -> dict[str, list[Mapping[str, Any]]]:
        """Scores by the heading they stand under."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for entry in self.entries:
            found.setdefault(str(entry["group"]), []).append(entry)
        return found

    @property
    def free(self) -> list[Mapping[str, Any]]:
        """Scores without a task."""
        return self.groups.get(WITHOUT_TASK, [])

    def pair(self) -> tuple[str, str]:
        """The two scores shown first: those of the primary test (Method 5), or prefix matching beside copying.

        Importance is by token at the most shots, over tasks where that is stored, else on the first task.
        """
        names = list(self.by_id)
        first = next((name for name in names if name == "prefix_matching///0"), names[0] if names else "")
        importance = [name for name in names if name.startswith("importance/token/")]
        importance.sort(key=lambda name: (-int(key_of(name)[3]), key_of(name)[2] not in OVER_TASKS))
        second = [
            *importance,
            *(name for start in ("copying/argmax/", "copying/") for name in names if name.startswith(start)),
        ]
        return first, next(iter(second), first)

    @property
    def mosaic_height(self) -> int:
        """Pixels of a mosaic: cells that can be hit, on a page that can be overlooked."""
        return max(320, min(760, 112 + self.layers * (12 if self.heads > WIDE else 17)))

    def place(self, head: tuple[int, int]) -> int:
        return head[0] * self.heads + head[1]

    def grid(self, name: str) -> Float[np.ndarray, "layer head"]:
        """The score's values; NaN for heads without one, zeros where there is no such score."""
        if name not in self.by_id:
            return np.zeros((self.layers, self.heads))
        values = [np.nan if value is None else value for value in self.by_id[name]["mean"]]
        return np.array(values, dtype=float).reshape(self.layers, self.heads)

    def ranks(self, name: str) -> dict[int, int]:
        """Place of a head -> its rank, 1 for the highest."""
        flat = self.grid(name).flatten()
        order = [int(at) for at in np.argsort(-flat, kind="stable") if np.isfinite(flat[at])]
        return {at: rank for rank, at in enumerate(order, start=1)}

    def top(self, name: str, count: int) -> list[tuple[int, int]]:
        """The heads with the highest values, best first."""
        if name not in self.by_id:
            return []
        best = sorted(self.ranks(name).items(), key=lambda pair: pair[1])[:count]
        return [divmod(at, self.heads) for at, _ in best]

    def strongest(self) -> tuple[int, int]:
        """The head that is selected first."""
        return next(iter(self.top(self.pair()[0], 1)), (0, 0))

    def class_of(self, head: tuple[int, int]) -> str:
        return self.classes[self.place(head)] if self.classes else ""

    def group_of(self, head: tuple[int, int]) -> str:
        """The heads it shares a key-value head with, in words."""
        size = max(1, self.heads // max(1, self.kv))
        group = head[1] // size
        mates = [f"{head[0]}.{group * size + k}" for k in range(size) if group * size + k != head[1]]
        return f"Key-value head {group}, shared with {', '.join(mates)}" if mates else "A key-value head of its own"

    def told(self, entry: Mapping[str, Any], place: int) -> str:
        """Value and interval in words."""
        value = number(entry["mean"][place], entry)
        return f"{value} {interval(entry, place)}".strip()

    def above_null(self, entry: Mapping[str, Any], place: int) -> bool:
        return bool(entry["family"]) and (entry["family"][place] or 1.0) <= FAMILY_LEVEL

    def csv(self) -> str:
        """Every score of every head, one row each."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["layer", "head", "class", "score", "variant", "task", "shots", *VALUES, "n"])
        for entry in self.entries:
            key = key_of(str(entry["id"]))
            for place in range(self.layers * self.heads):
                head = divmod(place, self.heads)
                values = [entry[name][place] if entry[name] else None for name in VALUES]
                writer.writerow([*head, self.class_of(head), *key, *values, entry["n"]])
        return out.getvalue()


def key_of(name: str) -> tuple[str, str, str, str]:
    """Score, variant, task and shots of an entry's id; a task's name may hold a slash."""
    score, variant, rest = name.split("/", 2)
    task, _, shots = rest.rpartition("/")
    return score, variant, task, shots


def decimals(entry: Mapping[str, Any]) -> int | None:
    """Decimals that show two digits of the largest value; None where that takes an exponent."""
    largest = max((abs(value) for value in entry["mean"] if value is not None), default=0.0)
    if largest == 0 or largest >= 0.1:
        return 2
    return 1 - int(np.floor(np.log10(largest))) if largest >= 1e-4 else None


def number(value: float | None, entry: Mapping[str, Any]) -> str:
    """A value in its score's own precision."""
    if value is None:
        return NONE
    digits = decimals(entry)
    text = f"{value:.1e}" if digits is None else f"{value:.{digits}f}"
    return (text.replace("-", "") if float(text) == 0 else text).replace("-", MINUS)


def null_mean(value: float | None, entry: Mapping[str, Any]) -> str:
    """A null's mean is often far below the scores: one more digit where two would show 0.00."""
    usual, digits = number(value, entry), decimals(entry)
    if value is None or digits is None or float(usual.replace(MINUS, "-")) != 0:
        return usual
    finer = f"{value:.{digits + 1}f}"
    return usual if float(finer) == 0 else finer.replace("-", MINUS)


def interval(entry: Mapping[str, Any], place: int) -> str:
    if not entry["low"] or entry["low"][place] is None:
        return ""
    return f"[{number(entry['low'][place], entry)}, {number(entry['high'][place], entry)}]"


def probability(p: float | None) -> str:
    if p is None:
        return NONE
    return f"{p:.1g}" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
