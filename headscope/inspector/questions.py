"""Panels that ask the model something: what is asked comes in by one store, and the answer, or why there is none, goes
out by another. `asked` goes back with it: the page leaves an answer out whose question has changed since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dash import Input, Output, State, no_update

from headscope.inspector.bench import Bench
from interp.errors import HeadscopeError

if TYPE_CHECKING:
    from dash import Dash

Parts = Callable[[Bench, Mapping[str, Any]], Mapping[str, Any]]


def answering(app: Dash, bench: Bench, store: str, filled: str, parts: Parts) -> None:
    """Have what is put into `store` answered by `parts`, into `made-<filled>`."""

    @app.callback(Output(f"made-{filled}", "data"), Input(store, "data"), State("tab", "data"))
    def answer(asked: Any, tab: Any) -> Any:
        return no_update if asked is None else answered(bench, asked, tab, parts)


def answered(bench: Bench, asked: Mapping[str, Any], tab: Any, parts: Parts) -> dict[str, Any]:
    """The parts of an answer, or the problem alone."""
    try:
        with bench.work.of(tab):
            return {"asked": asked, "problem": "", **parts(bench, asked)}
    except HeadscopeError as error:
        return {"asked": asked, "problem": str(error)}
