"""Checks of what is changed: gates against zeroed weights, their gradient, runs resumed at a block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp import hooks
from interp.checks.result import Check, changed, is_precise, relative, tolerance
from interp.errors import RefusedModelError
from interp.masks import FFNMask, HeadMask
from interp.model import HookedModel
from interp.resume import resumed, stored_residuals

STEPS = (1e-2, 3e-3, 1e-3)


def head_gate_is_zeroed_weights(model: HookedModel, tokens: Int[Tensor, "batch query"], layers: Sequence[int]) -> Check:
    """A gate of 0 on a head (one in each of these layers) equals zeroing its rows of W_O."""
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
    return Check("a head's gate of 0 = its W_O rows zeroed", difference < tolerance(model), difference, told)


def ffn_gate_is_zeroed_weights(model: HookedModel, tokens: Int[Tensor, "batch query"], layers: Sequence[int]) -> Check:
    """A gate of 0 on the FFNs of these layers equals zeroing all their weights and biases."""
    name = "an FFN's gate of 0 = its weights zeroed"
    there = [layer for layer in layers if layer in model.ffn_layers]
    if not there:
        return Check(name, True, 0.0, f"no FFN in {_told(layers)}")
    with model.gates(ffns=FFNMask.keep_all(model.n_layers).without(there)):
        gated = model(tokens)
    inside = model.layout.ffn or model.layout.ffn_out
    weights = [w for layer in there for w in _there(model, layer, inside).parameters()]
    with changed(weights, lambda: [weight.zero_() for weight in weights]):
        zeroed = model(tokens)
    difference = relative(gated, zeroed)
    return Check(name, difference < tolerance(model), difference, _told(there))


def _there(model: HookedModel, layer: int, name: str | None) -> nn.Module:
    return model.layout.block(model.hf, layer).get_submodule(str(name))


def _told(layers: Sequence[int]) -> str:
    return f"layer {', '.join(map(str, layers))}"


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
        norm = _there(model, layer, model.layout.ln2)
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


def noise_in_a_head_moves_logits(
    model: HookedModel, tokens: Int[Tensor, "batch query"], plain: Tensor, layers: Sequence[int]
) -> Check:
    """Noise in place of a head's z at the last position (of one head in each of these layers, in turn) is seen there.

    A hook in a place that the model does not pass through would do nothing, and every effect of it would be 0. Heads
    that write nothing, as those that were pruned before, are left alone.
    """
    name = "noise in a head's z moves the logits"
    noise = torch.randn(1, model.d_value, generator=torch.Generator().manual_seed(0))
    moved = {}
    for layer in layers:
        writing = model.w_o(layer).abs().amax(dim=(-2, -1)).nonzero().flatten().tolist()
        if writing:
            with model.patched({(layer, writing[layer % len(writing)]): noise}, positions=[-1]):
                moved[layer] = relative(model(tokens)[:, -1], plain[:, -1])
    if not moved:
        return Check(name, True, 0.0, "no head of these layers writes anything")
    least = min(moved, key=lambda layer: moved[layer])
    seen = 0 < moved[least] < torch.inf
    detail = f"least in layer {least}: by {moved[least]:.2g} of their spread"
    return Check(name, seen, 0.0 if seen else torch.inf, detail)


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


def resumed_run_is_whole_run(
    model: HookedModel, tokens: Int[Tensor, "batch query"], plain: Tensor, layers: Sequence[int]
) -> Check:
    """Starting at one of these blocks from its stored residual stream gives the logits of a whole run."""
    name = "a run resumed at a block = a whole run"
    residuals = stored_residuals(model, tokens)
    differences = {}
    for layer in layers:
        try:
            with resumed(model, layer, residuals[layer]):
                differences[layer] = relative(model(tokens), plain)
        except RefusedModelError as refusal:
            return Check(name, True, 0.0, f"left out: {refusal}")
    worst = max(differences, key=lambda layer: differences[layer])
    return Check(name, differences[worst] < tolerance(model), differences[worst], f"block {worst}")
