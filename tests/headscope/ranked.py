"""A run directory with rankings whose agreement is known: drawn scores of six layers of five heads, item by item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from headscope.store.manifest import Stage
from headscope.store.run import Run
from headscope.store.writer import RunWriter, begin_stage
from interp.scores import HeadScores, Null

IDENTITY = {"source": "drawn", "weight_hash": "00", "dtype": "float32"}
SHAPE = (6, 5)
TASKS = ("cb", "copa", "rte")


def write_ranked_run(
    folder: Path,
    *,
    tasks: Sequence[str] = TASKS,
    shots: Sequence[int] = (0, 5),
    follows: float = 1.0,
    documents: int = 40,
    noise: float = 0.5,
    seed: int = 0,
    classed: int = 6,
) -> Run:
    """Importance = `follows` x prefix matching + what is a head's own; 2 documents a cluster; `noise` by document."""
    draw = np.random.default_rng(seed)
    prefix, own = draw.random(SHAPE), draw.random(SHAPE)
    with begin_stage(folder, IDENTITY, Stage("induction", "quick")) as run:
        for name, variant, table in (
            ("prefix_matching", "", prefix),
            ("previous_token", "", draw.random(SHAPE)),
            ("copying", "argmax", draw.random(SHAPE)),
            ("copying", "successor", draw.random(SHAPE)),
            ("copying", "signed", draw.standard_normal(SHAPE)),
        ):
            items = _items(draw, table, 12, 0.02)
            run.add_scores(HeadScores.from_items(name, items, variant=variant, n_kv_heads=5, nulls=(_null(draw),)))
        cut = np.sort(prefix, axis=None)[-classed] if classed else np.inf
        run.add_classes(np.where(prefix >= cut, "copying", "").astype(object))
    with begin_stage(folder, IDENTITY, Stage("importance", {"limit": documents})) as run:
        for task in tasks:
            common = follows * prefix + own + 0.3 * draw.random(SHAPE)
            for count in shots:
                table = common + 0.2 * draw.random(SHAPE)
                _add(run, draw, "importance", table, task, count, documents, noise)
            if max(shots):
                _add(run, draw, "importance_shuffled", common, task, max(shots), documents, noise)
    return run


def _add(
    run: RunWriter,
    draw: np.random.Generator,
    name: str,
    table: np.ndarray,
    task: str,
    shots: int,
    documents: int,
    noise: float,
) -> None:
    """`token` and `signed`, and the heads' norms beside true labels."""
    lengths = draw.integers(20, 60, documents)
    columns = {"cluster": [f"c{place // 2}" for place in range(documents)], "length": lengths.tolist()}
    for variant, scores in (("token", table), ("signed", table - table.mean())):
        items = _items(draw, scores, documents, noise) * torch.from_numpy(lengths - 1)[:, None, None]
        items = items * documents / float((lengths - 1).sum())
        score = HeadScores.from_items(name, items.float(), variant=variant, n_kv_heads=5)
        run.add_scores(score, task=task, shots=shots, item_columns=columns)
    if name == "importance":
        norm = HeadScores.from_items("head_norm", _items(draw, 1 + draw.random(SHAPE), 4, 0.01), n_kv_heads=5)
        run.add_scores(norm, task=task, shots=shots)


def _items(draw: np.random.Generator, table: np.ndarray, n: int, noise: float) -> torch.Tensor:
    return torch.from_numpy(table + noise * draw.standard_normal((n, *SHAPE))).float()


def _null(draw: np.random.Generator) -> Null:
    mean = torch.from_numpy(0.3 * draw.random(SHAPE)).float()
    return Null("n1", mean, torch.full(SHAPE, 0.5), torch.full(SHAPE, 0.5))
