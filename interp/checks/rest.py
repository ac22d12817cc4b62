"""The model at rest on the short input: what the checks compare with, and how far apart two ways may be.

A fixed limit is too wide for a shallow model in bfloat16 and too narrow for one of 80 layers. So where rounding is not
negligible it is measured: every block's input is shaken by what the dtype rounds away, and the logits move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp import hooks
from interp.checks.choices import Noted, held, noted
from interp.checks.result import is_precise, relative, short_input

if TYPE_CHECKING:
    from interp.model import HookedModel

PRECISE = 1e-3  # float32 and float64
LOSS_PRECISE = 1e-6
DRAWS = 2
MARGIN = 2.0


@dataclass(frozen=True, eq=False)
class Rest:
    """plain: logits. choices: of the experts.

    limit: largest difference of logits, in units of their spread, that is nothing but rounding; loss_limit: the same of
    the mean next-token loss, in nats.
    """

    model: HookedModel
    tokens: Int[Tensor, "batch query"]
    plain: Float[Tensor, "batch query vocab"]
    choices: Noted
    limit: float
    loss_limit: float


@torch.no_grad()
def at_rest(model: HookedModel) -> Rest:
    """Run the model on the short input, and measure what its dtype rounds away."""
    tokens = short_input(model)
    with noted(model) as choices:
        plain = model(tokens)
    loss = next_token_loss(plain, tokens)
    limits, loss_limits = [PRECISE], [LOSS_PRECISE * (1 + float(loss))]
    for draw in range(0 if is_precise(model) else DRAWS):
        with shaken(model, draw), held(model, choices):
            moved = model(tokens)
        limits.append(MARGIN * relative(moved, plain))
        loss_limits.append(MARGIN * float((next_token_loss(moved, tokens) - loss).abs()))
    return Rest(model, tokens, plain, choices, max(limits), max(loss_limits))


@torch.no_grad()
def rounded_away(model: HookedModel, read: Callable[[], Tensor], plain: Tensor) -> float:
    """The largest difference to `plain`, which is what `read` gives, that is nothing but rounding."""
    limits = [PRECISE]
    for draw in range(0 if is_precise(model) else DRAWS):
        with shaken(model, draw):
            limits.append(MARGIN * float((read() - plain).abs().max()))
    return max(limits)


def next_token_loss(
    logits: Float[Tensor, "batch query vocab"], tokens: Int[Tensor, "batch query"]
) -> Float[Tensor, ""]:
    """The mean over all positions but the last, in float64."""
    return nn.functional.cross_entropy(logits[:, :-1].double().flatten(0, 1), tokens[:, 1:].flatten())


@contextmanager
def shaken(model: HookedModel, draw: int) -> Iterator[None]:
    """Every block's input times 1 + eps u, u uniform in [-1, 1]."""
    generator = torch.Generator().manual_seed(draw)
    eps = torch.finfo(model.dtype).eps

    def shake(stream: Tensor) -> Tensor:
        u = 2 * torch.rand(stream.shape, generator=generator, dtype=torch.float64) - 1
        return (stream.double() * (1 + eps * u.to(stream.device))).to(stream.dtype)

    with ExitStack() as stack:
        for layer in range(model.n_layers):
            stack.enter_context(hooks.edit(model, hooks.Point("resid_pre", layer), shake))
        yield
