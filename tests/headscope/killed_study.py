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
    contest_controls="class",
    prune_all_shots=False,
    protocol="quick",
)
# The same stages, each as small as it can be.
LEAST = replace(
    BUDGET,
    rank_documents=8,
    knockout_documents=4,
    prune_documents=4,
    primary_documents=12,
    demo_seeds=1,
    percents=(0, 50),
    grid=((0, 50), (0, 50)),
    draws=1,
    head_orders=("own", "transfer", "random", "iterative"),
    ffn_orders=("own",),
)


@contextmanager
def all_learnt() -> Iterator[None]:
    """A model of random weights learns nothing: every task passes all the same, so that all stages are run."""
    with ExitStack() as stack:
        for room in ("plan.study", "stages.primary", "stages.vectors", "stages.contest"):
            stack.enter_context(mock.patch(f"headscope.{room}.learnt_tasks", side_effect=lambda run, names: names))
        yield


def work(model: interp.HookedModel, folder: Path) -> None:
    with all_learnt(), mock.patch.dict(budget.NAMED, {"small": LEAST}):
        study(model, out=folder, tasks=TASKS, shots=SHOTS, budget="small")


if __name__ == "__main__":
    loaded = interp.load_model(sys.argv[1], check=False)
    serve(lambda folder: work(loaded, folder))
