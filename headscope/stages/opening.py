"""A stage begins: the run directory of this very model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headscope.run import Run

if TYPE_CHECKING:
    from headscope.store.manifest import Stage
    from headscope.writer import RunWriter
    from interp.model import HookedModel


def open_stage(model: HookedModel, folder: str | Path, stage: Stage) -> RunWriter:
    """A writer on the folder. Raises StoreError where it holds another model or this command by another protocol."""
    return Run.create(folder, identity_of(model), stage)


def identity_of(model: HookedModel) -> dict[str, Any]:
    """What numbers are filed under; versions are noted by stage."""
    return {name: value for name, value in model.identity().items() if name != "versions"}
