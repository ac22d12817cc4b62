"""What a command says about prompts that were longer than the model's context (METHODS 6)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headscope.store.manifest import Stage
    from headscope.store.run import Run


def tell_cut(run: Run, stage: Stage) -> None:
    """A line on standard error where a stage met such prompts, nothing where it did not."""
    counts: dict[str, int] = next((dict(other.record.get("cut", {})) for other in run.stages if other.same(stage)), {})
    if counts:
        told = ", ".join(f"{name}: {count}" for name, count in counts.items())
        print(
            f"{sum(counts.values())} prompts were longer than the model's context: cut by whole demonstrations, then "
            f"on the left ({told})",
            file=sys.stderr,
        )
