"""A study to be killed: run as a script, it loads everything once, then forks a child for every line on stdin.

Each child runs the same study into the folder that the line names. The pid goes to stdout when the work begins, "done"
when it has ended. The folder's state, and not the child, knows what was finished.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

import interp
from headscope import budget
from headscope.study import study

TASKS = "probe_antonyms,probe_pattern"
SHOTS = "0,2"
# Every kind of stage and of order, each small.
BUDGET = replace(
    budget.PAPER, name="small", rank_documents=20, knockout_documents=8, prune_documents=8, causal_documents=8,
    demo_seeds=2, percents=(0, 40, 80), grid=((0, 40), (0, 50)), draws=2, causal_percents=(10,),
    causal_ablations=("zero",), controls=2, prune_all_shots=False, protocol="quick",
)  # fmt: skip


def work(model: interp.HookedModel, folder: Path) -> None:
    budget.NAMED["small"] = BUDGET
    study(model, out=folder, tasks=TASKS, shots=SHOTS, budget="small")


def main() -> None:
    torch.set_num_threads(1)  # A fork has no worker threads of its parent's.
    model = interp.load_model(sys.argv[1], check=False)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(model, Path(line.strip()))
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print("done" if status == 0 else f"status {status}", flush=True)


if __name__ == "__main__":
    main()
