"""Scores that are made while the page is looked at: a model without a run gets `headscope induction` by itself.

It runs on a second module tree over the same tensors, as TransformerLens's bridge does, so that its hooks and those of
the page never meet.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from headscope.store.run import Run, open_run
from interp.errors import HeadscopeError

if TYPE_CHECKING:
    from interp.model import HookedModel


@dataclass(eq=False)
class ScoringThread:
    """A thread that scores all heads into a run directory; version is 1 when they are there.

    length: of the random blocks, in place of the protocol's. counts: how often tokens occur (stages/token_counts.py).
    """

    folder: Path
    length: int | None = None
    counts: str | None = None
    version: int = 0
    done: int = 0
    total: int = 0
    failed: str = ""
    run: Run | None = None
    thread: Thread | None = field(default=None, repr=False)

    def start(self, model: HookedModel) -> ScoringThread:
        """Begin, once."""
        self.thread = Thread(target=self._score, args=(twin(model),), name="scoring", daemon=True)
        self.thread.start()
        return self

    @property
    def running(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    @property
    def progress(self) -> str:
        """How far it is, or why it ended."""
        if self.failed:
            return f"Scoring ended: {self.failed}"
        if self.version:
            return ""
        share = f"{100 * self.done // self.total}%" if self.total else "starting"
        return f"Scoring every head on 20 random repeated sequences: {share}. Stored in {self.folder}."

    def _score(self, model: HookedModel) -> None:
        from headscope.stages.induction import measure_induction

        try:
            measure_induction(model, self.folder, length=self.length, counts=self.counts, progress=self._tell)
            self.run = open_run(self.folder)
            self.version = 1
        except HeadscopeError as error:
            self.failed = str(error)
        except Exception as error:  # a defect here must not be silent: the page shows it
            self.failed = f"{type(error).__name__}: {error}"
            raise

    def _tell(self, done: int, total: int) -> None:
        self.done, self.total = done, total


def twin(model: HookedModel) -> HookedModel:
    """The model over a module tree of its own, sharing every parameter and buffer."""
    shared = {id(tensor): tensor for tensor in chain(model.hf.parameters(), model.hf.buffers())}
    return replace(model, hf=copy.deepcopy(model.hf, shared))
