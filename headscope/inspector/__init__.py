"""The inspector: a page on the own machine where heads are looked at and removed (Dash, bound to 127.0.0.1).

bench.py holds what is looked at (a run, a model, or both) -> asked.py reads what the browser asks for -> prompts.py,
passes.py, token_copies.py and removal.py answer -> layout.py and the callbacks show. What a person has chosen lives in
their browser alone: the server keeps only answers that can be made again, so two tabs never meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import lazy

if TYPE_CHECKING:
    from headscope.inspector.app import make_app
    from headscope.inspector.bench import Bench
    from headscope.inspector.server import serve

__all__ = ["Bench", "make_app", "serve"]

lazy(__name__, app=("make_app",), bench=("Bench",), server=("serve",))
