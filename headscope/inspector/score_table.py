"""Every stored score of every head, as the page and its downloads read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from headscope.report.contents import score_data, top
from headscope.report.csv_text import text_of
from headscope.store.snapshot import Stored
from interp.scores import FAMILY_LEVEL

if TYPE_CHECKING:
    from interp.model import HookedModel

WIDE = 24  # heads a layer, above which a mosaic takes the width of two
OVER_TASKS = ("", "aggregate")
VALUES = ("mean", "low", "high", "null", "p", "family")


@dataclass(frozen=True)
class ScoreTable:
    """The scores of a run, in the report's order; none where nothing was scored yet."""

    layers: int
    heads: int
    kv: int
    entries: Sequence[Mapping[str, Any]] = ()
    groups: Sequence[str] = ()
    classes: Sequence[str] | None = None
    vectors: Sequence[int] | None = None
    level: float = FAMILY_LEVEL

    @classmethod
    def read(cls, stored: Stored) -> ScoreTable:
        return cls(**score_data(stored))

    @classmethod
    def blank(cls, model: HookedModel) -> ScoreTable:
        return cls(model.n_layers, model.n_heads, model.n_kv_heads)

    def data(self) -> dict[str, Any]:
        """All of it, for the scripts of the page."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @cached_property
    def by_id(self) -> dict[str, Mapping[str, Any]]:
        return {str(entry["id"]): entry for entry in self.entries}

    def pair(self) -> tuple[str, str]:
        """The two scores shown first: those of the primary test (Method 5), else those that the classes rest on.

        Importance is by token at the most shots, over tasks where that is stored, else on the first task.
        """
        names = list(self.by_id)
        importance = [name for name in names if name.startswith("importance/token/")]
        importance.sort(key=lambda name: (-int(key_of(name)[3]), key_of(name)[2] not in OVER_TASKS))
        copying = [name for start in ("copying/signed/", "copying/") for name in names if name.startswith(start)]
        first = next((name for name in names if name == "prefix_matching///0"), names[0] if names else "")
        return first, next(iter([*importance, *copying]), first)

    def place(self, head: tuple[int, int]) -> int:
        return head[0] * self.heads + head[1]

    def strongest(self) -> tuple[int, int]:
        """The head that is selected first."""
        first = self.by_id.get(self.pair()[0])
        places = top(first["mean"], 1) if first else []
        return divmod(places[0], self.heads) if places else (0, 0)

    def class_of(self, head: tuple[int, int]) -> str:
        return self.classes[self.place(head)] if self.classes else ""

    def csv(self) -> str:
        """Every score of every head, one row each."""
        rows = (
            [
                *divmod(place, self.heads),
                self.class_of(divmod(place, self.heads)),
                *key_of(str(entry["id"])),
                *(entry[name][place] if entry[name] else None for name in VALUES),
                entry["n"],
            ]
            for entry in self.entries
            for place in range(self.layers * self.heads)
        )
        return text_of(["layer", "head", "class", "score", "variant", "task", "shots", *VALUES, "n"], rows)


def key_of(name: str) -> tuple[str, str, str, str]:
    """Score, variant, task and shots of an entry's id; a task's name may hold a slash."""
    score, variant, rest = name.split("/", 2)
    task, _, shots = rest.rpartition("/")
    return score, variant, task, shots
