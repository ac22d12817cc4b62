"""The instrumented model: load it, read a head, change a head, remove a head.

loading.py -> model.py (HookedModel) -> scores.py (HeadScores, FFNScores, Ranking). Imports nothing of ours.
Importing this package loads nothing heavy; its names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import lazy

if TYPE_CHECKING:
    from interp.loading import load_model
    from interp.masks import FFNMask, HeadMask, parse_heads
    from interp.model import HookedModel
    from interp.scores import FFNScores, HeadScores, Null, Ranking

__all__ = [
    "FFNMask",
    "FFNScores",
    "HeadMask",
    "HeadScores",
    "HookedModel",
    "Null",
    "Ranking",
    "load_model",
    "parse_heads",
]

lazy(
    __name__,
    loading=("load_model",),
    masks=("FFNMask", "HeadMask", "parse_heads"),
    model=("HookedModel",),
    scores=("FFNScores", "HeadScores", "Null", "Ranking"),
)
