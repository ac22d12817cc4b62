"""Is a mean over tasks above 0? Flip the signs of whole tasks (Method 3.5).

If there is nothing to find, a task's effects are as likely to be x as -x, all components' together. So the signs of
tasks are flipped in all 2^n ways (or in 16,383 random ones): `p` counts how often a component's mean comes out at least
as large. `p_family` goes down the components as Holm's correction does, the largest mean first: at each step it counts
how often the largest mean of those that are left comes out at least as large (Westfall & Young 1993, step-down maxT).
Both keep the chance of calling any component wrongly at 5%. Holm's factor, the number of components that are left, is
what this leaves out: n tasks give no p below 2^-n, so that of 270 heads Holm could call none with fewer than 13 tasks.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

FEWEST_TASKS = 5  # 2^-5 is the largest power of a half below .05
EXACT_UP_TO = 14
DRAWS = 2**14 - 1
BLOCK = 2**22  # numbers held at once


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
    observed = flat.mean(axis=0)
    least = observed - 1e-12 * np.abs(flat).mean(axis=0)  # the same sum in another order is a tie
    missing = np.isnan(observed)
    order = np.argsort(-np.where(missing, -np.inf, observed), kind="stable")
    signs = _signs(tasks, seed)
    reached, passed = np.zeros(len(observed)), np.zeros(len(observed))
    for some in np.array_split(signs, math.ceil(signs.shape[0] * len(observed) / BLOCK)):
        means = some @ flat / tasks
        reached += (means >= least).sum(axis=0)
        left = np.where(missing, -np.inf, means)[:, order]  # the components that are left at each step, and its largest
        passed += (np.maximum.accumulate(left[:, ::-1], axis=1)[:, ::-1] >= least[order]).sum(axis=0)
    p = (1 + reached) / (len(signs) + 1)
    p_family = np.empty_like(p)
    p_family[order] = np.maximum.accumulate((1 + passed) / (len(signs) + 1))
    shape = effects.shape[1:]
    p, p_family = (np.where(missing, np.nan, value).reshape(shape) for value in (p, p_family))
    return SignFlips(p, p_family, len(signs))


def _signs(tasks: int, seed: int) -> Float[np.ndarray, "draw task"]:
    """All ways but the observed one, or random ones."""
    if tasks <= EXACT_UP_TO:
        return np.array(list(itertools.product((1.0, -1.0), repeat=tasks)))[1:]
    return np.random.default_rng(seed).choice((1.0, -1.0), size=(DRAWS, tasks))
