"""Checks of what is changed: gates against zeroed weights, their gradient, runs resumed at a block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp import hooks
from interp.checks.choices import has_experts, held
from interp.checks.rest import PRECISE, Rest, next_token_loss
from interp.checks.result import Check, changed, is_precise, relative
from interp.errors import RefusedModelError
from interp.masks import FFNMask, HeadMask
from interp.model import HookedModel
from interp.resume import resumed, stored_residuals

STEPS = (1e-2, 3e-3, 1e-3)
COARSE_STEPS = (1.0, 0.5, 0.3, 0.1, 3e-2)  # half precision rounds the change by smaller ones away
TELLING = 4.0  # times what rounds away: a smaller change of the loss says nothing
MOST_DOUBLINGS = 20


def head_gate_is_zeroed_weights(rest: Rest, layers: Sequence[int]) -> Check:
    """A gate of 0 on a head (one in each of these layers) equals zeroing its rows of W_O."""
    model, tokens = rest.model, rest.tokens
    heads = [(layer, layer % model.n_heads) for layer in layers]
    with model.gates(heads=HeadMask.keep_all(model.n_layers, model.n_heads).without(heads)):
        gated = model(tokens)
    modules = [model.o_module(layer) for layer in layers]

    def zero() -> None:
        for module, (_, head) in zip(modules, heads, strict=True):
            hooks.o_rows(module, model.n_heads)[head].zero_()

    with changed([module.get_parameter("weight") for module in modules], zero):
        zeroed = model(tokens)
    difference = relative(gated, zeroed)
    told = ", ".join(f"{layer}.{head}" for layer, head in heads)
    return Check("a head's gate of 0 = its W_O rows zeroed", difference < rest.limit, difference, told)


def ffn_gate_is_zeroed_weights(rest: Rest, layers: Sequence[int]) -> Check:
    """A gate of 0 on the FFNs of these layers equals zeroing all their weights and biases."""
    model, tokens, name = rest.model, rest.tokens, "an FFN's gate of 0 = its weights zeroed"
    there = [layer for layer in layers if layer in model.ffn_layers]
    if not there:
        return Check(name, True, 0.0, f"no FFN in {_told(layers)}")
    with model.gates(ffns=FFNMask.keep_all(model.n_layers).without(there)):
        gated = model(tokens)
    modules = [module for layer in there for module in model.layout.ffn_modules(model.hf, layer)]
    weights = list({id(weight): weight for module in modules for weight in module.parameters()}.values())
    with changed(weights, lambda: [weight.zero_() for weight in weights]):
        zeroed = model(tokens)
    difference = relative(gated, zeroed)
    return Check(name, difference < rest.limit, difference, _told(there))


def _there(model: HookedModel, layer: int, name: str | None) -> nn.Module:
    return model.layout.block(model.hf, layer).get_submodule(str(name))


def _told(layers: Sequence[int]) -> str:
    return f"layer {', '.join(map(str, layers))}"


def ffn_gate_is_linear(rest: Rest, layer: int) -> Check:
    """A gate of g / 2 takes half of what a gate of g adds: nothing rescales the contribution behind the gate.

    g is as large as it takes for the contribution to stand out of the stream it is added to, which rounds small ones
    away (trained and deep models in bfloat16).
    """
    model, name = rest.model, "an FFN's gate of .5 = half its contribution"
    if layer not in model.ffn_layers:
        return Check(name, True, 0.0, f"layer {layer} has no FFN")
    without = _after_addition(rest, layer, 0.0)
    small = (_after_addition(rest, layer, 1.0) - without).norm()
    ratio = float(without.norm() / small.clamp_min(1e-12))
    gate = 2.0 ** min(max(math.ceil(math.log2(max(ratio, 1.0))) + 1, 0), MOST_DOUBLINGS)
    whole, half = (_after_addition(rest, layer, g) - without for g in (gate, gate / 2))
    difference = float((half - whole / 2).norm() / whole.norm().clamp_min(1e-12))
    limit = PRECISE if is_precise(model) else 5e-2
    return Check(name, difference < limit, difference, f"layer {layer}, gates of {gate:g} and {gate / 2:g}")


def _after_addition(rest: Rest, layer: int, gate: float) -> Float[Tensor, "..."]:
    """The residual stream right after the gated FFN was added: the block's output, or the post-norm's input."""
    model, seen = rest.model, []
    mask = torch.ones(model.n_layers)
    mask[layer] = gate
    with ExitStack() as stack:
        stack.enter_context(model.gates(ffns=mask))
        if model.layout.post_norm:
            norm = _there(model, layer, model.layout.ln2)
            handle = norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        else:
            handle = model.layout.block(model.hf, layer).register_forward_hook(
                lambda module, args, out: seen.append(out[0] if isinstance(out, (tuple, list)) else out)
            )
        stack.callback(handle.remove)
        model.run(rest.tokens)
    return seen[0].double()


def noise_in_a_head_moves_logits(rest: Rest, layers: Sequence[int]) -> Check:
    """Noise in place of a head's z at the last position (of one head in each of these layers, in turn) is seen there.

    A hook in a place that the model does not pass through would do nothing, and every effect of it would be 0. Heads
    that write nothing, as those that were pruned before, are left alone.
    """
    model, name = rest.model, "noise in a head's z moves the logits"
    noise = torch.randn(1, model.d_value, generator=torch.Generator().manual_seed(0))
    moved = {}
    for layer in layers:
        writing = model.w_o(layer).abs().amax(dim=(-2, -1)).nonzero().flatten().tolist()
        if writing:
            with model.patched({(layer, writing[layer % len(writing)]): noise}, positions=[-1]):
                moved[layer] = relative(model(rest.tokens)[:, -1], rest.plain[:, -1])
    if not moved:
        return Check(name, True, 0.0, "no head of these layers writes anything")
    least = min(moved, key=lambda layer: moved[layer])
    seen = 0 < moved[least] < torch.inf
    detail = f"least in layer {least}: by {moved[least]:.2g} of their spread"
    return Check(name, seen, 0.0 if seen else torch.inf, detail)


def gradient_is_finite_difference(rest: Rest, layers: Sequence[int]) -> Check:
    """The gradient of a layer's gates equals the change of the loss when they move along it, experts held.

    All must pass. With routed experts only most of them, or the first: a router that can't be held may flip in one
    layer, and the loss jumps there.
    """
    slope, routed = _slope(rest), has_experts(rest.model)
    found = [_gradient_of(rest, slope, layers[0])]
    if not (routed and found[0].passed):
        found += [_gradient_of(rest, slope, layer) for layer in layers[1:]]
    passed = sum(check.passed for check in found)
    worst = max(found, key=lambda check: (not check.passed, check.difference))
    return replace(worst, passed=2 * passed > len(found) if routed else passed == len(found))


def _slope(rest: Rest) -> Float[Tensor, "layer head"]:
    """The gradient of the loss by every head's gate."""
    model = rest.model
    with torch.enable_grad(), held(model, rest.choices):
        gate = torch.ones(model.n_layers, model.n_heads, device=model.device).requires_grad_()
        (slope,) = torch.autograd.grad(gated_loss(model, rest.tokens, gate), gate)
    return slope


def _gradient_of(rest: Rest, slope: Float[Tensor, "layer head"], layer: int) -> Check:
    """Larger steps first: small ones drown in rounding."""
    model, name = rest.model, "a gate's gradient = a finite difference"
    ones = torch.ones_like(slope)
    expected = float(slope[layer].norm())
    direction = torch.zeros_like(ones)
    direction[layer] = slope[layer] / max(expected, 1e-12)
    steps = STEPS if is_precise(model) else COARSE_STEPS
    difference, step = torch.inf, 0.0
    for step in [step for step in steps if step * expected > TELLING * rest.loss_limit] or steps[:1]:
        with torch.no_grad(), held(model, rest.choices):
            up, down = (gated_loss(model, rest.tokens, ones + sign * step * direction) for sign in (1, -1))
        difference = abs(expected - float(up - down) / (2 * step))
        if difference < 0.05 * expected + rest.loss_limit / step:
            return Check(name, True, difference, f"layer {layer}: {expected:.3g}, step {step}")
    return Check(name, False, difference, f"layer {layer}: {expected:.3g}, step {step}")


def gated_loss(
    model: HookedModel, tokens: Int[Tensor, "batch query"], heads: Float[Tensor, "layer head"]
) -> Float[Tensor, ""]:
    """Mean next-token loss with these head gates."""
    with model.gates(heads=heads):
        return next_token_loss(model(tokens), tokens)


def resumed_run_is_whole_run(rest: Rest, layers: Sequence[int]) -> Check:
    """Starting at one of these blocks from its stored residual stream gives the logits of a whole run."""
    model, name = rest.model, "a run resumed at a block = a whole run"
    residuals = stored_residuals(model, rest.tokens)
    differences = {}
    for layer in layers:
        try:
            with resumed(model, layer, residuals[layer]), held(model, rest.choices):
                differences[layer] = relative(model(rest.tokens), rest.plain)
        except RefusedModelError as refusal:
            return Check(name, True, 0.0, f"left out: {refusal}")
    worst = max(differences, key=lambda layer: differences[layer])
    return Check(name, differences[worst] < rest.limit, differences[worst], f"block {worst}")
