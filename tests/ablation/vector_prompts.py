"""Small tasks of words for function vectors: right labels, wrong labels, and queries, with documents of their own."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ablation.tasks import Demonstration, Document, Task
from ablation.vector_tasks import VectorTask
from tests.interp.families import VOCAB

SHOTS = 3


def words(source: random.Random, n: int) -> str:
    return " ".join(f"w{source.randrange(3, VOCAB)}" for _ in range(n))


def vector_task(
    name: str = "words",
    *,
    n_mean: int = 6,
    n_queries: int = 16,
    lengths: Sequence[int] = (1, 2, 5),
    pools: Sequence[str] = ("", ""),
    shared_first: bool = False,
    seed: int = 0,
    mean_labels: str = "true",
    label_seed: int = 0,
) -> VectorTask:
    """Documents with choices of these lengths; right and wrong prompts differ in their labels only.

    shared_first: the first two choices begin with the same token. mean_labels="wrong": the mean's are drawn as the
    null's, with another seed.
    """

    def task(part: str, n: int, labels: str, shots: int, own: int = 0) -> Task:
        held = []
        for place in range(n):
            source = random.Random(f"{seed}|{name}|{part}|{place}")
            firsts = source.sample(range(3, VOCAB), len(lengths))
            choices = [f"w{first} {words(source, n - 1)}".strip() for first, n in zip(firsts, lengths, strict=True)]
            if shared_first:
                choices[1] = " ".join([choices[0].split()[0], *choices[1].split()[1:]])
            query, gold = words(source, 4 + place % 3), place % len(lengths)
            inputs = [words(source, 2) for _ in range(SHOTS)]
            label = random.Random(f"{seed}|{name}|{part}|{place}|{labels}|{label_seed + own}")
            answers = [words(label, 1) for _ in range(SHOTS)]
            shown = tuple(
                Demonstration(f"{name}/pool/{part}/{place}/{k}", f"{text} {answer}\n\n")
                for k, (text, answer) in enumerate(zip(inputs, answers, strict=True))
            )
            document = f"{name}/{part}/{place}"
            held.append(
                Document(
                    document,
                    f"{name}/{part}/cluster{place // 2}",
                    document,
                    "",
                    shown[:shots],
                    (query,) * len(lengths),
                    tuple(f" {choice}" for choice in choices),
                    gold,
                    (gold,),
                    "acc",
                    pools[place % len(pools)],
                )
            )
        return Task(name, shots, tuple(held), "acc", "train", seed, "document", labels, "auto", "built in")

    own = 0 if mean_labels == "true" else 1
    return VectorTask(
        name=name,
        mean=task("mean", n_mean, mean_labels, SHOTS, own),
        null=task("mean", n_mean, "wrong", SHOTS),
        queries=task("queries", n_queries, "wrong", SHOTS),
        plain=task("queries", n_queries, "true", 0),
    )
