"""A run directory with one file of every kind, and what is read from each of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import torch

from headscope.store import tables
from headscope.store.attention_example import FILE, AttentionExample
from headscope.store.manifest import Stage
from headscope.store.run import Run, open_run, vector_file
from headscope.store.writer import begin_stage
from interp.scores import FFNScores, HeadScores, Null

IDENTITY = {"source": "tiny", "weight_hash": "ab" * 32, "dtype": "float32", "revision": None}
STAGE = Stage("induction", "quick", seed=3, tasks=("copa",), options={"shots": [0, 5]}, versions={"torch": "1"})
UNIT = {"number": 1}


def write_run(folder: Path, *, layers: int = 3, heads: int = 4) -> Path:
    """Finished: tables, nulls, items, an attention example, a unit."""
    generator = torch.Generator().manual_seed(0)
    with begin_stage(folder, IDENTITY, STAGE) as writer:
        scores = HeadScores.from_items(
            "prefix_matching",
            torch.rand(5, layers, heads, generator=generator),
            n_kv_heads=2,
            provenance={"chance": 0.5},
        )
        draws = torch.rand(19, layers, heads, generator=generator)
        writer.add_scores(scores.with_nulls(Null.from_draws("N1", scores.mean, draws)))
        ffns = FFNScores.from_items("knock_out", torch.rand(5, layers, generator=generator))
        drawn = Null.from_draws("N1", ffns.mean, torch.rand(19, layers, generator=generator))
        writer.add_scores(ffns.with_nulls(drawn), task="copa")
        writer.add_metrics(metric_row())
        writer.add_comparisons(comparison_row())
        writer.add_classes(np.array([["copying", *[""] * (heads - 1)]] * layers))
        attention = torch.randint(0, 255, (layers, heads, 6, 6), generator=generator).tril().to(torch.uint8)
        writer.store_attention_example([*"abcdef"], attention, blocks=(0, 3))
        writer.store_vector("copa/a", b"a vector's bytes")
        writer.record(sequences=8, repeat_score=-1.25, cut={"copa": 2})
        writer.units.put(UNIT, {"x": torch.rand(4, generator=generator)})
    return folder


def metric_row() -> pd.DataFrame:
    row: dict[str, Any] = {"task": "copa", "component": "head", "order": "own", "ablation": "zero", "metric": "acc"}
    row |= {"shots": 0, "demo_seed": 0, "order_seed": 0, "percent_heads": 10.0, "percent_ffns": 0.0}
    return pd.DataFrame([{**row, "removed_heads": 1, "removed_ffns": 0, "value": 0.5, "stderr": 0.01, "n": 100}])


def comparison_row() -> pd.DataFrame:
    row: dict[str, Any] = {"kind": "cross_task", "a": "copa", "b": "rte", "shots": 0, "level": "global", "value": 0.4}
    return pd.DataFrame([{**row, "ci_low": 0.1, "ci_high": 0.6, "p": 0.01, "p_holm": 0.02, "n": 270}])


def files(folder: Path) -> list[str]:
    """Every stored file, but for the lock."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(path.relative_to(folder).as_posix() for path in found)


def readers(folder: Path) -> dict[str, Callable[[], Any]]:
    """What a caller gets from each of the files, in a form that can be compared."""
    run = open_run(folder)
    found: dict[str, Callable[[], Any]] = {"manifest.json": lambda: (run.identity, run.stages)}
    found |= {table.file: (lambda name=table.name: plain(getattr(run, name))) for table in tables.TABLES}
    found |= {f"items/{name}.parquet": (lambda name=name: plain(run.items(name))) for name in run.item_names}
    found[f"items/{FILE}"] = lambda: example(run)
    for path in sorted((folder / vector_file("any")).parent.glob("*.safetensors")):
        name = unquote(path.stem)
        found[vector_file(name)] = lambda name=name: run.vector_path(name).read_bytes()
    return found


def plain(frame: pd.DataFrame) -> tuple[Any, ...]:
    """Columns, types and values, NaN as a word."""
    values = [["nan" if value != value else value for value in frame[name].tolist()] for name in frame]
    return list(frame.columns), [str(dtype) for dtype in frame.dtypes], values


def example(run: Run) -> tuple[Any, ...]:
    found = run.attention_example
    assert isinstance(found, AttentionExample)
    return found.tokens, found.patterns.tolist(), found.scale, found.blocks
