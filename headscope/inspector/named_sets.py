"""Sets of heads that the run gives a name to, for removing them together: its classes, and its FV heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headscope.inspector.bench import Bench

Heads = Sequence[tuple[int, int]]
INDUCTION = "induction heads"


def named_sets(bench: Bench) -> list[dict[str, Any]]:
    """Name and heads of every set that is not empty."""
    found = {name: heads for name, heads in listed(bench).items() if heads}
    return [{"name": name, "heads": [list(head) for head in heads]} for name, heads in found.items()]


def listed(bench: Bench) -> dict[str, Heads]:
    classes = bench.scores.classes or []
    names = [(divmod(place, bench.scores.heads), name) for place, name in enumerate(classes) if name]
    kinds = dict.fromkeys(name for _, name in names)
    sets: dict[str, Heads] = {INDUCTION: [head for head, _ in names]}
    sets |= {f"{kind} heads": [head for head, name in names if name == kind] for kind in kinds}
    vectors = [divmod(place, bench.scores.heads) for place in bench.scores.vectors or ()]  # Method 3.5
    return sets | {"function-vector heads": vectors}
