"""A study to be killed (forking.py): `killed_study.py MODEL`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import interp
from headscope.plan import budget
from headscope.plan.study import study
from tests.headscope.forking import serve

TASKS = "probe_antonyms,probe_pattern"
SHOTS = "0,2"
# Every kind of stage and of order, each small.
BUDGET = replace(
    budget.PAPER,
    name="small",
    rank_documents=20,
    knockout_documents=8,
    prune_documents=8,
    demo_seeds=2,
    percents=(0, 40, 80),
    grid=((0, 40), (0, 50)),
    draws=2,
    controls=3,
    primary_ways=("zero",),
    prune_all_shots=False,
    protocol="quick",
)


@contextmanager
def all_learnt() -> Iterator[None]:
    """A model of random weights learns nothing: every task passes all the same, so that all stages are run."""
    with ExitStack() as stack:
        for room in ("plan.study", "stages.primary"):
            stack.enter_context(mock.patch(f"headscope.{room}.learnt_tasks", side_effect=lambda run, names: names))
        yield


def work(model: interp.HookedModel, folder: Path) -> None:
    budget.NAMED["small"] = BUDGET
    with all_learnt():
        study(model, out=folder, tasks=TASKS, shots=SHOTS, budget="small")


if __name__ == "__main__":
    loaded = interp.load_model(sys.argv[1], check=False)
    serve(lambda folder: work(loaded, folder))
