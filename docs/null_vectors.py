"""Function vectors where there is nothing to find: means over wrong labels, on the real model.

    python docs/null_vectors.py [--studies 3] [--queries 15] [--tasks probe_french,...]

Probes and SmolLM2-135M, once with right labels behind the mean and then, study by study, with wrong ones, drawn anew
each time and apart from the null's. With wrong labels a head may be called by chance: in one study of twenty, since
its p is family-wise over all heads.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

HEADINGS = "| labels behind the mean | seed | FV heads | highest `fv`, nats | its family-wise p | heads above 0 |\n" + (
    "|---|---|---|---|---|---|"
)


def study(model: Any, names: Sequence[str], labels: str, seed: int, queries: int) -> str:
    """One row: these tasks, at this seed."""
    from ablation.function_vectors import function_vectors
    from ablation.vector_tasks import vector_task

    tasks = [vector_task(name, seed=seed, queries=queries, mean_labels=labels) for name in names]
    found = function_vectors(model, tasks)
    (best,) = found.scores.top(1)
    (null,) = found.scores.nulls
    p = float(null.p_family[best.layer, best.head])
    called = ", ".join(f"{head.layer}.{head.head}" for head in found.heads) or "none"
    name = {"true": "right", "wrong": "wrong"}[labels]
    above = float((found.scores.mean > 0).double().mean())
    return f"| {name} | {seed} | {called} | {best.score:+.3f} ({best.layer}.{best.head}) | {p:.3f} | {above:.0%} |"


def main() -> None:
    import interp
    from ablation.tasks.names import PROBES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=3)
    parser.add_argument("--queries", type=int, default=15)
    parser.add_argument("--tasks", default=",".join(PROBES))
    given = parser.parse_args()
    model = interp.load_model("smollm2-135m")
    print(HEADINGS)
    for labels, seeds in (("true", range(1)), ("wrong", range(given.studies))):
        for seed in seeds:
            print(study(model, given.tasks.split(","), labels, seed, given.queries), flush=True)


if __name__ == "__main__":
    main()
