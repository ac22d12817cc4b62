"""The running check of importance: of the first document and every thousandth, by plain runs.

The log-likelihood is computed again by itself, and the gradient of the loss by all gates together has to be what the
loss does when the gates move a little along it. Where a step is rounded away (half precision), where a token may be
sent to other experts, where the scale of a norm is held fixed, which no run does, and where every run reads the weights
from disk, only the log-likelihood is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ablation.engine.prefix_plan import Request
from ablation.engine.sharing import plain_log_likelihood
from ablation.names import GRADIENT_RECHECKED, RECHECKED
from ablation.outcomes import Choices
from ablation.replacement import Placement, Replacement
from interp.checks.choices import has_experts
from interp.checks.result import is_precise
from interp.errors import HeadscopeError
from interp.offload import is_offloaded
from interp.rechecks import refuse_unlike

if TYPE_CHECKING:
    from interp.model import HookedModel

STEPS = (1e-2, 3e-3, 1e-3)  # larger ones first: small ones drown in rounding
ROUNDING = {torch.float64: 1e-11, torch.float32: 2e-6}  # of a log-likelihood, as a share of it and of the logits
LOGITS = 10.0  # their size: a short answer's log-likelihood is rounded as they are
SHARE = 0.05  # of the slope: what curves
TELLING = 4.0  # times what rounds away: a smaller change of the loss says nothing


def recheck_document(
    model: HookedModel,
    document: Any,
    log_likelihood: float,
    slope: Float[Tensor, "layer head"],
    *,
    choices: Choices | None = None,
    replacement: Replacement | None = None,
    frozen_norm: bool = False,
) -> None:
    """Raise HeadscopeError where plain runs give another log-likelihood, or a loss that does not follow the gradient.

    choices: the document's, for a loss that is -choice; without them it is the mean of -log p over its target.
    slope: the gradient by every head's gate; a head that does not exist is NaN.
    """
    plain = _PlainRuns(model, document, choices, replacement)
    again = plain.run(torch.ones_like(slope))
    what = f"the log-likelihood of document {document.id}"
    refuse_unlike(model, what, log_likelihood, again.log_likelihood, way="where its gradient is taken")
    if follows(model, frozen_norm=frozen_norm):
        _refuse_unlike_slope(plain, slope.double().nan_to_num(), ROUNDING[model.dtype] * (LOGITS + again.size))


def follows(model: HookedModel, *, frozen_norm: bool) -> bool:
    """Whether a small step of the gates can be told to follow the gradient."""
    return is_precise(model) and not frozen_norm and not has_experts(model) and not is_offloaded(model.hf)


def told_of(model: HookedModel, *, frozen_norm: bool) -> str:
    """What the manifest says when all has run."""
    return f"{RECHECKED}; {GRADIENT_RECHECKED}" if follows(model, frozen_norm=frozen_norm) else RECHECKED


class _Plain(NamedTuple):
    """What plain runs give; size: of the largest log-likelihood among them."""

    loss: float
    log_likelihood: float
    size: float


@dataclass(frozen=True)
class _PlainRuns:
    """A document whose choices, or whose target, run by themselves."""

    model: HookedModel
    document: Any
    choices: Choices | None
    replacement: Replacement | None

    def run(self, heads: Float[Tensor, "layer head"]) -> _Plain:
        """Under these gates."""
        document, found = self.document, []
        pairs = [(document.context, document.target)]
        if self.choices is not None:
            pairs = list(zip(document.contexts, document.choices, strict=True))
        for context, continuation in pairs:
            request = Request(tuple(context), tuple(continuation))
            with self.model.gates(heads=heads, reference=self._reference(request)):
                found.append(plain_log_likelihood(self.model, request))
        row = torch.stack(found)
        size = float(row.abs().max())
        if self.choices is None:
            return _Plain(float(-row[0] / len(document.target)), float(row[0]), size)
        loss, log_likelihood = (float(self.choices.values(name, row[None])[0]) for name in ("choice", "sum"))
        return _Plain(-loss, log_likelihood, size)

    def _reference(self, request: Request) -> Any:
        if self.replacement is None:
            return None
        whole = Placement.whole([self.document.id], [len(request.context)], len(request.ids) - 1)
        return self.replacement.placed(whole)


def _refuse_unlike_slope(plain: _PlainRuns, slope: Float[Tensor, "layer head"], rounding: float) -> None:
    expected, found = float(slope.norm()), []
    for step in (step for step in STEPS if step * expected > TELLING * rounding):
        up, down = (plain.run((1 + sign * step * slope / expected).float()).loss for sign in (1, -1))
        found.append((up - down) / (2 * step))
        if abs(found[-1] - expected) <= SHARE * expected + rounding / step:
            return
    if found:
        raise HeadscopeError(
            f"the loss on document {plain.document.id} changes by {found[-1]:.6g} along the gradient of all gates, "
            f"which says {expected:.6g}: no importance computed here can be trusted. Please report it, with the model "
            "and its family; run `headscope doctor`"
        )
