"""Nulls: what each score would be if there were nothing to find (Method 2.7).

N1, wrong token: in the same forward pass, the score is read for the token d places further on in the block, d drawn
once for each sequence and draw (wrong_token.py makes the table of its values for attention scores). N2, position only:
the same (query, key) entries on an unrepeated sequence. The repeats are never permuted: an earlier copy of the current
token is still there, and induction heads keep their score.

Every draw is a draw of the reported statistic, the mean over sequences. N1 knows its per-sequence value for every d, so
draws pick among them (each way to pick once, where there are no more than draws); what a pick among a few varies too
little, beside a score that is none of them, is made good. Where a per-sequence value has to be drawn itself (the tokens
of copying), n sequences share the B draws: B / n values each, recombined into B means; sum over sequences, that is as
many values as drawing B means. Where every item has one value under the null beside its own, the two are swapped at
random (`swapped_null`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import UsageError
from interp.scores import Null
from interp.whole import whole_number

DRAWS = 2000
N1 = "N1 wrong token"
N2 = "N2 position only"
N3 = "token drawn at random"
ANOTHER_DISTANCE = "another distance"
N1_OTHER = "N1 another key's value"
OTHER_ENTITY = "another entity"


def check_draws(draws: int) -> None:
    """Raises UsageError for what is no number of draws; 0 is one, and leaves the nulls out."""
    if whole_number(draws, "draws") < 0:
        raise UsageError(f"draws={draws}: a null is drawn 1 time or more, and 0 leaves it out")


def shift_table(by_place: Float[Tensor, "layer head place"], first: int) -> Float[Tensor, "shift layer head"]:
    """The values at places first + d, d = 1..L-2, shifts in front."""
    length = by_place.shape[-1]
    return by_place[..., first + 1 : first + length - 1].movedim(-1, 0)


def wrong_token_null(
    observed: Float[Tensor, "layer head"],
    tables: Sequence[Float[Tensor, "_ layer head"]],  # as many shifts as the sequence's length allows
    *,
    draws: int = DRAWS,
    seed: int = 0,
    two_sided: bool = False,
    name: str = N1,
    scored: Bool[Tensor, "item layer head"] | None = None,
) -> Null | None:
    """N1 from every sequence's table of values; None where a block is too short to have a wrong token.

    scored: which sequences are in a head's score (all, if unset); the others, and values that do not exist (NaN: out of
    a window's reach), leave the mean.
    """
    if any(len(table) == 0 for table in tables):
        return None
    picks = _picks([len(table) for table in tables], draws, np.random.default_rng((seed, 1)))
    total, count = (torch.zeros(picks.shape[1], *observed.shape, dtype=torch.float64) for _ in range(2))
    for item, (table, chosen) in enumerate(zip(tables, picks, strict=True)):
        values = table.double() if scored is None else table.double().masked_fill(~scored[item], torch.nan)
        picked = _spread(values)[torch.from_numpy(chosen)]
        total += picked.nan_to_num(nan=0.0)
        count += ~picked.isnan()
    return Null.from_draws(name, observed, (total / count).float(), two_sided=two_sided, partial=True)


def _picks(lengths: Sequence[int], draws: int, generator: np.random.Generator) -> Int[np.ndarray, "item draw"]:
    """One of so many values of every item for every draw; each way to pick once, where there are no more."""
    ways = math.prod(lengths)
    if ways <= draws:
        return np.stack(np.unravel_index(np.arange(ways), lengths))
    return np.stack([generator.integers(0, length, size=draws) for length in lengths])


def _spread(values: Float[Tensor, "value layer head"]) -> Float[Tensor, "value layer head"]:
    """Values of one item, so that one of them differs from their mean as much as another, that is none of them, does.

    Of m alike, that one's distance from the mean of these varies by (m + 1) / m, and theirs by (m - 1) / m.
    """
    count = (~values.isnan()).sum(0)
    factor = torch.where(count > 1, (count + 1) / (count - 1).clamp_min(1), 1.0).sqrt()
    mean = values.nanmean(0)
    return mean + (values - mean) * factor


def position_null(
    observed: Float[Tensor, "layer head"],
    unrepeated: Float[Tensor, "item layer head"],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Null:
    """N2: means over sequences, drawn with replacement, of the same entries on unrepeated sequences.

    A single sequence gives a single draw: more would be the same, and p would look surer than one comparison is.
    Sequences without a value (NaN: out of a window's reach, as in the score) leave a head's mean.
    """
    n = len(unrepeated)
    draws = draws if n > 1 else 1
    picks = np.random.default_rng((seed, 2)).multinomial(n, np.full(n, 1 / n), size=draws)
    weights, values = torch.from_numpy(picks / n), unrepeated.double().flatten(1)
    means = weights @ values.nan_to_num(nan=0.0)
    if bool((missing := values.isnan()).any()):
        means = means / (weights @ (~missing).double())
    return Null.from_draws(N2, observed, means.view(draws, *observed.shape).float(), partial=True)


def values_per_sequence(sequences: int, draws: int) -> int:
    """How many null values each of n sequences has to draw so that together they amount to `draws` (at least 2)."""
    return max(2, math.ceil(draws / max(1, sequences)))


def recombined_null(
    observed: Float[Tensor, "layer head"],
    values: Float[Tensor, "item layer head draw"],
    *,
    expected: Float[Tensor, "item layer head"] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    name: str = N3,
) -> Null:
    """Means over sequences, each of which contributes one of its own null values (the same draw for all its heads).

    expected: what the null values of a sequence are on average, where that is known.
    """
    return Null.from_draws(name, observed, recombined(values, expected=expected, draws=draws, seed=seed).float())


def recombined(
    values: Float[Tensor, "item layer head value"],
    *,
    expected: Float[Tensor, "item layer head"] | None = None,
    draws: int,
    seed: int,
) -> Float[Tensor, "draw layer head"]:
    """The draws of `recombined_null`; a pick among m values varies by (m - 1) / m too little, which is made good."""
    generator = np.random.default_rng((seed, 3))
    m = values.shape[-1]
    mean = values.double().mean(-1, keepdim=True)
    spread = (values.double() - mean) * (m / (m - 1)) ** 0.5
    centre = mean if expected is None else expected.double()[..., None]
    total = torch.zeros(draws, *values.shape[1:-1], dtype=torch.float64)
    for item in centre + spread:
        total += item.movedim(-1, 0)[torch.from_numpy(generator.integers(0, m, size=draws))]
    return total / len(values)


def swapped_null(
    observed: Float[Tensor, "item layer head"],
    other: Float[Tensor, "item layer head"],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    name: str,
) -> Null:
    """Each item's value against the same item's value under the null: exchangeable if there is nothing to find.

    Every draw swaps the two in a random half of the items, the same for all heads; what is compared is the mean excess
    of the first over the second. The null's mean is the second's.
    """
    excess = (observed - other).double()
    signs = np.random.default_rng((seed, 4)).integers(0, 2, size=(draws, len(excess))) * 2.0 - 1.0
    means = torch.from_numpy(signs) @ excess.flatten(1) / len(excess)
    null = Null.from_draws(name, excess.mean(0).float(), means.view(draws, *excess.shape[1:]).float())
    return replace(null, mean=other.double().mean(0).float())
