"""Asking for units before they are needed, so that an engine can run many of them at once.

A stage goes through its units one by one. Where an engine is at work (`filled_by`), it is first only asked what it will
need, by its own code, which writes nothing meanwhile:
1. A unit that is not stored is noted, with what computes it, and a `Pending` stands in for it.
2. Where the stage can't go on without what is in a pending unit, `NotYet` ends the asking.
3. The engine runs all that was noted, and who could not go on is asked again; until everything is stored.
Then the stage runs as ever, and finds its units. Without an engine nobody is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from torch import Tensor

if TYPE_CHECKING:
    from headscope.store.units import UnitStore


@dataclass(frozen=True)
class Wanted:
    """A unit that will be needed. size: how long it takes beside others of its kind: characters, tokens or queries."""

    key: Mapping[str, Any]
    compute: Callable[[], Mapping[str, Tensor]]
    size: float = 1.0


Fill = Callable[["UnitStore", Sequence[Wanted]], None]
_fill: ContextVar[Fill | None] = ContextVar("fill", default=None)
_noted: ContextVar[dict[str, Wanted] | None] = ContextVar("noted", default=None)


class NotYet(Exception):
    """What a pending unit holds is needed."""


class Pending(dict[str, Tensor]):
    """In place of a unit that was noted."""

    def __getitem__(self, name: str) -> NoReturn:
        raise NotYet(name)

    def items(self) -> NoReturn:
        raise NotYet("items")

    def values(self) -> NoReturn:
        raise NotYet("values")


@contextmanager
def filled_by(fill: Fill) -> Iterator[None]:
    """Within this, `ahead` has units filled in by this function."""
    token = _fill.set(fill)
    try:
        yield
    finally:
        _fill.reset(token)


def ahead(units: UnitStore, asks: Iterable[Callable[[], Any]]) -> None:
    """Have the engine run all that these calls will need of the store; they must write nothing."""
    fill = _fill.get()
    if fill is None:
        return
    waiting = list(asks)
    while waiting:
        noted: dict[str, Wanted] = {}
        waiting = [ask for ask in waiting if not _goes_through(ask, noted)]
        if not noted:
            return
        fill(units, list(noted.values()))


def ahead_of(units: UnitStore, wanted: Iterable[Wanted]) -> None:
    """Have the engine run those of these units that are not stored."""
    fill, held = _fill.get(), _noted.get()
    if fill is None:
        return
    missing = {str(units.path(one.key)): one for one in wanted if one.key not in units}
    if held is not None:
        held |= missing
    elif missing:
        fill(units, list(missing.values()))


def note(units: UnitStore, wanted: Wanted) -> bool:
    """Whether the unit was noted, because somebody is being asked."""
    noted = _noted.get()
    if noted is None:
        return False
    noted.setdefault(str(units.path(wanted.key)), wanted)
    return True


def _goes_through(ask: Callable[[], Any], noted: dict[str, Wanted]) -> bool:
    """Ask; whether it came to its end."""
    token = _noted.set(noted)
    try:
        ask()
    except NotYet:
        return False
    finally:
        _noted.reset(token)
    return True
