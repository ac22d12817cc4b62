"""Scores that come in while the page is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Input, State, no_update

from headscope.inspector.bench import Bench
from headscope.inspector.layout import defaults
from headscope.inspector.widgets import outputs

if TYPE_CHECKING:
    from dash import Dash


def register(app: Dash, bench: Bench) -> None:
    """How far the scoring is; when it has ended, the scores come in."""
    if bench.scoring is None:
        return
    filled = outputs("scoring.children", "scoring.hidden", "scoring-poll.disabled", "version.data", "defaults.data")

    @app.callback(*filled, Input("scoring-poll", "n_intervals"), State("version", "data"), prevent_initial_call=True)
    def follow(ticks: Any, version: Any) -> list[Any]:
        scoring = bench.scoring
        if scoring is None or scoring.version == version:
            ended = scoring is None or bool(scoring.failed)
            return [scoring.progress if scoring else "", False, ended, no_update, no_update]
        return ["", True, True, scoring.version, defaults(bench)]
