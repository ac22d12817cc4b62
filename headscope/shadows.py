"""Importing this file refuses what would break everything after it: a student's own `ablation.py` in front of ours.

It comes before any of the other packages is imported, since an import of a file of that name would say nothing useful.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("interp", "induction", "ablation")


def refuse_shadows(home: Path) -> None:
    """Raises ImportError where one of the packages beside headscope is found elsewhere, by a file of the user's own."""
    for name in PACKAGES:
        try:
            spec = find_spec(name)
        except ValueError:  # a module that was made by hand, as tests do
            continue
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if found is not None and found.parent != home / name:
            raise ImportError(
                f"headscope needs its own package `{name}`, and Python finds {str(found)!r} under that name: rename "
                "this file or folder, or start Python in another folder"
            )


refuse_shadows(Path(__file__).resolve().parent.parent)
