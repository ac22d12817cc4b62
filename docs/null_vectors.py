"""Function vectors where there is nothing to find: means over wrong labels, on the real model.

    python docs/null_vectors.py [--studies 2] [--queries 15] [--tasks probe_french,...]

Probes and SmolLM2-135M, once with right labels behind the mean and then, study by study, with wrong ones, drawn anew
each time and apart from the null's. With wrong labels a head may be called by chance: in one study of twenty, since
its p is family-wise over all heads. So few studies show no rate. But any two draws of wrong labels make a study, and so
does either order of the two in each task: the last line counts the calls over all of these.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ablation.function_vectors import FunctionVectors

HEADINGS = "| labels behind the mean | seed | FV heads | highest `fv`, nats | its family-wise p | heads above 0 |\n" + (
    "|---|---|---|---|---|---|"
)

ORDERS = 256


def study(model: Any, names: Sequence[str], labels: str, seed: int, queries: int) -> FunctionVectors:
    """These tasks, with means made at this seed; the queries are the same at every seed."""
    from ablation.function_vectors import function_vectors
    from ablation.vector_tasks import vector_task

    tasks = []
    for name in names:
        asked = vector_task(name, queries=queries)
        means = vector_task(name, seed=seed, queries=queries, mean_labels=labels)
        tasks.append(replace(means, queries=asked.queries, plain=asked.plain))
    return function_vectors(model, tasks)


def row(found: FunctionVectors, labels: str, seed: int) -> str:
    """What one study found."""
    (best,) = found.scores.top(1)
    (null,) = found.scores.nulls
    p = float(null.p_family[best.layer, best.head])
    called = ", ".join(f"{head.layer}.{head.head}" for head in found.heads) or "none"
    name = {"true": "right", "wrong": "wrong"}[labels]
    above = float((found.scores.mean > 0).double().mean())
    return f"| {name} | {seed} | {called} | {best.score:+.3f} ({best.layer}.{best.head}) | {p:.3f} | {above:.0%} |"


def drawn(found: FunctionVectors) -> list[np.ndarray]:
    """The effects of both means of a study without right labels, by task and head."""
    return [
        np.stack([getattr(task, side).double().mean(0).flatten().numpy() for task in found.tasks])
        for side in ("right_choice", "wrong_choice")
    ]


def calls(draws: Sequence[np.ndarray]) -> tuple[int, int, int]:
    """Pairs of draws in the orders by task: how many, and in how many of them any head is above null, and called."""
    from ablation.function_vectors import POSITIVE_SHARE, TOP_SHARE
    from ablation.statistics.sign_flips import sign_flips

    studies = above = called = 0
    orders = np.array(list(itertools.product((1.0, -1.0), repeat=len(draws[0]))))
    if len(orders) > ORDERS:
        orders = np.random.default_rng(0).choice(orders, ORDERS, replace=False)
    for one, other in itertools.combinations(draws, 2):
        for signs in orders:
            effects = signs[:, None] * (one - other)
            found = sign_flips(effects)
            if found is None:
                raise SystemExit("five tasks are needed to tell any head from 0")
            low = found.p_family < 0.05
            top = np.argsort(-effects.mean(0), kind="stable")[: int(np.ceil(TOP_SHARE * effects.shape[1]))]
            often = (effects > 0).mean(0) >= POSITIVE_SHARE - 1e-9
            studies, above, called = studies + 1, above + bool(low.any()), called + bool((low & often)[top].any())
    return studies, above, called


def main() -> None:
    import interp
    from ablation.tasks.names import PROBES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2)
    parser.add_argument("--queries", type=int, default=15)
    parser.add_argument("--tasks", default=",".join(PROBES))
    given = parser.parse_args()
    model, names = interp.load_model("smollm2-135m"), given.tasks.split(",")
    print(HEADINGS)
    print(row(study(model, names, "true", 0, given.queries), "true", 0), flush=True)
    draws: list[np.ndarray] = []
    for seed in range(given.studies):
        found = study(model, names, "wrong", seed, given.queries)
        print(row(found, "wrong", seed), flush=True)
        draws += drawn(found)
    if len(draws) > 1:
        studies, above, called = calls(draws)
        print(
            f"\n{len(draws)} draws of wrong labels, any two of them in every order by task: {studies:,} studies; "
            f"a head above null in {above / studies:.1%}, called an FV head in {called / studies:.1%}"
        )


if __name__ == "__main__":
    main()
