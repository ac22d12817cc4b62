"""What must hold for this model on this machine before any of its numbers is believed; `headscope doctor` prints it.

Each check compares two independent ways on a 16-token input. It runs on a few layers at every load and on all of them
in `doctor`. A failure names the layer and stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from einops import reduce
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp import hooks
from interp.attention.rows import AttentionRows, blocks
from interp.errors import HeadscopeError, SelfCheckError
from interp.model import HookedModel

LENGTH = 16


@dataclass(frozen=True)
class Check:
    """One thing that must hold: its name, whether it did, the largest difference, and what was looked at."""

    name: str
    passed: bool
    difference: float
    detail: str


def run_checks(model: HookedModel, *, every_layer: bool = False) -> Iterator[Check]:
    """All checks, one after the other."""
    tokens = _tokens(model)
    layers = model.attention_layers
    chosen = layers if every_layer else sorted({layers[0], layers[len(layers) // 2], layers[-1]})
    with torch.no_grad():
        plain = model(tokens)
        yield same_as_untouched(model, tokens, plain)
        yield looks_back_only(model, tokens, plain)
        yield rows_sum_to_one(model, tokens)
        if any(parameter.is_meta for parameter in model.hf.parameters()):
            yield Check("weights", True, 0.0, "weights are offloaded: checks that change weights were left out")
        else:
            for layer in chosen:
                yield head_gate_is_zeroed_weights(model, tokens, layer)
                yield ffn_gate_is_zeroed_weights(model, tokens, layer)
    for layer in chosen:
        with torch.no_grad():
            yield ffn_gate_is_linear(model, tokens, layer)
    yield gradient_is_finite_difference(model, tokens, chosen[len(chosen) // 2])


def verify(model: HookedModel) -> None:
    """Run the checks of a few layers; raise on the first that fails."""
    for check in run_checks(model):
        if not check.passed:
            raise SelfCheckError(
                f"self-check failed for {model.layout.architecture}: {check.name} ({check.detail}; largest difference "
                f"{check.difference:.3g}). Its numbers would not mean what they claim; `headscope doctor` shows all checks"
            )


def same_as_untouched(model: HookedModel, tokens: Int[Tensor, "batch query"], plain: Tensor) -> Check:
    """Logits with our attention function equal those with Hugging Face's own."""
    implementation = model.hf.config._attn_implementation
    heard: list[int] = []
    try:
        model.hf.set_attn_implementation("eager")
        untouched = model.hf(input_ids=tokens, use_cache=False).logits
    finally:
        model.hf.set_attn_implementation(implementation)
    with model.watch_attention(lambda layer, rows: heard.append(layer)):
        watched = model(tokens)
    difference = max(_relative(plain, untouched), _relative(watched, untouched))
    silent = sorted(set(model.attention_layers) - set(heard))
    detail = f"layers that were never heard: {silent}" if silent else "plain and watched against Hugging Face's eager"
    return Check("logits equal the untouched model's", difference < _tolerance(model) and not silent, difference, detail)


def looks_back_only(model: HookedModel, tokens: Int[Tensor, "batch query"], plain: Tensor) -> Check:
    """The last token changes nothing before it."""
    other = tokens.clone()
    other[:, -1] = tokens[:, 0]
    difference = _relative(model(other)[:, :-1], plain[:, :-1])
    return Check("the model looks back only", difference < _tolerance(model), difference, "last token exchanged")


def rows_sum_to_one(model: HookedModel, tokens: Int[Tensor, "batch query"]) -> Check:
    """Attention rows sum to 1, or below 1 where the family has a sink."""
    sums: dict[int, Tensor] = {}

    def add(layer: int, rows: AttentionRows) -> None:
        sums[layer] = torch.cat([reduce(p, "b h q k -> b h q", "sum") for _, _, p in blocks(rows)], -1)

    with model.watch_attention(add):
        model.run(tokens)
    sink = {layer for layer in sums if _has_sink(model, layer)}
    worst, where = 0.0, -1
    for layer, total in sums.items():
        off = (total - 1).clamp_min(0) if layer in sink else (total - 1).abs()
        if float(off.max()) >= worst:
            worst, where = float(off.max()), layer
    note = f"sinks in {len(sink)} layers, whose rows sum below 1; " if sink else ""
    limit = 1e-4 if model.dtype in (torch.float32, torch.float64) else 2e-2
    return Check("attention rows sum to 1", worst < limit, worst, f"{note}worst in layer {where}")


def _has_sink(model: HookedModel, layer: int) -> bool:
    module = model.layout.inner(model.hf, layer, model.layout.attn)
    return getattr(module, "sinks", None) is not None


def head_gate_is_zeroed_weights(model: HookedModel, tokens: Int[Tensor, "batch query"], layer: int) -> Check:
    """A gate of 0 on a head equals zeroing its rows of W_O."""
    head = layer % model.n_heads
    mask = torch.ones(model.n_layers, model.n_heads)
    mask[layer, head] = 0
    with model.gates(heads=mask):
        gated = model(tokens)
    module = model.o_module(layer)
    with _changed([module.weight], lambda: hooks.o_rows(module, model.n_heads)[head].zero_()):  # type: ignore[list-item]
        zeroed = model(tokens)
    difference = _relative(gated, zeroed)
    return Check("a head's gate of 0 = its W_O rows zeroed", difference < _tolerance(model), difference, f"{layer}.{head}")


def ffn_gate_is_zeroed_weights(model: HookedModel, tokens: Int[Tensor, "batch query"], layer: int) -> Check:
    """A gate of 0 on an FFN equals zeroing all its weights and biases."""
    name = "an FFN's gate of 0 = its weights zeroed"
    module = model.layout.inner(model.hf, layer, model.layout.ffn or model.layout.ffn_out)
    if module is None:
        return Check(name, True, 0.0, f"layer {layer} has no FFN")
    mask = torch.ones(model.n_layers)
    mask[layer] = 0
    with model.gates(ffns=mask):
        gated = model(tokens)
    weights = list(module.parameters())
    with _changed(weights, lambda: [weight.zero_() for weight in weights]):
        zeroed = model(tokens)
    difference = _relative(gated, zeroed)
    return Check(name, difference < _tolerance(model), difference, f"layer {layer}")


def ffn_gate_is_linear(model: HookedModel, tokens: Int[Tensor, "batch query"], layer: int) -> Check:
    """A gate of .5 takes half of what a gate of 0 takes: nothing rescales the contribution behind the gate."""
    name = "an FFN's gate of .5 = half its contribution"
    if model.layout.inner(model.hf, layer, model.layout.ffn_out) is None:
        return Check(name, True, 0.0, f"layer {layer} has no FFN")
    outputs = {}
    for value in (1.0, 0.5, 0.0):
        mask = torch.ones(model.n_layers)
        mask[layer] = value
        with model.gates(ffns=mask):
            outputs[value] = _after_addition(model, tokens, layer)
    whole, half = outputs[1.0] - outputs[0.0], outputs[1.0] - outputs[0.5]
    difference = float((half - whole / 2).norm() / whole.norm().clamp_min(1e-12))
    loose = 1e-3 if model.dtype in (torch.float32, torch.float64) else 5e-2
    return Check(name, difference < loose, difference, f"layer {layer}")


def _after_addition(model: HookedModel, tokens: Int[Tensor, "batch query"], layer: int) -> Float[Tensor, "..."]:
    """The residual stream right after the FFN was added: the block's output, or the post-norm's input."""
    seen: list[Tensor] = []
    if model.layout.post_norm:
        norm = model.layout.inner(model.hf, layer, model.layout.ln2)
        assert norm is not None
        handle = norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    else:
        block = model.layout.block(model.hf, layer)
        handle = block.register_forward_hook(
            lambda module, args, out: seen.append(out[0] if isinstance(out, tuple) else out)
        )
    try:
        model.run(tokens)
    finally:
        handle.remove()
    return seen[0].double()


def gradient_is_finite_difference(model: HookedModel, tokens: Int[Tensor, "batch query"], layer: int) -> Check:
    """The gradient of a gate equals the change of the loss when the gate moves.

    Smaller steps are tried where the first fails: in a mixture of experts a step may flip a router's choice, and the
    loss jumps there.
    """
    head = layer % model.n_heads
    ones = torch.ones(model.n_layers, model.n_heads, device=model.device)
    with torch.enable_grad():
        gate = ones.clone().requires_grad_()
        (slope,) = torch.autograd.grad(_gated_loss(model, tokens, gate), gate)
    precise = model.dtype in (torch.float32, torch.float64)
    difference, step = torch.inf, 1e-2
    for step in (1e-2, 3e-3, 1e-3):
        with torch.no_grad():
            shift = torch.zeros_like(ones)
            shift[layer, head] = step
            up, down = (_gated_loss(model, tokens, ones + sign * shift) for sign in (1, -1))
        measured = float(up - down) / (2 * step)
        difference = abs(float(slope[layer, head]) - measured)
        if difference < 0.05 * abs(measured) + (2e-4 if precise else 5e-2):
            return Check("a gate's gradient = a finite difference", True, difference, f"head {layer}.{head}, step {step}")
    return Check("a gate's gradient = a finite difference", False, difference, f"head {layer}.{head}, step {step}")


def _gated_loss(model: HookedModel, tokens: Int[Tensor, "batch query"], mask: Tensor) -> Tensor:
    with model.gates(heads=mask):
        logits = model(tokens).double()
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


@contextmanager
def _changed(weights: Iterable[Tensor], change: Callable[[], object]) -> Iterator[None]:
    """Change weights in place and put them back, whatever happens."""
    kept = [(weight, weight.detach().clone()) for weight in weights]
    try:
        change()
        yield
    finally:
        for weight, values in kept:
            weight.data.copy_(values)


def _tokens(model: HookedModel) -> Int[Tensor, "batch query"]:
    """16 token ids spread over the vocabulary."""
    length = min(LENGTH, model.max_length or LENGTH)
    if length < 2:
        raise HeadscopeError(f"a context of {length} tokens is too short to check anything")
    step = max(1, model.vocab_size // (length + 1))
    return (torch.arange(1, length + 1) * step).remainder(model.vocab_size)[None].to(model.device)


def _relative(a: Tensor, b: Tensor) -> float:
    """Largest difference, in units of the spread of the second."""
    spread = b.double().std().clamp_min(1e-12)
    return float((a.double() - b.double()).abs().max() / spread)


def _tolerance(model: HookedModel) -> float:
    return 1e-3 if model.dtype in (torch.float32, torch.float64) else 0.2
