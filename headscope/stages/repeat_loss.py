"""The causal check's manipulation check: what repeats are worth to a model without some heads (METHODS 5).

Heads are chosen on repeated random tokens, so that this says that the removal worked, and nothing about tasks.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from headscope.stages.evaluation import Ablated
    from headscope.store.units import UnitStore
    from interp.masks import HeadMask
    from interp.model import HookedModel

SEQUENCES, LENGTH = 8, 25


class RepeatLoss:
    """Loss with an earlier copy in sight minus loss on the first block, in nats, as work units by mask."""

    def __init__(self, model: HookedModel, units: UnitStore, *, seed: int = 0) -> None:
        self.model, self.units, self.seed = model, units, seed

    @cached_property
    def sequences(self) -> Any:
        import induction

        return induction.repeated_sequences(self.model, length=LENGTH, sequences=SEQUENCES, seed=self.seed)

    def __call__(self, mask: HeadMask, how: Ablated) -> float:
        """The mean over sequences with these heads removed."""
        removed = [list(head) for head in mask.removed()]
        drawn = {"sequences": SEQUENCES, "length": LENGTH, "seed": self.seed}
        key = {"what": "repeat_loss", "removed": removed, "ablation": [how.name, how.told], **drawn}
        unit = self.units.get_or_compute(key, lambda: {"repeat": torch.tensor([self._run(mask, how)])})
        return float(unit["repeat"][0])

    def _run(self, mask: HeadMask, how: Ablated) -> float:
        from induction.in_context import repeat_scores

        reference: Any = how.make()  # None, or means, which know whole sequences
        with self.model.gates(heads=mask, reference=reference):
            return float(repeat_scores(self.model, self.sequences).double().mean())
