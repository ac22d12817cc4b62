"""The instrumented model: load it, read a head, change a head, remove a head.

loading.py -> model.py (HookedModel) -> scores.py (HeadScores, FFNScores, Ranking). Imports nothing of ours.
Importing this package loads nothing heavy; its names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "FFNMask": "masks",
    "FFNScores": "scores",
    "HeadMask": "masks",
    "HeadScores": "scores",
    "HookedModel": "model",
    "Null": "scores",
    "Ranking": "scores",
    "load_model": "loading",
    "parse_heads": "masks",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'interp' has no attribute {name!r}")
    return getattr(import_module(f"interp.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
