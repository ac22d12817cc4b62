"""What must hold for this model on this machine before any of its numbers is believed; `headscope doctor` prints it.

Each check compares two independent ways on a 16-token input (checks/). They run on a few layers at every load and on
all of them in `doctor`. A failure names the layer and stops.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from interp.checks import changing, reading, thresholds
from interp.checks.rest import Rest, at_rest
from interp.checks.result import Check
from interp.errors import SelfCheckError, UsageError
from interp.levels import LEVELS, Level
from interp.model import HookedModel
from interp.offload import is_offloaded

__all__ = ["LEVELS", "Check", "Level", "level_named", "run_checks", "verify"]


def run_checks(model: HookedModel, *, every_layer: bool = False) -> Iterator[Check]:
    """All checks, one after the other."""
    with torch.no_grad():
        rest = at_rest(model)
        finite = reading.logits_are_finite(rest.plain)
        yield finite
        if not finite.passed:  # nothing else could be told from them
            return
        yield reading.same_as_untouched(rest)
        yield reading.looks_back_only(rest)
        yield reading.padding_changes_nothing(rest)
        yield reading.rows_sum_to_one(rest)
        yield thresholds.same_beyond_thresholds(rest)
    layers = model.attention_layers
    few = sorted({layers[0], layers[len(layers) // 2], layers[-1]})
    groups = [(layer,) for layer in layers] if every_layer else [tuple(few)]
    for group in groups:
        yield from _changes(rest, group)


WHOLE_MODEL, A_GROUP, OF_WEIGHTS = 6, 8, 3  # how many checks run_checks makes


def number_of_checks(model: HookedModel, *, every_layer: bool = False) -> int:
    """How many run_checks makes, where the logits are finite; of offloaded weights one says what is left out."""
    a_group = A_GROUP - OF_WEIGHTS + 1 if is_offloaded(model.hf) else A_GROUP
    return WHOLE_MODEL + a_group * (len(model.attention_layers) if every_layer else 1)


def _changes(rest: Rest, layers: tuple[int, ...]) -> Iterator[Check]:
    """Checks of gates and resumed runs: of these layers together, or of the one in their middle."""
    middle = layers[len(layers) // 2]
    with torch.no_grad():
        yield reading.parts_add_up(rest, layers)
        if is_offloaded(rest.model.hf):
            left_out = "left out: NaN in each weight, projections and gates against weights"
            yield Check("weights in memory", True, 0.0, f"no, they are offloaded; {left_out}")
        else:
            yield reading.projections_are_their_weights(rest, layers)
            yield changing.head_gate_is_zeroed_weights(rest, layers)
            yield changing.ffn_gate_is_zeroed_weights(rest, layers)
        yield changing.ffn_gate_is_linear(rest, middle)
        yield changing.noise_in_a_head_moves_logits(rest, layers)
        yield changing.resumed_run_is_whole_run(rest, (middle,))
    yield changing.gradient_is_finite_difference(rest, (middle, *(layer for layer in layers if layer != middle)))


def verify(model: HookedModel, level: Level = "default") -> None:
    """Run the checks and raise SelfCheckError on the first that fails.

    level: `default` takes three layers together, `strict` every layer alone, as `headscope doctor` does; `off` none.
    """
    if level == "off":
        return
    for check in run_checks(model, every_layer=level == "strict"):
        if not check.passed:
            raise SelfCheckError(
                f"self-check failed for {model.layout.architecture}: {check.name} ({check.detail}; largest difference "
                f"{check.difference:.3g}). Its numbers would not mean what they claim; `headscope doctor` shows all "
                "checks"
            )


def level_named(check: bool | str) -> Level:
    """The level that is meant: True and False are `default` and `off`. Raises UsageError for any other name."""
    named = ("default" if check else "off") if isinstance(check, bool) else check
    if named not in LEVELS:
        raise UsageError(f"check must be one of {', '.join(LEVELS)}, got {check!r}")
    return named
