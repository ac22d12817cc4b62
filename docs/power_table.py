"""Simulate how often the primary, T and version 0.1's test find what is there: a table of docs/method.md.

    python docs/power_table.py

A model of SmolLM2's shape, 30 layers of 9 heads in 3 key-value groups, with 11 induction heads in 8 of its layers. What
removing a head truly costs has variance 1 within a layer, .3 of it between groups; that of induction heads is higher by
the effect. Every document measures all heads with noise, so that the mean of 40 of them has a reliability of .6. All
tests see the same documents:

- the primary: removing a set costs what its heads cost together, document by document. By p: the drop of the induction
  heads, in standard deviations of 39 control sets, against what these sets would get if heads were exchangeable. By its
  interval: the drop beyond the controls' mean is off 0 over documents;
- T: the rank of the induction heads in their layers, by the mean over documents;
- version 0.1's test: the mean over layers of Spearman's rho of that mean with prefix matching, which is .4 to .95 for
  induction heads and next to nothing for the others.

All are two-sided at .05; permutations shuffle the key-value groups of each layer and then the heads of each.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "method.md"
BEGIN, END = "<!-- made by docs/power_table.py -->", "<!-- end -->"
LAYERS, HEADS, GROUPS = 30, 9, 3
PATTERNS = ((2,), (1, 1), (2,), (1,), (1,), (1,), (1,), (1,))  # induction heads of a layer, by key-value group
GROUP_SHARE, RELIABILITY, AT = 0.3, 0.6, 40
NOISE = np.sqrt((1 - RELIABILITY) / RELIABILITY * AT)  # of one document
EFFECTS: dict[str, float] = {
    "ordinary": 0.0,
    "half a standard deviation higher": 0.5,
    "one higher": 1.0,
    "two higher": 2.0,
    "each above all others of its layer": 8.0,
}
DOCUMENTS = (40, 120, 360)
MODELS, STUDIES = 25, 25
TESTS = ("primary, p", "primary, interval off 0", "T", "version 0.1")
LEVEL = 0.05
FARTHEST, HALVINGS = 50.0, 12  # where the least significant effect of the primary is looked for, and how closely


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


def costs(documents: int, studies: int, draw: np.random.Generator) -> np.ndarray:
    """What each of several studies of one model measures, by document; their true costs differ. No effect yet."""
    between = np.repeat(draw.standard_normal((studies, 1, LAYERS, GROUPS)), HEADS // GROUPS, axis=3)
    own = draw.standard_normal((studies, 1, LAYERS, HEADS))
    noise = draw.standard_normal((studies, documents, LAYERS, HEADS))
    return np.sqrt(GROUP_SHARE) * between + np.sqrt(1 - GROUP_SHARE) * own + NOISE * noise


@dataclass(frozen=True)
class Sets:
    """The induction heads, their controls, and how many standard deviations of these are significant."""

    members: np.ndarray
    critical: float


def sets_of(held: Model, seed: int) -> Sets:
    from ablation.control_sets import control_sets
    from ablation.statistics.standardised import exchangeable_p

    heads = [(int(layer), int(head)) for layer, head in np.argwhere(held.classed)]
    exists, groups = np.ones_like(held.classed), layout()
    drawn = control_sets(heads, exists, kind="group_matched", groups=groups, seed=seed)
    controls = np.zeros((len(drawn), LAYERS, HEADS), dtype=bool)
    for place, one in enumerate(drawn):
        controls[(place, *np.transpose(one.heads))] = True
    low, high = 0.0, FARTHEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        significant = exchangeable_p(middle, held.classed, controls, groups=groups, seed=seed) <= LEVEL
        low, high = (low, middle) if significant else (middle, high)
    return Sets(np.concatenate([held.classed[None], controls]).astype(float), high)


def layout() -> np.ndarray:
    from ablation.statistics import kv_groups

    return kv_groups(LAYERS, HEADS, GROUPS)


def by_primary(sets: Sets, measured: np.ndarray) -> tuple[float, float]:
    """The share of studies in which the primary is significant, and in which its interval is off 0."""
    from ablation.statistics.primary import primary
    from ablation.statistics.standardised import TaskDrops

    drops = np.einsum("sdlh,clh->scd", measured, sets.members, optimize=True)
    clusters = np.arange(measured.shape[1])
    found = [primary([TaskDrops("simulated", one[0], one[1:], clusters)]) for one in drops]
    significant = [abs(one.effect.value) >= sets.critical for one in found]
    return float(np.mean(significant)), float(np.mean([one.beyond_verdict.kind == "shown" for one in found]))


def by_ranks(held: Model, measured: np.ndarray, seed: int) -> tuple[float, float]:
    """The share of studies in which T, and the mean Spearman coefficient, are significant."""
    from ablation.statistics import permutation_table
    from ablation.statistics.class_rank import permuted_classes, rankable, within_layers
    from ablation.statistics.permutation import ROUNDING

    importance, groups = measured.mean(axis=1), layout()
    valid = rankable(importance)
    spearman = permutation_table(importance, held.matching[None], level="within_layer", groups=groups, seed=seed)
    places = within_layers(importance, valid)
    null = permuted_classes(held.classed, valid, spearman.permutations, groups=groups, seed=seed) @ places.T
    value = places @ held.classed[valid]
    p = ((np.abs(null) >= np.abs(value) - ROUNDING).sum(axis=0) + 1) / (len(null) + 1)
    return float((p <= LEVEL).mean()), float((spearman.p <= LEVEL).mean())


def powers(
    effects: tuple[float, ...] = tuple(EFFECTS.values()),
    documents: tuple[int, ...] = DOCUMENTS,
    *,
    models: int = MODELS,
    studies: int = STUDIES,
) -> np.ndarray:
    """[effect documents test], over simulated models and studies of each; effects have their documents in common."""
    rates = np.zeros((models, len(effects), len(documents), len(TESTS)))
    for seed in range(models):
        held = model(np.random.default_rng(seed))
        sets = sets_of(held, seed)
        for place, count in enumerate(documents):
            plain = costs(count, studies, np.random.default_rng([seed, count]))
            for row, effect in enumerate(effects):
                measured = plain + effect * held.classed
                rates[seed, row, place] = *by_primary(sets, measured), *by_ranks(held, measured, seed)
    return rates.mean(axis=0)


def table(found: np.ndarray, effects: tuple[str, ...] = tuple(EFFECTS)) -> str:
    """The powers as a table, line by line."""
    lines = [f"| cost of the induction heads | documents | {' | '.join(TESTS)} |", "|---" * (2 + len(TESTS)) + "|"]
    for effect, by_count in zip(effects, found, strict=True):
        for count, shares in zip(DOCUMENTS, by_count, strict=True):
            lines.append(f"| {effect} | {count} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    return "\n".join(lines)


def written(text: str, found: str) -> str:
    """The page with this table. Raises SystemExit where it has no place for it."""
    if text.count(BEGIN) != 1 or END not in text.partition(BEGIN)[2]:
        raise SystemExit(
            f"{PAGE.name} has no single line '{BEGIN}' with '{END}' behind it: there is no place to write to"
        )
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{found}\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    written(text, "")  # before two minutes are spent
    found = table(powers())
    PAGE.write_text(written(text, found), encoding="utf-8")
    print(found)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
