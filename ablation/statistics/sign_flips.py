"""Is a mean over tasks above 0? Flip the signs of whole tasks (Method 3.5).

If there is nothing to find, a task's effects are as likely to be x as -x, all components' together. So the signs of
tasks are flipped in all 2^n ways (or in 4,095 random ones): `p` counts how often a component's mean comes out at least
as large, `p_family` how often the largest of all components' means does (Westfall & Young 1993). The second keeps the
chance of calling any component wrongly at 5%, as Holm's correction does, and can be reached with few tasks: n tasks
give no p below 2^-n, and Holm multiplies the smallest by the number of components.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FEWEST_TASKS = 5  # 2^-5 is the largest power of a half below .05
EXACT_UP_TO = 12
DRAWS = 4095


@dataclass(frozen=True)
class SignFlips:
    """One-sided p of each component's mean over tasks; NaN where a task has no value for it."""

    p: Float[np.ndarray, "*grid"]
    p_family: Float[np.ndarray, "*grid"]
    draws: int


def sign_flips(effects: Float[np.ndarray, "task *grid"], *, seed: int = 0) -> SignFlips | None:
    """Flip the signs of tasks; None with fewer than five, where no component could be told from 0."""
    tasks = len(effects)
    if tasks < FEWEST_TASKS:
        return None
    flat = effects.reshape(tasks, -1).astype(np.float64)
    means = _signs(tasks, seed) @ flat / tasks
    observed = flat.mean(axis=0)
    least = observed - 1e-12 * np.abs(flat).mean(axis=0)  # the same sum in another order is a tie
    missing = np.isnan(observed)
    highest = np.where(missing, -np.inf, means).max(axis=1)
    p = (1 + (means >= least).sum(axis=0)) / (len(means) + 1)
    p_family = (1 + (highest[:, None] >= least).sum(axis=0)) / (len(means) + 1)
    shape = effects.shape[1:]
    p, p_family = (np.where(missing, np.nan, value).reshape(shape) for value in (p, p_family))
    return SignFlips(p, p_family, len(means))


def _signs(tasks: int, seed: int) -> Float[np.ndarray, "draw task"]:
    """All ways but the observed one, or random ones."""
    if tasks <= EXACT_UP_TO:
        return np.array(list(itertools.product((1.0, -1.0), repeat=tasks)))[1:]
    return np.random.default_rng(seed).choice((1.0, -1.0), size=(DRAWS, tasks))
