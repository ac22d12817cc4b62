"""What pages show, as plain values: scores, classes, the attention example and the figures of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from headscope.figures.catalogue import CATALOGUE
from headscope.figures.outliers import CAPTION, is_marked
from headscope.report.attention import encoded_example
from headscope.store.glossary import FOLDED, TERMS, term
from headscope.store.snapshot import Stored, combinations, grid
from headscope.store.snapshot import chosen as rows_with
from headscope.store.tables import SCORE_KEY
from interp import theme
from interp.scores import FAMILY_LEVEL
from interp.token_display import visible

COLUMNS = {"mean": "mean", "low": "ci_low", "high": "ci_high", "null": "null_mean", "p": "p", "family": "p_family"}
WITHOUT_TASK = "Scores without a task"
DIGITS = 4


def page_data(stored: Stored) -> dict[str, Any]:
    """All that the scripts of the report read."""
    scores = score_data(stored)
    return {
        "scores": scores,
        "attention": attention(stored, scores["entries"]),
        "figures": figures(stored),
        "theme": theme.for_scripts(),
    }


def score_data(stored: Stored) -> dict[str, Any]:
    """Every stored score of every head, for the mosaics, the card and the table of report and inspector."""
    entries = score_entries(stored)
    layers, heads = shape(stored)
    return {
        "layers": layers,
        "heads": heads,
        "kv": kv_heads(stored),
        "entries": entries,
        "groups": list(dict.fromkeys(entry["group"] for entry in entries)),
        "classes": class_names(stored),
        "vectors": vector_places(stored, heads),
        "level": FAMILY_LEVEL,
    }


def shape(stored: Stored) -> tuple[int, int]:
    """Layers and heads; none where no head score is stored."""
    frame = stored.head_scores
    return (0, 0) if frame.empty else (int(frame["layer"].max()) + 1, int(frame["head"].max()) + 1)


def kv_heads(stored: Stored) -> int:
    """Key-value heads a layer, by the scores that know them (others count every head as its own)."""
    return int(stored.head_scores.groupby(list(SCORE_KEY))["kv_head"].max().min()) + 1 if shape(stored)[0] else 0


def score_entries(stored: Stored) -> list[dict[str, Any]]:
    """Every stored head score, in the order of the page."""
    keys = sorted(combinations(stored.head_scores, *SCORE_KEY), key=_rank)
    return [_entry(rows_with(stored.head_scores, **key), key) for key in keys]


def _rank(key: Any) -> tuple[Any, ...]:
    """Scores without a task first, then the order of the glossary; other scores by name."""
    listed = list(TERMS)
    name = (key["score"], key["variant"])
    rank = listed.index(name) if name in listed else len(listed)
    return (key["task"] != "", key["shots"] if key["task"] else 0, rank, *name, key["task"])


def _entry(rows: pd.DataFrame, key: Any) -> dict[str, Any]:
    words, task = term(key["score"], key["variant"]), visible(key["task"])
    arrays = {name: grid(rows, column) for name, column in COLUMNS.items()}
    values = {name: rounded(array) for name, array in arrays.items() if np.isfinite(array).any()}
    shots = f", {key['shots']} {'shot' if key['shots'] == 1 else 'shots'}" if task else ""
    return {
        "id": "/".join(str(key[name]) for name in SCORE_KEY),
        "label": f"{words.label}: {task}{shots}" if task else words.label,
        "short": task or words.short,
        "task": task,
        "group": f"{words.label}{shots}" if task else WITHOUT_TASK,
        "folded": (key["score"], key["variant"]) in FOLDED,
        "meaning": words.meaning,
        "signed": theme.is_signed(arrays["mean"]),
        "n": int(rows["n"].iloc[0]),
        **{name: values.get(name, []) for name in COLUMNS},
    }


def rounded(values: Float[np.ndarray, "layer head"]) -> list[float | None]:
    """Flat, layer by layer, to four significant digits; None where there is no value."""
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in values.flatten().tolist()]


def class_names(stored: Stored) -> list[str] | None:
    """Each head's class, flat; None where no classes were stored."""
    return None if stored.classes is None else [str(name) for name in stored.classes.flatten()]


def vector_places(stored: Stored, heads: int) -> list[int] | None:
    """Flat places of the FV heads (Method 3.5); None where it was not looked for them."""
    stages = [stage for stage in stored.run.stages if stage.finished and "fv_heads" in stage.record]
    if not stages or not heads:
        return None
    named = [tuple(map(int, name.split("."))) for name in stages[-1].record["fv_heads"]]
    return sorted(layer * heads + head for layer, head in named)


def attention(stored: Stored, entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The encoded example, heads in the order of the first score; None where none was stored."""
    example = stored.run.attention_example
    if example is None:
        return None
    layers, heads = example.patterns.shape[:2]
    first = entries[0]["mean"] if entries and len(entries[0]["mean"]) == layers * heads else []
    places = top(first, len(first))
    rest = [place for place in range(layers * heads) if place not in set(places)]
    return encoded_example(example, (divmod(place, heads) for place in [*places, *rest]))


def figures(stored: Stored) -> list[dict[str, Any]]:
    """Every figure of the catalogue that the run has data for, but the mosaic, which the page draws itself."""
    listed = []
    for entry in CATALOGUE:
        panels = [] if entry.name == "mosaic" else list(entry.panels(stored))
        if panels:
            drawn = [{"folded": panel.folded, **json.loads(panel.draw().to_json())} for panel in panels]
            caption = f"{entry.caption} {CAPTION}" if any(map(is_marked, drawn)) else entry.caption
            listed.append({"name": entry.name, "title": entry.title, "caption": caption, "panels": drawn})
    return listed


def top(values: Iterable[float | None], count: int) -> list[int]:
    """Flat places of the highest values, best first."""
    pairs = [(value, place) for place, value in enumerate(values) if value is not None]
    return [place for _, place in sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[:count]]
