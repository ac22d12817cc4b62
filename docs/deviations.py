"""Measure what the paper's released code does to the numbers, and write the table of docs/method.md.

    python docs/deviations.py

Everything is computed here with the variants called `bansal_released` and `paper`: on the hand-built model of the
tests, on simulated score tables of the paper's size (64 layers x 72 heads), and on the embedded model.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "method.md"
BEGIN, END = "<!-- made by docs/deviations.py -->", "<!-- end -->"
HEAD = "| the released code | headscope | effect | headscope's value | the released code's |\n|---|---|---|---|---|"
LENGTH = 25
LAYERS, HEADS, TABLES = 64, 72, 20
TASK, SHOTS, DOCUMENTS = "probe_capitals", 5, 16
Row = tuple[str, str, str, str, str]


def prefix_matching() -> Iterator[Row]:
    """A head that looks at the first content token and nowhere else."""
    from induction.bansal_released import released_pairs
    from induction.sequences import earlier_copies

    tokens = torch.cat([torch.tensor([0]), torch.arange(1, LENGTH + 1).repeat(4)])
    attention = torch.zeros(len(tokens), len(tokens))
    attention[1:, 1] = 1.0
    ours = earlier_copies(tokens, torch.arange(len(tokens)) > 0)
    mine = float(attention[ours.prefix_pairs].sum()) / len(ours.query_positions)
    released = float(attention[released_pairs(LENGTH, 4)].sum()) / (3 * LENGTH)
    yield (
        "prefix matching also credits the token behind BOS, at queries whose position is a multiple of L",
        "targets from token equality: no copy, no credit",
        f"too high by up to 1/L; a head that looks only at the first content token, L = {LENGTH}:",
        f"{mine:.3f}",
        f"{released:.3f}",
    )


def copying() -> Iterator[Row]:
    """The head of the tests' hand-built model that says the previous token."""
    import induction
    from tests.induction import handmade

    model = handmade.model()
    plain = induction.repeated_sequences(model, length=40, repeats=1, sequences=4)
    at = (0, 2)
    mine, released = (
        float(induction.copying_score(model, plain, variant, draws=0).mean[at])  # type: ignore[arg-type]
        for variant in ("argmax", "bansal_released")
    )
    yield (
        "copying applies the OV circuit to the query's **own** value, feeds every layer the raw embedding, skips the "
        "final norm, counts BOS, and adds the output bias to every head",
        "the head's real output at the query, through the norms that follow it",
        "a head that attends to the previous token and writes exactly that token:",
        f"{mine:.2f}",
        f"{released:.2f}",
    )


def rank_correlation() -> Iterator[Row]:
    """Simulated scores of 4,608 heads: related ones, and ones that share nothing but a trend over layers."""
    from ablation.statistics import bansal_released, spearman, spearman_within_layers

    def pair(seed: int, shared: float, trend: float) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(seed)
        common, layers = draw.normal(size=(LAYERS, HEADS)), np.linspace(-1, 1, LAYERS)[:, None]
        noise = (draw.normal(size=(LAYERS, HEADS)) for _ in range(2))
        a, b = (trend * layers + shared * common + (1 - shared**2) ** 0.5 * own for own in noise)
        return a, b

    def mean(statistic: Any, shared: float, trend: float) -> float:
        return float(np.mean([statistic(*pair(seed, shared, trend)).value for seed in range(TABLES)]))

    told = "rank correlations correlate `argsort` outputs, that is head **numbers**", "scores, with averaged ties"
    for statistic, shared, trend, what in (
        (spearman, 0.976, 0, "two rankings that agree closely (Spearman over all heads):"),
        (spearman_within_layers, 0, 2, "two rankings that share a trend over layers and nothing else (within layers):"),
    ):
        values = (round(mean(one, shared, trend), 2) + 0.0 for one in (statistic, bansal_released))  # no -0.00
        mine, released = (f"{value:.2f}" for value in values)
        yield (*told, what, mine, released)


def last_layer(model: Any) -> Iterator[Row]:
    """Where the last layer's heads stand in the ranking, 0 to 100."""
    import ablation
    from ablation.importance import importance

    task = ablation.load_task(TASK, shots=SHOTS, limit=DOCUMENTS, split="train")
    found = importance(model, task)
    places = []
    for rule in ("uniform", "paper"):
        scores = found.heads(normalise=rule).mean
        ranks = scores.flatten().argsort().argsort().view_as(scores).float() / (scores.numel() - 1)
        places.append(float(ranks[-1].mean()))
    factor = float((found.lengths - 1).sum() / found.target_lengths.sum())
    yield (
        "importance divides the last layer alone by the number of answer tokens (`--normalise paper`)",
        "all layers by the same number (`uniform`)",
        f"lifts the last layer {factor:.0f} times (SmolLM2-135M, {TASK} at {SHOTS} shots); mean rank percentile of its "
        "heads:",
        f"{places[0]:.0%}",
        f"{places[1]:.0%}",
    )


def cheap_rows() -> list[Row]:
    """What needs no real model."""
    return [*prefix_matching(), *copying(), *rank_correlation()]


def table(rows: list[Row]) -> str:
    """Rows as Markdown."""
    return "\n".join([HEAD, *("| " + " | ".join(row) + " |" for row in rows)])


def main() -> None:
    import interp

    found = table([*cheap_rows(), *last_layer(interp.load_model("smollm2-135m"))])
    head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n{found}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
    print(found)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # for the tests' hand-built model
    main()
