"""How values show themselves in a notebook: in one line, and scores as the table of their top ten."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from interp.scores import FFNScores, HeadScores, Ranking

LONGEST, LONGEST_TEXT, FEW, TOP = 200, 40, 4, 10
COLUMNS = {"score": "mean", "95% low": "ci_low", "95% high": "ci_high", "null": "null_mean", "p (family)": "p_family"}
Shown = TypeVar("Shown", bound=type)


def one_line(kind: Shown) -> Shown:
    """Class decorator, in front of `dataclass`: a repr of one line, in which tensors are their shapes."""
    kind.__repr__ = line  # type: ignore[method-assign, assignment]
    return kind


def line(value: Any) -> str:
    """`Name(field=..., ...)`, at most 200 characters."""
    parts = [f"{field.name}={brief(getattr(value, field.name))}" for field in fields(value) if field.repr]
    told = f"{type(value).__name__}({', '.join(parts)})"
    return told if len(told) <= LONGEST else f"{told[: LONGEST - 4]}...)"


def brief(value: Any) -> str:
    """A field's value in a few words."""
    from torch import Tensor  # planning, which shows nothing, loads no torch

    if isinstance(value, Tensor | np.ndarray):
        kind = str(value.dtype).removeprefix("torch.")
        return f"{kind}{list(value.shape)}"
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}...")
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping | Sequence | set | frozenset):
        plain = len(value) <= FEW and all(isinstance(part, int | float | str) for part in value)
        if plain and not isinstance(value, Mapping):
            return f"({', '.join(map(brief, value))})"
        return f"<{len(value)} {'entries' if isinstance(value, Mapping) else 'items'}>"
    if is_dataclass(value) or not isinstance(value, int | bool | type(None)):
        return f"<{type(value).__name__}>"
    return repr(value)


def score_line(scores: HeadScores | FFNScores) -> str:
    """`<HeadScores prefix matching, 30 x 9 heads, 20 items: 18.6 0.918, ...>`."""
    size = " x ".join(map(str, scores.mean.shape))
    kind = "heads" if scores.mean.dim() == 2 else "FFNs"
    top = ", ".join(f"{row.name} {row.score:.3f}" for row in scores.top(3)) or "no value"
    return f"<{type(scores).__name__} {scores.title}, {size} {kind}, {scores.n} items: {top}>"


def score_table(scores: HeadScores | FFNScores) -> str:
    """The top ten as an HTML table."""
    told = html.escape(score_line(scores).strip("<>").partition(":")[0])
    columns = {name: getattr(scores, field) for name, field in COLUMNS.items()}
    there = {name: values for name, values in columns.items() if not bool(values.isnan().all())}
    first = "head" if scores.mean.dim() == 2 else "FFN"
    heading = "".join(f"<th>{html.escape(name)}</th>" for name in (first, *there))
    rows = "".join(
        f"<tr><td>{row.name}</td>{''.join(f'<td>{_number(values[row.place])}</td>' for values in there.values())}</tr>"
        for row in scores.top(TOP)
    )
    return f"<table><caption>{told}; top {TOP}</caption><tr>{heading}</tr>{rows}</table>"


def ranking_line(ranking: Ranking) -> str:
    """`<Ranking of 270 heads by importance, least first: 3.1, ...>`."""
    order = ranking.order.tolist()
    kind, first = "heads" if ranking.kind == "head" else "FFNs", order[:3]
    width = ranking.scores.shape[-1]
    places = [f"{flat // width}.{flat % width}" if ranking.kind == "head" else str(flat) for flat in first]
    return f"<Ranking of {len(order)} {kind} by {ranking.name}, removed first: {', '.join(places) or 'none'}>"


def _number(value: Any) -> str:
    found = float(value)
    return "" if math.isnan(found) else f"{found:.4g}"
