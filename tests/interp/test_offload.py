"""Bigger than memory: weights on disk give the same numbers, and the checks say what they left out."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import torch

import interp
from interp import HookedModel
from interp.architecture import linear_weight
from interp.errors import RefusedModelError
from interp.norms import probe
from interp.offload import in_memory, is_offloaded, main_device
from interp.recompute import recompute_blocks
from interp.resume import resumed, stored_residuals
from interp.selfcheck import run_checks
from tests.interp.families import random_tokens
from tests.interp.saved import save

TOKENS = random_tokens(batch=2, length=12)
FAMILIES = ("llama", "opt", "gpt2")


@pytest.fixture(scope="module", params=FAMILIES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[HookedModel, HookedModel]:
    """The same model in memory, and with what does not fit into 40 kB on disk."""
    folder = save(tmp_path_factory.mktemp("saved") / request.param, request.param)
    room = {"cpu": 60_000 if request.param == "llama" else 40_000}
    offload = tmp_path_factory.mktemp("offloaded")
    outside = interp.load_model(folder, device="auto", max_memory=room, offload_folder=offload, check=False)
    return interp.load_model(folder, check=False), outside  # all checks are run below


def test_weights_are_on_disk_and_the_numbers_are_the_same(both: tuple[HookedModel, HookedModel]) -> None:
    inside, outside = both
    assert is_offloaded(outside.hf) and not is_offloaded(inside.hf)
    assert outside.device == torch.device("cpu") == main_device(outside.hf)
    assert torch.equal(inside(TOKENS), outside(TOKENS))
    sizes = ("n_layers", "n_heads", "n_kv_heads", "d_head", "d_value", "d_model", "vocab_size", "route")
    assert [getattr(inside, name) for name in sizes] == [getattr(outside, name) for name in sizes]
    places = ["z", "pattern", "mlp_out", "resid_post", "q", "v"]
    mine, theirs = (model.run_with_cache(TOKENS, places)[1] for model in both)
    assert all(torch.equal(mine[point], theirs[point]) for point in mine)
    assert is_offloaded(outside.hf)


def test_checks_run_and_say_what_was_left_out(both: tuple[HookedModel, HookedModel]) -> None:
    checks = {check.name: check for check in run_checks(both[1], every_layer=True)}
    assert all(check.passed for check in checks.values())
    assert "left out: NaN in each weight, projections and gates against weights" in checks["weights in memory"].detail
    assert "a head's gate of 0 = its W_O rows zeroed" not in checks
    assert {"padding changes nothing", "a gate's gradient = a finite difference"} <= set(checks)


def test_gates_and_gradients_stream_through_recomputed_blocks(both: tuple[HookedModel, HookedModel]) -> None:
    found = []
    for model in both:
        with recompute_blocks(model), model.gradients() as gradients:
            model(TOKENS).log_softmax(-1)[:, :, 5].sum().backward()
        gate = torch.ones(2, 4, requires_grad=True)
        with recompute_blocks(model), model.gates(heads=gate):
            model(TOKENS).log_softmax(-1)[:, :, 5].sum().backward()
        found.append((gradients.z_grad[0], gradients.z_grad[1], gate.grad))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(*found, strict=True))
    assert is_offloaded(both[1].hf)


def test_recomputed_gate_gradients_are_the_plain_ones(both: tuple[HookedModel, HookedModel]) -> None:
    plain, again = (torch.ones(2, 4, requires_grad=True) for _ in range(2))
    with both[0].gates(heads=plain):
        both[0](TOKENS).square().mean().backward()
    with recompute_blocks(both[0]), both[0].gates(heads=again):
        both[0](TOKENS).square().mean().backward()
    assert plain.grad is not None and again.grad is not None and torch.equal(plain.grad, again.grad)


def test_blocks_forget_and_run_again_one_at_a_time(both: tuple[HookedModel, HookedModel]) -> None:
    """Forward without a graph, backward from the last block to the first: no two blocks' graphs exist together."""
    seen: list[tuple[int, bool]] = []
    with ExitStack() as stack:
        for layer in range(2):
            note = partial(lambda layer, z: seen.append((layer, torch.is_grad_enabled())), layer)
            stack.enter_context(both[1].edit(("z", layer), note))
        stack.enter_context(recompute_blocks(both[1]))
        both[1](TOKENS).square().mean().backward()
    assert seen == [(0, False), (1, False), (1, True), (0, True)]


def test_runs_resume(both: tuple[HookedModel, HookedModel]) -> None:
    with torch.no_grad(), resumed(both[1], 1, stored_residuals(both[1], TOKENS)[1]):
        torch.testing.assert_close(both[1](TOKENS), both[0](TOKENS), atol=1e-6, rtol=0)


def test_weights_are_read_from_disk(both: tuple[HookedModel, HookedModel]) -> None:
    inside, outside = both
    for layer in range(2):
        assert torch.equal(inside.w_o(layer), outside.w_o(layer))
        for name in "qkv":
            assert torch.equal(inside.w_qkv(layer, name), outside.w_qkv(layer, name))
        norms = [model.layout.inner(model.hf, layer, model.layout.ln2) for model in both]
        gains = [probe(norm, 32, device=inside.device, dtype=inside.dtype).gain for norm in norms if norm is not None]
        torch.testing.assert_close(gains[0], gains[1])
    unembeddings = [linear_weight(model.hf.get_submodule(model.layout.unembed)) for model in both]
    assert torch.equal(*unembeddings)
    with in_memory(outside.hf):
        assert not is_offloaded(outside.hf)
    assert is_offloaded(outside.hf)


def test_the_identity_is_that_of_the_weights(both: tuple[HookedModel, HookedModel]) -> None:
    assert both[0].weight_hash == both[1].weight_hash and both[0].weight_hash.full


def test_a_bridge_is_refused(both: tuple[HookedModel, HookedModel]) -> None:
    with pytest.raises(RefusedModelError, match="refuses models whose weights are offloaded"):
        both[1].bridge()


def test_everything_on_disk(tmp_path: Path) -> None:
    folder = save(tmp_path / "saved", "llama")
    model = interp.load_model(folder, device="auto", max_memory={"cpu": 1000}, offload_folder=tmp_path / "off")
    assert all(parameter.is_meta for parameter in model.hf.parameters()) and model.device == torch.device("cpu")
    assert torch.equal(model(TOKENS), interp.load_model(folder)(TOKENS))
