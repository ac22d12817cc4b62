"""Every family: gates are zeroed weights, gradients are finite differences, runs recompute and resume exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
import torch
from einops import reduce
from torch import Tensor, nn

from interp import HookedModel
from interp.recompute import recompute_blocks
from interp.resume import resumed, stored_residuals
from tests.interp.conftest import Family
from tests.interp.families import FAMILIES, POST_NORM, ROUTED, load, padded, random_tokens

TOKENS = random_tokens(batch=2, length=20)
SIDES = ("none", "left", "right")


@cache
def plain(model: HookedModel) -> tuple[Tensor, dict[int, Tensor]]:
    """Logits, and z of every layer, once a model."""
    with torch.no_grad():
        logits, found = model.run_with_cache(TOKENS, ["z"])
    return logits, {point.layer: value for point, value in found.items()}


def close(a: Tensor, b: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a.detach(), b.detach().to(a), atol=tolerance, rtol=0, check_stride=False)


# --- gates ------------------------------------------------------------------------------------------------------


@contextmanager
def zeroed(weights: list[Tensor]) -> Iterator[None]:
    kept = [weight.clone() for weight in weights]
    try:
        for weight in weights:
            weight.data.zero_()
        yield
    finally:
        for weight, values in zip(weights, kept, strict=True):
            weight.data.copy_(values)


def test_a_head_gate_of_0_is_its_rows_zeroed(family: Family) -> None:
    model = family.model
    for layer, head in ((layer, head) for layer in model.attention_layers for head in (0, 3)):
        mask = torch.ones(model.n_layers, model.n_heads)
        mask[layer, head] = 0
        with torch.no_grad(), model.gates(heads=mask):
            gated = model(TOKENS)
        module = model.layout.inner(family.hf, layer, model.layout.o)
        assert module is not None
        weight = module.get_parameter("weight")
        rows = weight if type(module).__name__ == "Conv1D" else weight.T
        width = model.d_value
        with zeroed([rows.data[head * width : (head + 1) * width]]):
            close(gated, family.untouched(TOKENS).logits)
        assert float((gated - plain(model)[0]).abs().max()) > 1e-4


def test_a_head_gate_of_a_half_is_half_its_result(family: Family) -> None:
    """z' = z / 2, seen where it enters the output projection."""
    model = family.model
    layer = model.attention_layers[-1]
    mask = torch.ones(model.n_layers, model.n_heads)
    mask[layer, 1] = 0.5
    with torch.no_grad(), model.gates(heads=mask):
        half = model.run_with_cache(TOKENS, [("z", layer)])[1]["z", layer]
    expected = plain(model)[1][layer].clone()
    expected[:, :, 1] /= 2
    close(half, expected)


def ffn_weights(family: Family, layer: int) -> list[Tensor]:
    layout = family.model.layout
    module = layout.inner(family.hf, layer, layout.ffn or layout.ffn_out)
    assert module is not None
    return list(module.parameters())


def test_an_ffn_gate_of_0_is_its_weights_and_biases_zeroed(family: Family) -> None:
    model = family.model
    for layer in range(model.n_layers):
        mask = torch.ones(model.n_layers)
        mask[layer] = 0
        with torch.no_grad(), model.gates(ffns=mask):
            gated = model(TOKENS)
        with zeroed(ffn_weights(family, layer)):
            close(gated, family.untouched(TOKENS).logits)
        assert float((gated - plain(model)[0]).abs().max()) > 1e-4


def test_an_ffn_gate_of_a_half_is_half_its_contribution(family: Family) -> None:
    model, layer = family.model, family.model.n_layers - 1
    place = "input of its norm" if family.name in POST_NORM else "output of the block"
    outputs = [after_ffn(model, layer, gate) for gate in (1.0, 0.5, 0.0)]
    assert float((outputs[0] - outputs[2]).abs().max()) > 1e-3, place
    close(outputs[0] - outputs[1], (outputs[0] - outputs[2]) / 2)


def after_ffn(model: HookedModel, layer: int, gate: float) -> Tensor:
    """The residual stream right after the FFN's contribution was added, under this gate."""
    mask = torch.ones(model.n_layers)
    mask[layer] = gate
    seen: list[Tensor] = []
    block = model.layout.block(model.hf, layer)
    place = block.get_submodule(str(model.layout.ln2)) if model.layout.post_norm else block
    with torch.no_grad(), model.gates(ffns=mask):
        if model.layout.post_norm:
            handle = place.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        else:
            handle = place.register_forward_hook(lambda module, args, out: seen.append(out))
        model.run(TOKENS)
    handle.remove()
    return seen[0] if isinstance(seen[0], Tensor) else seen[0][0]


# --- gradients -----------------------------------------------------------------------------------------------------


def loss_of(model: HookedModel) -> Tensor:
    logits = model(TOKENS).double()
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())


STEPS = (1e-2, 1e-3, 1e-4, 1e-5)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_gate_gradients_are_finite_differences(name: str) -> None:
    """Several steps, the best counts: large ones cross kinks (ReLU, clipping, a router's choice), small ones round."""
    dtype = torch.float32 if name in ROUTED else torch.float64  # grouped products do not exist in float64
    model = load(name, dtype=dtype)
    heads = torch.ones(model.n_layers, model.n_heads, dtype=dtype, requires_grad=True)
    ffns = torch.ones(model.n_layers, dtype=dtype, requires_grad=True)
    with model.gates(heads=heads, ffns=ffns):
        loss_of(model).backward()
    assert heads.grad is not None and ffns.grad is not None
    for layer in model.attention_layers[:1]:
        compare_with_differences(model, "heads", heads.grad, (layer, 1))
    for layer in range(model.n_layers):
        compare_with_differences(model, "ffns", ffns.grad, (layer,))


def compare_with_differences(model: HookedModel, which: str, gradient: Tensor, place: tuple[int, ...]) -> None:
    def loss(step: float) -> float:
        mask = torch.ones_like(gradient)
        mask[place] += step
        with torch.no_grad(), model.gates(**{which: mask}):
            return float(loss_of(model))

    scale = float(gradient.abs().max())
    measured = [(loss(step) - loss(-step)) / (2 * step) for step in STEPS]
    assert scale > 1e-4
    assert min(abs(value - float(gradient[place])) for value in measured) < 2e-3 * scale, (which, place, measured)


def test_z_times_its_gradient_is_the_gate_gradient(family: Family) -> None:
    model = family.model
    gate = torch.ones(model.n_layers, model.n_heads, requires_grad=True)
    with model.gates(heads=gate):
        loss_of(model).backward()
    with model.gradients() as found:
        loss_of(model).backward()
    assert gate.grad is not None and sorted(found.z) == list(model.attention_layers)
    for layer in model.attention_layers:
        product = reduce(found.z[layer] * found.z_grad[layer], "b q h d -> h", "sum")
        close(product, gate.grad[layer], 1e-6)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in model.hf.parameters())


def test_recomputed_blocks_give_the_same_gradients(family: Family) -> None:
    model = family.model
    with model.gradients() as first:
        loss_of(model).backward()
    with recompute_blocks(model), model.gradients() as again:
        loss_of(model).backward()
    for layer in model.attention_layers:
        assert torch.equal(first.z[layer], again.z[layer])
        assert torch.equal(first.z_grad[layer], again.z_grad[layer])
    assert all("forward" not in vars(model.layout.block(model.hf, n)) for n in range(model.n_layers))


# --- resuming -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", SIDES)
def test_a_run_resumed_at_any_block_is_the_whole_run(family: Family, side: str) -> None:
    model = family.model
    tokens, mask = padded(TOKENS, side)
    residuals = stored_residuals(model, tokens, mask)
    with torch.no_grad():
        whole = model(tokens, mask)
        for layer, residual in enumerate(residuals):
            with resumed(model, layer, residual):
                close(model(tokens, mask), whole, 1e-6)
        with resumed(model, 1, residuals[1] * 0):
            assert float((model(tokens, mask) - whole).abs().max()) > 1e-2, "the residual put in makes no difference"
        close(model(tokens, mask), whole, 1e-6)
