"""From what was named on the command line to a bench: a run with its model, or a model with its run."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headscope.inspector.bench import Bench
from headscope.inspector.scoring import ScoringThread
from headscope.store.manifest import read_manifest
from headscope.store.run import Run, check_output_folder, open_whole_run
from interp.errors import HeadscopeError, StoreError

if TYPE_CHECKING:
    from interp.model import HookedModel


def open_run_directory(
    folder: Path, load: Callable[[str], HookedModel], *, data: str, with_model: bool, model_at: str | None = None
) -> Bench:
    """What the run holds; with its model, unless that can't be loaded, which the page then says.

    model_at: where the model is, in place of what the run calls it by; another model there is refused (StoreError).
    """
    run = open_whole_run(folder)
    source = str(run.identity["source"])
    if not with_model:
        return Bench(source, run=run, why="it was started with --no-model.", data=data)
    try:
        model = load(source if model_at is None else model_at)
    except HeadscopeError as error:
        if model_at is not None:
            raise
        way = f"`headscope inspect {shlex.quote(str(folder))} --model PATH` loads it from where it is."
        return Bench(source, run=run, why=f"{source!r} could not be loaded ({error}). {way}", data=data)
    differs = other_weights(run, model)
    if differs and model_at is not None:
        raise StoreError(f"{model_at!r} is not the model of '{folder}': {differs}")
    if differs:
        return Bench(source, run=run, why=differs, data=data)
    return Bench(source, run=run, model=model, data=data)


def other_weights(run: Run, model: HookedModel) -> str:
    """Why this model is not the run's; empty where it is."""
    mine, its = run.identity.get("weight_hash"), model.identity()
    if mine is None or mine == its["weight_hash"]:
        return ""
    return (
        f"{its['source']!r} now has other weights ({its['weight_hash'][:12]}) than the run was made from ({mine[:12]})."
    )


def open_model(
    model: HookedModel, folder: Path, *, data: str, length: int | None = None, counts: str | None = None
) -> Bench:
    """The model with its scores: those of its run directory, or those that are made while the page is looked at.

    length: of the random blocks that it is scored on, in place of the protocol's. counts: how often tokens occur.

    Raises StoreError for a folder that belongs to another model or can't be written to.
    """
    name = str(model.provenance.get("source") or model.layout.architecture)
    run = run_of(model, folder)
    if run is not None and not run.head_scores.empty:
        return Bench(name, run=run, model=model, data=data)
    if any(parameter.is_meta for parameter in model.hf.parameters()):
        return Bench(name, model=model, data=data)  # offloaded weights have one place, and the page needs it
    check_output_folder(folder)
    return Bench(name, model=model, data=data, scoring=ScoringThread(folder, length, counts).start(model))


def run_of(model: HookedModel, folder: Path) -> Run | None:
    """The run directory, if it is there and belongs to this model."""
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    run, identity = open_whole_run(folder), model.identity()
    differs = other_weights(run, model)
    if differs or manifest.identity.get("dtype") not in (None, identity["dtype"]):
        raise StoreError(
            f"the folder '{folder}' belongs to another model than {identity['source']!r}: {differs or 'another dtype'} "
            "Choose another folder with -o, or inspect the folder itself."
        )
    return run
