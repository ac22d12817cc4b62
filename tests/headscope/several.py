"""Runs of several models as `headscope induction` and the primary leave them; nothing in them was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headscope.comparison.models import LEVEL
from headscope.store.comparisons import FULL, Kind, Row, frame, row
from headscope.store.manifest import Stage
from headscope.store.writer import begin_stage
from tests.headscope.synthetic import IDENTITY, Shape, write_run

HASH = "0123456789abcdef"
DOCUMENTS = {"probe_labels, 5 shots": "aaaa", "probe_pattern, 5 shots": "bbbb"}


def model_run(
    folder: Path,
    *,
    layers: int = 6,
    parameters: int | None = 1000,
    weights: str = "",
    source: str = "",
    effect: float | None = 2.0,
    limit: int = 40,
    documents: dict[str, str] | None = None,
    tasks: Sequence[str] = ("probe_labels", "probe_pattern"),
) -> Path:
    """A run of its own weights (by the folder's name); effect None: the primary was not asked."""
    name = folder.name
    identity = {**IDENTITY, "source": source or name, "weight_hash": weights or f"{name}-{HASH}"}
    write_run(folder, shape=Shape(layers, 4, 2), identity=identity)
    stage = Stage("induction", "quick", options={"length": 50, "repeats": 4, "sequences": 20})
    with begin_stage(folder, identity, stage) as writer:
        if parameters is not None:
            writer.record(parameters=parameters)
    if effect is not None:
        asked = Stage("primary", {"limit": limit, "demos": "fixed"}, tasks=tuple(tasks), options={"shots": [0, 5]})
        with begin_stage(folder, identity, asked) as writer:
            writer.record(documents=documents or DOCUMENTS)
            writer.add_comparisons(frame(primary(effect)))
    return folder


def primary(effect: float) -> Iterator[Row]:
    """The rows that the comparison reads, and some that it must not."""
    key: tuple[Any, ...] = ("induction heads", "group_matched", 5)
    for level, shift in ((str(LEVEL), 0.0), ("choice/zero", 50.0), ("mass/mean", 70.0)):
        value = effect + shift
        yield row(Kind.PRIMARY_EFFECT, *key, level, value, interval=(value - 1.5, value + 1.25), p=0.025, n=39)
        yield row(Kind.PRIMARY_DROP, *key, level, value / 4, interval=(value / 4 - 0.2, value / 4 + 0.1), n=2)
        for which, condition, mean in ((FULL, "few", -0.5), (FULL, "none", -1.75), ("induction heads", "few", -1.0)):
            yield row(Kind.PRIMARY_LEVEL, which, condition, 5, level, mean + shift, n=2)
