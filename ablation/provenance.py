"""Scores know which model they are of, and are refused for another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.model import HookedModel

_TOLD = ("source", "revision", "architecture", "dtype")


def model_mark(model: HookedModel) -> dict[str, Any]:
    """What tells one model's scores from another's."""
    named = {name: value for name, value in model.identity().items() if name in _TOLD and value is not None}
    return {**named, "weight_hash": model.weight_hash.sha256}


def told(model: HookedModel, task: Any, **more: Any) -> dict[str, Any]:
    """Provenance of scores of this model on this task."""
    named = {"task": getattr(task, "name", ""), "shots": getattr(task, "shots", None)}
    return {"model": model_mark(model), **named, **more}


def refuse_other_model(model: HookedModel, provenance: Mapping[str, Any], shape: tuple[int, ...], what: str) -> None:
    """Raises UsageError for scores of another shape, or of other weights."""
    fitting = {1: (model.n_layers,), 2: (model.n_layers, model.n_heads)}[len(shape)]
    if shape != fitting:
        raise UsageError(
            f"{what} has shape {shape}, but this model's is {fitting}: it is of another model. Compute it "
            "for this one, with head_importance for example"
        )
    mark = provenance.get("model")
    if isinstance(mark, Mapping) and mark.get("weight_hash") not in (None, model.weight_hash.sha256):
        raise UsageError(
            f"{what} was computed on another model ({mark.get('source') or mark.get('architecture')}, "
            f"weights {str(mark['weight_hash'])[:12]}); this one is {model.provenance.get('source')}, "
            f"weights {model.weight_hash.sha256[:12]}. Compute it again for this model"
        )
