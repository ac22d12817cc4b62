"""The instrumented model: load it, read a head, change a head, remove a head.

loading.py -> model.py (HookedModel) -> scores.py (HeadScores, FFNScores, Ranking). Imports nothing of ours.
"""

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
