"""How strictly a model is checked when it is loaded (selfcheck.py), in a file that loads nothing."""

from __future__ import annotations

from typing import Literal

Level = Literal["strict", "default", "off"]
LEVELS: tuple[Level, ...] = ("strict", "default", "off")
