"""The contest as dots: a line an arm, its controls under it (Method 5).

Class-sized sets, removed whole by their mean; the arm that costs the choice most stands on top. Single controls are
those of items/contest; where these were not stored, as beside a published page, the band of their rows stands alone.
"""

from __future__ import annotations

from math import nan

import pandas as pd

from ablation.contest import ALL_TASKS, CLASS, CONTROL, KEPT, NEGATIVE, OUTCOMES
from headscope.figures.dots import Dot
from headscope.store.comparisons import ContestLevel, Kind
from headscope.store.snapshot import chosen

WAY = "mean"


def contest_dots(
    comparisons: pd.DataFrame, sets: pd.DataFrame, *, group: str = ALL_TASKS, positions: str = "all"
) -> list[Dot]:
    """sets: items/contest, or an empty frame. None where the group has no rows at these positions."""
    rows = chosen(comparisons, kind=[Kind.CONTEST_DROP, Kind.CONTEST_CONTROLS], b=group)
    levels = {outcome: str(ContestLevel(outcome, WAY, positions, CLASS, KEPT)) for outcome in OUTCOMES}
    choice = chosen(rows, kind=Kind.CONTEST_DROP, level=levels[OUTCOMES[0]])
    arms = list(choice.sort_values("value", ascending=False, kind="stable")["a"])
    found = []
    for outcome, level in levels.items():
        drops = chosen(rows, kind=Kind.CONTEST_DROP, level=level).set_index("a")
        bands = chosen(rows, kind=Kind.CONTEST_CONTROLS, level=level).set_index("a")
        for arm in (arm for arm in arms if arm in drops.index):
            drop = drops.loc[arm]
            ends = (nan, nan) if arm not in bands.index else (bands.loc[arm, "ci_low"], bands.loc[arm, "ci_high"])
            controls = _controls(sets, arm, outcome, group, positions)
            found.append(Dot(arm, drop["value"], (drop["ci_low"], drop["ci_high"]), controls, outcome, ends))
    return found


def _controls(sets: pd.DataFrame, arm: str, outcome: str, group: str, positions: str) -> tuple[float, ...]:
    """The drops without the arm's control sets, where they were stored."""
    if sets.empty or arm == NEGATIVE:
        return ()
    place = {"arm": arm, "outcome": outcome, "group": group, "positions": positions, "ablation": WAY}
    rows = chosen(sets, **place, role=CONTROL, share=CLASS, overlap=KEPT)
    return tuple(float(value) for value in rows["drop"])
