"""The commands that write, on tiny models, each in a folder as those before it leave it: to be killed one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import induction
from headscope.stages.cells import TaskChoice
from headscope.stages.comparison import compare_rankings
from headscope.stages.contest import ContestChoice, measure_contest
from headscope.stages.export import export_pruned
from headscope.stages.importance import measure_importance
from headscope.stages.induction import measure_induction
from headscope.stages.knock_out import measure_knock_out
from headscope.stages.primary import PrimaryChoice, measure_primary
from headscope.stages.pruning import PruneChoice, measure_pruning
from headscope.stages.screening import measure_screening
from headscope.stages.vectors import measure_vectors, vector_choice
from interp.model import HookedModel
from tests.headscope.killed_study import all_learnt
from tests.induction import worded

TASKS = ("probe_pattern", "probe_labels")
SCREENED = TaskChoice(TASKS[:1], shots=(0, 2), limit=12, demos="fixed")
RANKED = TaskChoice(TASKS, shots=(2,), limit=4, part="rest")
PRUNED = PruneChoice("head", ("own", "random"), percents=(0, 50), draws=1)
EXPORTED = "exported"

Run = Callable[[HookedModel, Path], Any]
Work = Callable[[Path], None]

# In the order in which each finds what it needs.
COMMANDS: dict[str, Run] = {
    "induction": lambda model, folder: measure_induction(model, folder, sequences=3, length=12),
    "screen": lambda model, folder: measure_screening(model, folder, SCREENED),
    "primary": lambda model, folder: measure_primary(
        model, folder, SCREENED, PrimaryChoice(controls=3, ways=("zero",))
    ),
    "vectors": lambda model, folder: measure_vectors(model, folder, vector_choice(SCREENED), queries=15),
    "contest": lambda model, folder: measure_contest(model, folder, SCREENED, ContestChoice(controls=3, shares=(20,))),
    "importance": lambda model, folder: measure_importance(model, folder, RANKED),
    "knockout of heads": lambda model, folder: measure_knock_out(model, folder, RANKED, component="head"),
    "knockout of FFNs": lambda model, folder: measure_knock_out(model, folder, RANKED, component="ffn"),
    "prune": lambda model, folder: measure_pruning(model, folder, RANKED, PRUNED),
    "compare": lambda model, folder: compare_rankings(folder),
    "export": lambda model, folder: export_pruned(model, folder, folder / EXPORTED),
}


def in_order(model: HookedModel, home: Path) -> Iterator[tuple[str, Work, Path, Path]]:
    """Every command's name, what it does in a folder, a folder as it finds it, and a new place for folders.

    Whoever asks for the next one has left a folder `whole`, in which this one has been, in that place.
    """
    before = home / "nothing"
    before.mkdir()
    for name, run in COMMANDS.items():
        place = home / name
        place.mkdir()
        yield name, partial(done, run, model), before, place
        before = place / "whole"


def done(run: Run, model: HookedModel, folder: Path) -> None:
    with all_learnt():
        run(model, folder)


def also(folder: Path) -> None:
    """`induction --also concept`, of a model that reads words."""
    drawn = partial(induction.entity_prompts, prompts=3, length=12)
    with mock.patch.object(induction, "entity_prompts", drawn):
        measure_induction(worded.model("llama"), folder, sequences=3, length=10, also=("concept",))
