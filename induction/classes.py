"""What an induction head is (Method 2.8): it matches prefixes, well above every null; its `signed` effect names it.

- induction head: prefix matching >= .4 and above N1 and N2 (family-wise);
- copying: `signed` above its null; anti-copying: below it; matching only: neither.
A class says what the head writes directly. Matching only is not "no effect": such a head may act through later heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from induction.null import N1, N2
from interp.errors import UsageError
from interp.scores import FAMILY_LEVEL, HeadScores
from interp.shown import one_line

THRESHOLD = 0.4
SWEEP = (0.2, 0.3, 0.4, 0.5, 0.6)
COPYING, ANTI_COPYING, MATCHING_ONLY, NO_CLASS = "copying", "anti-copying", "matching only", ""


@one_line
@dataclass(frozen=True)
class InductionHeads:
    """The class of every head, "" for heads that are no induction heads, and how many there are at other thresholds."""

    classes: Shaped[np.ndarray, "layer head"]
    threshold: float
    sweep: dict[float, int]

    @property
    def heads(self) -> list[tuple[int, int]]:
        """(layer, head) of the induction heads."""
        return [(int(layer), int(head)) for layer, head in np.argwhere(self.classes != NO_CLASS)]


def induction_heads(
    prefix: HeadScores, signed: HeadScores | None = None, *, threshold: float = THRESHOLD
) -> InductionHeads:
    """Classify heads from prefix matching and the `signed` direct effect, both scored with their nulls.

    Without `signed` (families whose heads have no direct path to the logits) every induction head is "matching only".
    Raises UsageError for scores of another kind or without nulls.
    """
    _refuse_other_scores(prefix, signed)
    above = prefix.above_null()
    found = np.where(_at_least(prefix, above, threshold).numpy(), MATCHING_ONLY, NO_CLASS).astype(object)
    if signed is not None:
        clear = signed.p_family <= FAMILY_LEVEL
        positive = signed.mean > signed.null_mean
        for mask, name in ((clear & positive, COPYING), (clear & ~positive, ANTI_COPYING)):
            found[(found != NO_CLASS) & mask.numpy()] = name
    counts = {value: int(_at_least(prefix, above, value).sum()) for value in SWEEP}
    return InductionHeads(found.astype(str), threshold, counts)


def _refuse_other_scores(prefix: HeadScores, signed: HeadScores | None) -> None:
    given = [(scores.name, scores.variant) for scores in (prefix, signed) if scores is not None]
    if given not in ([("prefix_matching", "")], [("prefix_matching", ""), ("copying", "signed")]):
        raise UsageError(f"classes need prefix matching (no other variant of it) and `signed` copying, got {given}")
    if signed is not None and signed.mean.shape != prefix.mean.shape:
        raise UsageError(
            f"these are scores of two models: {tuple(prefix.mean.shape)} heads and {tuple(signed.mean.shape)}"
        )
    for scores, wanted in ((prefix, {N1, N2}), (signed, {N1})):
        drawn = {null.name for null in scores.nulls} if scores is not None else wanted
        if missing := sorted(wanted - drawn):
            raise UsageError(
                f"classes need scores beside their nulls; {missing} are missing: score with draws > 0, on "
                "blocks of 3 tokens or more"
            )


def _at_least(prefix: HeadScores, above: Tensor, threshold: float) -> Bool[Tensor, "layer head"]:
    return (prefix.mean >= threshold) & torch.as_tensor(above)
