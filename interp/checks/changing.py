"""Checks of what is changed: gates against zeroed weights, their gradient, runs resumed at a block."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp import hooks
from interp.checks.result import Check, changed, is_precise, relative, tolerance
from interp.errors import RefusedModelError
from interp.model import HookedModel
from interp.resume import resumed, stored_residuals

STEPS = (1e-2, 3e-3, 1e-3)


def head_gate_is_zeroed_weights(model: HookedModel, tokens: Int[Tensor, "batch query"], layer: int) -> Check:
    """A gate of 0 on a head equals zeroing its rows of W_O."""
    head = layer % model.n_heads
    mask = torch.ones(model.n_layers, model.n_heads)
    mask[layer, head] = 0
    with model.gates(heads=mask):
        gated = model(tokens)
    module = model.o_module(layer)
    with changed([module.get_parameter("weight")], lambda: hooks.o_rows(module, model.n_heads)[head].zero_()):
        zeroed = model(tokens)
    difference = relative(gated, zeroed)
    name = "a head's gate of 0 = its W_O rows zeroed"
    return Check(name, difference < tolerance(model), difference, f"{layer}.{head}")


def ffn_gate_is_zeroed_weights(model: HookedModel, tokens: Int[Tensor, "batch query"], layer: int) -> Check:
    """A gate of 0 on an FFN equals zeroing all its weights and biases."""
    name = "an FFN's gate of 0 = its weights zeroed"
    module = model.layout.inner(model.hf, layer, model.layout.ffn or model.layout.ffn_out)
    if module is None or layer not in model.ffn_layers:
        return Check(name, True, 0.0, f"layer {layer} has no FFN")
    mask = torch.ones(model.n_layers)
    mask[layer] = 0
    with model.gates(ffns=mask):
        gated = model(tokens)
    weights = list(module.parameters())
    with changed(weights, lambda: [weight.zero_() for weight in weights]):
        zeroed = model(tokens)
    difference = relative(gated, zeroed)
    return Check(name, difference < tolerance(model), difference, f"layer {layer}")


def ffn_gate_is_linear(model: HookedModel, tokens: Int[Tensor, "batch query"], layer: int) -> Check:
    """A gate of .5 takes half of what a gate of 0 takes: nothing rescales the contribution behind the gate."""
    name = "an FFN's gate of .5 = half its contribution"
    if layer not in model.ffn_layers:
        return Check(name, True, 0.0, f"layer {layer} has no FFN")
    outputs = {}
    for value in (1.0, 0.5, 0.0):
        mask = torch.ones(model.n_layers)
        mask[layer] = value
        with model.gates(ffns=mask):
            outputs[value] = _after_addition(model, tokens, layer)
    whole, half = outputs[1.0] - outputs[0.0], outputs[1.0] - outputs[0.5]
    difference = float((half - whole / 2).norm() / whole.norm().clamp_min(1e-12))
    return Check(name, difference < (1e-3 if is_precise(model) else 5e-2), difference, f"layer {layer}")


def _after_addition(model: HookedModel, tokens: Int[Tensor, "batch query"], layer: int) -> Float[Tensor, "..."]:
    """The residual stream right after the FFN was added: the block's output, or the post-norm's input."""
    seen: list[Tensor] = []
    block = model.layout.block(model.hf, layer)
    if model.layout.post_norm:
        norm = block.get_submodule(str(model.layout.ln2))
        handle = norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    else:
        handle = block.register_forward_hook(
            lambda module, args, out: seen.append(out[0] if isinstance(out, (tuple, list)) else out)
        )
    try:
        model.run(tokens)
    finally:
        handle.remove()
    return seen[0].double()


def gradient_is_finite_difference(model: HookedModel, tokens: Int[Tensor, "batch query"], layer: int) -> Check:
    """The gradient of a layer's gates equals the change of the loss when they move along it.

    Smaller steps are tried where the first fails: in a mixture of experts a step may flip a router's choice, and the
    loss jumps there.
    """
    name = "a gate's gradient = a finite difference"
    ones = torch.ones(model.n_layers, model.n_heads, device=model.device)
    with torch.enable_grad():
        gate = ones.clone().requires_grad_()
        loss = gated_loss(model, tokens, gate)
        (slope,) = torch.autograd.grad(loss, gate)
    expected = float(slope[layer].norm())
    direction = torch.zeros_like(ones)
    direction[layer] = slope[layer] / max(expected, 1e-12)
    noise = (1e-6 if is_precise(model) else 5e-3) * (1 + float(loss.detach()))
    difference, step = torch.inf, STEPS[0]
    for step in STEPS:
        with torch.no_grad():
            up, down = (gated_loss(model, tokens, ones + sign * step * direction) for sign in (1, -1))
        difference = abs(expected - float(up - down) / (2 * step))
        if difference < 0.05 * expected + noise / step:
            return Check(name, True, difference, f"layer {layer}: {expected:.3g}, step {step}")
    return Check(name, False, difference, f"layer {layer}: {expected:.3g}, step {step}")


def gated_loss(model: HookedModel, tokens: Int[Tensor, "batch query"], heads: Tensor) -> Float[Tensor, ""]:
    """Mean next-token loss with these head gates."""
    with model.gates(heads=heads):
        logits = model(tokens).double()
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def resumed_run_is_whole_run(model: HookedModel, tokens: Int[Tensor, "batch query"], layer: int) -> Check:
    """Starting at a block from the stored residual stream gives the logits of a whole run."""
    name = "a run resumed at a block = a whole run"
    try:
        with resumed(model, layer, stored_residuals(model, tokens)[layer]):
            logits = model(tokens)
    except RefusedModelError as refusal:
        return Check(name, True, 0.0, f"left out: {refusal}")
    difference = relative(logits, model(tokens))
    return Check(name, difference < tolerance(model), difference, f"block {layer}")
