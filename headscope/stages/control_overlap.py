"""How alike the control sets of one tested set are (METHODS 5, the causal check).

Sets that are matched to one tested set are drawn from few heads: they share many of them, so that N sets are fewer than
N independent ones and their drops scatter less. Rows of `comparisons`, a = tested set, b = kind of control, level =
`heads`; `n` counts sets:

| kind | value |
|---|---|
| causal_controls_overlap | mean share of their heads that two of the sets have in common |
| causal_controls_shared | how many heads are in every one of the sets |
| causal_controls_norm_gap | mean |log norm ratio| of the sets to the tested one, head by head within layers |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from headscope.store.comparisons import Row, row

if TYPE_CHECKING:
    from ablation.control_sets import HeadSet

KINDS = ("causal_controls_overlap", "causal_controls_shared", "causal_controls_norm_gap")
UNMATCHED = "random"


def overlap_rows(chosen: Sequence[HeadSet], shots: int) -> Iterator[Row]:
    """Every tested set and kind of control; the norm gap where sets are layer-matched and norms are known."""
    from ablation.control_sets import TESTED

    groups: dict[tuple[str, str], list[HeadSet]] = {}
    for one in chosen:
        if one.kind != TESTED:
            groups.setdefault((one.tested, one.kind), []).append(one)
    for (tested, kind), sets in groups.items():
        place, n = (tested, kind, shots, "heads"), len(sets)
        shares = [len({*a.heads} & {*b.heads}) / len(a.heads) for a, b in combinations(sets, 2)]
        if shares:
            times = Counter(head for one in sets for head in one.heads)
            yield row(KINDS[0], *place, float(np.mean(shares)), n=n)
            yield row(KINDS[1], *place, float(sum(count == n for count in times.values())), n=n)
        gap = float(np.mean([one.norm_gap for one in sets]))
        if kind != UNMATCHED and isfinite(gap):
            yield row(KINDS[2], *place, gap, n=n)
