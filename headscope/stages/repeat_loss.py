"""What repeats of random tokens are worth to a model with some heads removed: a check of the manipulation (Method 5).

Induction heads are chosen on repeats, so that this is no evidence about tasks: it says whether removing them does what
it should. Loss on the tokens with an earlier copy in sight, minus loss on the first block, in nats.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headscope.store.canonical import digest
from interp.masks import HeadMask

if TYPE_CHECKING:
    from headscope.store.units import UnitStore
    from induction import Candidates
    from interp.model import HookedModel

SEQUENCES, LENGTH = 8, 25


class RepeatLoss:
    """The mean over a few repeated sequences with heads removed by zero, as work units by mask."""

    def __init__(
        self, model: HookedModel, units: UnitStore, *, candidates: Candidates | None = None, seed: int = 0
    ) -> None:
        """candidates: the tokens that may be drawn; unset, what the model's tokenizer tells."""
        self.model, self.units, self.candidates, self.seed = model, units, candidates, seed

    @cached_property
    def sequences(self) -> Any:
        import induction

        drawn: dict[str, Any] = {"length": self.length, "sequences": SEQUENCES, "seed": self.seed}
        return induction.repeated_sequences(self.model, candidates=self.candidates, **drawn)

    @property
    def length(self) -> int:
        """Of a block; shorter where the model's context or its candidates allow less."""
        from induction.sequences import drawn_from, fitting_length

        pool = drawn_from(self.model, self.candidates, None)
        fitted = fitting_length(self.model, "quick", pool, most=LENGTH, twin=False)
        return fitted.length if fitted else LENGTH

    def __call__(self, mask: HeadMask) -> float:
        """With these heads removed."""
        removed = [list(head) for head in mask.removed()]
        drawn: dict[str, Any] = {"sequences": SEQUENCES, "length": self.length, "seed": self.seed}
        if self.candidates is not None:
            drawn["ids"] = digest(self.candidates.ids.tolist())
        key = {"what": "repeat_loss", "removed": removed, "ablation": ["zero", ""], **drawn}
        unit = self.units.get_or_compute(key, partial(_repeat, self.model, self.sequences, mask))
        return float(unit["repeat"][0])


def _repeat(model: HookedModel, sequences: Any, mask: HeadMask) -> dict[str, Tensor]:
    from induction.in_context import repeat_scores

    with model.gates(heads=mask):
        return {"repeat": torch.tensor([float(repeat_scores(model, sequences).double().mean())])}
