"""Simulate how often T and the mean within-layer Spearman coefficient find what is there: a table of docs/method.md.

    python docs/power_table.py

A model of SmolLM2's shape, 30 layers of 9 heads in 3 key-value groups, with 11 induction heads in 8 of its layers. True
importances have variance 1 within a layer, .3 of it between groups; those of induction heads are higher by the effect.
What is measured on 40 documents has a reliability of .6; more documents have less noise. Prefix matching is .4 to .95
for induction heads and next to nothing for the others. Both tests are two-sided at .05, on the same simulated
importances, with the key-value groups of each layer shuffled and then the heads of each.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "method.md"
BEGIN, END = "<!-- made by docs/power_table.py -->", "<!-- end -->"
LAYERS, HEADS, GROUPS = 30, 9, 3
PATTERNS = ((2,), (1, 1), (2,), (1,), (1,), (1,), (1,), (1,))  # induction heads of a layer, by key-value group
GROUP_SHARE, RELIABILITY, AT = 0.3, 0.6, 40
EFFECTS: dict[str, float] = {
    "ordinary (what is found is false)": 0.0,
    "half a standard deviation higher": 0.5,
    "one higher": 1.0,
    "two higher": 2.0,
    "each above all others of its layer": 8.0,
}
DOCUMENTS = (40, 120, 360)
MODELS, STUDIES = 20, 25


@dataclass(frozen=True)
class Model:
    """Which heads are induction heads, and how well all of them match prefixes."""

    classed: np.ndarray
    matching: np.ndarray


def model(draw: np.random.Generator) -> Model:
    classed = np.zeros((LAYERS, HEADS), dtype=bool)
    for layer, pattern in zip(draw.choice(LAYERS, len(PATTERNS), replace=False), PATTERNS, strict=True):
        for group, count in zip(draw.permutation(GROUPS), pattern, strict=False):
            size = HEADS // GROUPS
            classed[layer, group * size + draw.choice(size, count, replace=False)] = True
    matching = np.where(classed, draw.uniform(0.4, 0.95, classed.shape), draw.exponential(0.02, classed.shape))
    return Model(classed, matching)


def importances(held: Model, effect: float, documents: int, studies: int, draw: np.random.Generator) -> np.ndarray:
    """What each of several studies of one model measures; their true importances differ."""
    shape = (studies, LAYERS, HEADS)
    between = np.repeat(draw.standard_normal((studies, LAYERS, GROUPS)), HEADS // GROUPS, axis=2)
    true = np.sqrt(GROUP_SHARE) * between + np.sqrt(1 - GROUP_SHARE) * draw.standard_normal(shape)
    noise = np.sqrt((1 - RELIABILITY) / RELIABILITY * AT / documents)
    return true + effect * held.classed + noise * draw.standard_normal(shape)


def found(held: Model, measured: np.ndarray, seed: int) -> tuple[float, float]:
    """The share of studies in which T, and the mean Spearman coefficient, are significant."""
    from ablation.statistics import kv_groups, permutation_table
    from ablation.statistics.class_rank import permuted_classes, rankable, within_layers
    from ablation.statistics.permutation import ROUNDING

    groups, valid = kv_groups(LAYERS, HEADS, GROUPS), rankable(measured)
    spearman = permutation_table(measured, held.matching[None], level="within_layer", groups=groups, seed=seed)
    places = within_layers(measured, valid)
    null = permuted_classes(held.classed, valid, spearman.permutations, groups=groups, seed=seed) @ places.T
    value = places @ held.classed[valid]
    p = ((np.abs(null) >= np.abs(value) - ROUNDING).sum(axis=0) + 1) / (len(null) + 1)
    return float((p <= 0.05).mean()), float((spearman.p <= 0.05).mean())


def power(effect: float, documents: int, *, models: int = MODELS, studies: int = STUDIES) -> tuple[float, float]:
    """Of T and of the mean Spearman coefficient, over simulated models and studies of each."""
    rates = []
    for seed in range(models):
        draw = np.random.default_rng([seed, documents])
        held = model(draw)
        rates.append(found(held, importances(held, effect, documents, studies, draw), seed))
    ours, first = np.mean(rates, axis=0)
    return float(ours), float(first)


def rows() -> Iterator[str]:
    """The table, line by line."""
    heads = " | ".join(f"{documents} documents" for documents in DOCUMENTS)
    yield f"| importance of the induction heads | {heads} |"
    yield "|---|" + "---|" * len(DOCUMENTS)
    for name, effect in EFFECTS.items():
        cells = (power(effect, documents) for documents in DOCUMENTS)
        yield f"| {name} | " + " | ".join(f"**{ours:.0%}** ({first:.0%})" for ours, first in cells) + " |"


def main() -> None:
    table = "\n".join(rows())
    text = PAGE.read_text(encoding="utf-8")
    if BEGIN in text:
        head, rest = text.split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
    print(table)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
