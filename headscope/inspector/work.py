"""What the server is busy with, for each tab: the page asks and shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, RLock, get_ident, local

WAITING = "waiting for other work to end"


class Work:
    """The lock on the model, and how far the work of each tab is.

    Hooks stand on the model itself, so one piece of work runs at a time; who waits is told so.
    """

    def __init__(self) -> None:
        self._model = RLock()
        self._doing: dict[tuple[str, int], str] = {}
        self._guard = Lock()
        self._here = local()

    @contextmanager
    def of(self, tab: object) -> Iterator[None]:
        """Everything done in here, in this thread, is this tab's."""
        self._here.tab = str(tab)[:64]
        try:
            yield
        finally:
            self.say("")
            self._here.tab = ""

    @contextmanager
    def on_model(self, text: str) -> Iterator[Callable[[int, int], None]]:
        """Hold the model; the value tells how much is done, of how much."""
        self.say(WAITING)
        with self._model:
            self.say(text)
            try:
                yield lambda done, total: self.say(f"{text}: {100 * done // max(1, total)}%")
            finally:
                self.say("")

    def say(self, text: str) -> None:
        """Tell this thread's tab what is being done; nothing where the text is empty."""
        tab = getattr(self._here, "tab", "")
        key = (tab, get_ident())
        with self._guard:
            self._doing.pop(key, None)
            if tab and text:
                self._doing[key] = text

    def doing(self, tab: object) -> str:
        """What is being done for a tab; empty when nothing is."""
        with self._guard:
            texts = [text for (owner, _), text in self._doing.items() if owner == str(tab)[:64]]
        return next((text for text in texts if text != WAITING), texts[0] if texts else "")
