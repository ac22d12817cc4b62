"""What a person touches: the command line, the run directory, the report, the inspector.

Importing this package loads nothing heavy; its names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headscope import shadows  # noqa: F401  (refuses a user's own ablation.py, before it is imported)
from interp.lazy import lazy

if TYPE_CHECKING:
    from headscope.plan.study import study
    from headscope.store.run import Run, open_run

__all__ = ["Run", "open_run", "study"]

lazy(__name__, plan__study=("study",), store__run=("Run", "open_run"))
