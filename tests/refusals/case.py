"""A row of docs/refusals.md as a test: a few lines that provoke the refusal, its class and the words of its message."""

from __future__ import annotations

import inspect
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from headscope.store.run import open_run
from headscope.store.writer import begin_stage
from interp.errors import HeadscopeError, UsageError
from tests.headscope import tiny
from tests.headscope.commands import Outcome, command
from tests.headscope.store import stored
from tests.interp import saved


@dataclass(frozen=True)
class Case:
    """provoke(desk, *given) raises `kind`, or gives what a command ended with."""

    kind: type[Exception]
    words: str
    provoke: Callable[..., Any]
    given: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        told = [one if isinstance(one, str) else getattr(one, "__name__", str(one)) for one in self.given]
        return "-".join([self.provoke.__name__, *told])

    def check(self, place: Path, shelf: Path) -> None:
        """Provoke it in an empty folder, and look at what comes of it."""
        desk = Desk(place / "desk", shelf)
        desk.place.mkdir(parents=True)
        try:
            with mock.patch.dict(os.environ, {"HEADSCOPE_CACHE": str(place / "cache")}):
                found = self.provoke(desk, *self.given)
        except (HeadscopeError, ImportError) as error:
            assert type(error) is self.kind, repr(error)
            sentence = str(error)
        else:
            assert isinstance(found, Outcome), f"nothing was refused: {found!r}"
            assert found.status == (2 if self.kind is UsageError else 1) and not found.out, found
            assert "Traceback" not in found.error, found.error
            sentence = found.error.strip().splitlines()[-1]
            assert sentence.startswith("headscope: "), found.error
        assert re.search(".*".join(map(re.escape, self.words.split(" ... "))), sentence), sentence


def refusal(kind: type[Exception], words: str, *, inputs: tuple[Any, ...] = ()) -> Callable[..., Any]:
    """Mark a function as a case, or as one for each input. "..." in the words stands for what differs."""

    def mark(provoke: Callable[..., Any]) -> Callable[..., Any]:
        cases = [Case(kind, words, provoke, (one,)) for one in inputs] or [Case(kind, words, provoke)]
        vars(provoke).setdefault("cases", []).extend(cases)
        return provoke

    return mark


def cases_of(module: ModuleType) -> Iterator[Case]:
    for _, found in inspect.getmembers(module, inspect.isfunction):
        yield from vars(found).get("cases", ())


class Desk:
    """Where a case works: a folder of its own, and a shelf of models and runs that are written once."""

    def __init__(self, place: Path, shelf: Path) -> None:
        self.place, self.shelf = place, shelf
        self.out = place / "run"

    def shelved(self, name: str, write: Callable[[Path], Any]) -> Path:
        """Read-only."""
        folder = self.shelf / name
        if not folder.exists():
            folder.mkdir(parents=True)
            write(folder)
        return folder

    def copied(self, name: str, write: Callable[[Path], Any]) -> Path:
        return Path(shutil.copytree(self.shelved(name, write), self.place / name))

    def llama(self) -> Path:
        """A saved model of 97 words, to break."""
        return self.copied("llama", saved.save)

    @property
    def model(self) -> Path:
        """A saved model that reads any text."""
        return self.shelved("model", tiny.write_model)

    def run(self) -> Path:
        """A finished run with a file of every kind, to break."""
        return self.copied("finished", stored.write_run)

    def run_of_model(self) -> Path:
        """A run of `model` that holds little, to be asked for more."""
        return self.copied("small", self._write_small)

    def _write_small(self, folder: Path) -> None:
        import interp

        identity = interp.load_model(self.model, check="off").identity()
        with begin_stage(folder, identity, stored.STAGE) as writer:
            writer.add_comparisons(stored.comparison_row())
        assert open_run(folder).stages[0].finished

    def ask(self, *arguments: object) -> Outcome:
        """A command, which is to leave every file here as it was: a refusal must not bind a folder."""
        before = contents(self.place)
        found = command(*arguments)
        after = contents(self.place)
        assert after == before, f"a refused command wrote {sorted(set(after) ^ set(before))}"
        return found


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the locks of writers."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}
