"""What must hold for this model on this machine before any of its numbers is believed; `headscope doctor` prints it.

Each check compares two independent ways on a 16-token input (checks/). They run on a few layers at every load and on
all of them in `doctor`. A failure names the layer and stops.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from interp.checks import changing, reading, thresholds
from interp.checks.result import Check, short_input
from interp.errors import SelfCheckError
from interp.model import HookedModel
from interp.offload import is_offloaded

__all__ = ["Check", "run_checks", "verify"]


def run_checks(model: HookedModel, *, every_layer: bool = False) -> Iterator[Check]:
    """All checks, one after the other."""
    tokens = short_input(model)
    with torch.no_grad():
        plain = model(tokens)
        finite = reading.logits_are_finite(plain)
        yield finite
        if not finite.passed:  # nothing else could be told from them
            return
        yield reading.same_as_untouched(model, tokens, plain)
        yield reading.looks_back_only(model, tokens, plain)
        yield reading.padding_changes_nothing(model, tokens, plain)
        yield reading.rows_sum_to_one(model, tokens)
        yield thresholds.same_beyond_thresholds(model, tokens, plain)
    layers = model.attention_layers
    few = sorted({layers[0], layers[len(layers) // 2], layers[-1]})
    groups = [(layer,) for layer in layers] if every_layer else [tuple(few)]
    for group in groups:
        yield from _changes(model, tokens, plain, group)


def _changes(model: HookedModel, tokens: Tensor, plain: Tensor, layers: tuple[int, ...]) -> Iterator[Check]:
    """Checks of gates and resumed runs: of these layers together, or of the one in their middle."""
    middle = layers[len(layers) // 2]
    with torch.no_grad():
        yield reading.parts_add_up(model, tokens, layers)
        if is_offloaded(model.hf):
            left_out = "left out: NaN in each weight, projections and gates against weights"
            yield Check("weights in memory", True, 0.0, f"no, they are offloaded; {left_out}")
        else:
            yield reading.projections_are_their_weights(model, layers)
            yield changing.head_gate_is_zeroed_weights(model, tokens, layers)
            yield changing.ffn_gate_is_zeroed_weights(model, tokens, layers)
        yield changing.ffn_gate_is_linear(model, tokens, middle)
        yield changing.noise_in_a_head_moves_logits(model, tokens, plain, layers)
        yield changing.resumed_run_is_whole_run(model, tokens, plain, (middle,))
    yield changing.gradient_is_finite_difference(model, tokens, middle)


def verify(model: HookedModel) -> None:
    """Run the checks of a few layers; raise on the first that fails."""
    for check in run_checks(model):
        if not check.passed:
            raise SelfCheckError(
                f"self-check failed for {model.layout.architecture}: {check.name} ({check.detail}; largest difference "
                f"{check.difference:.3g}). Its numbers would not mean what they claim; `headscope doctor` shows all "
                "checks"
            )
