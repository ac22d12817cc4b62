"""The bridge to TransformerLens: the same tensors in a second tree, and the original as it was."""

from __future__ import annotations

from itertools import chain

import pytest
import torch

from interp.bridge import _apart
from interp.errors import RefusedModelError, UsageError
from tests.interp.conftest import family_named
from tests.interp.families import load, random_tokens

TOKENS = random_tokens(batch=2, length=10)


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "gemma2", "mixtral", "bloom"])
def test_a_bridge_shares_every_tensor_and_leaves_the_original_alone(name: str) -> None:
    model = load(name)
    tensors = dict(chain(model.hf.named_parameters(), model.hf.named_buffers()))
    kept = {path: (tensor.data_ptr(), tensor.clone()) for path, tensor in tensors.items()}
    modules = {path: type(module) for path, module in model.hf.named_modules()}
    with torch.no_grad():
        before, bridge = model(TOKENS), model.bridge()
        theirs = bridge(TOKENS)
        assert torch.equal(model(TOKENS), before)
    torch.testing.assert_close(theirs, before, atol=1e-5, rtol=0)
    assert {path: type(module) for path, module in model.hf.named_modules()} == modules
    for path, tensor in chain(model.hf.named_parameters(), model.hf.named_buffers()):
        assert tensor.data_ptr() == kept[path][0] and torch.equal(tensor, kept[path][1])
    mine = {tensor.data_ptr() for tensor in model.hf.parameters()}
    shared = {tensor.data_ptr() for tensor in bridge.original_model.parameters()}
    assert mine <= shared, "a weight was copied"
    if name not in ("gpt2", "bloom"):  # there TransformerLens cuts the fused q, k and v apart, which copies them
        assert shared == mine


def test_hooks_and_gates_still_work_on_both() -> None:
    model = load("llama")
    bridge = model.bridge()
    mask = torch.ones(2, 4)
    mask[1, 2] = 0

    def remove(z: torch.Tensor, hook: object) -> torch.Tensor:
        z[:, :, 2] = 0
        return z

    with torch.no_grad():
        plain = model(TOKENS)
        with model.gates(heads=mask):
            mine = model(TOKENS)
        theirs = bridge.run_with_hooks(TOKENS, fwd_hooks=[("blocks.1.attn.hook_z", remove)])
        assert torch.equal(model(TOKENS), plain)
        torch.testing.assert_close(bridge(TOKENS), plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)
    assert float((mine - plain).abs().max()) > 1e-3


def test_a_weight_changed_in_place_changes_both() -> None:
    model = load("llama")
    bridge = model.bridge()
    with torch.no_grad():
        model.o_module(0).get_parameter("weight").zero_()
        torch.testing.assert_close(bridge(TOKENS), model(TOKENS), atol=1e-5, rtol=0)


def test_left_padding_goes_through_with_its_mask() -> None:
    model = family_named("llama").model
    tokens = torch.cat([torch.zeros(2, 3, dtype=torch.long), TOKENS], dim=1)
    mask = (torch.arange(13) >= 3).long().expand(2, -1)
    with torch.no_grad():
        torch.testing.assert_close(model(tokens, mask)[:, 3:], model(TOKENS), atol=1e-5, rtol=0)
        theirs = family_named("llama").model.bridge()(tokens, attention_mask=mask)
        torch.testing.assert_close(theirs[:, 3:], model(TOKENS), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "refused"), [("llama", True), ("mixtral", False)])
def test_one_position_that_differs_in_half_precision_is_forgiven_to_experts_alone(name: str, refused: bool) -> None:
    model = load(name, dtype=torch.bfloat16)

    def other_at_one_place(tokens: torch.Tensor) -> torch.Tensor:
        logits = model(tokens)
        logits[:, 5] = logits[:, 5].flip(-1)
        return logits

    apart, limit = _apart(model, other_at_one_place)  # type: ignore[arg-type]
    assert (apart >= limit) == refused


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "mixtral"])
def test_a_sound_bridge_is_handed_out_in_half_precision(name: str) -> None:
    load(name, dtype=torch.bfloat16).bridge()


def test_the_tokenizer_stays_its_own() -> None:
    """Its folder is gone by now; TransformerLens reads it anew and completes its special tokens, in a copy."""
    model = family_named("gpt2").model
    before, special = model.identity()["tokenizer_hash"], dict(model.tokenizer.special_tokens_map)
    assert model.bridge().to_tokens("t4 t7").tolist() == [[1, 4, 7]]
    assert model.identity()["tokenizer_hash"] == before and model.tokenizer.special_tokens_map == special
    assert "pad_token" not in special


@pytest.mark.parametrize("held", ["head", "ffn", "edit"])
def test_what_is_held_on_the_model_does_not_reach_its_bridge_and_says_so(held: str) -> None:
    model = load("llama")
    bridge = model.bridge()
    heads = torch.ones(2, 4)
    heads[1, 2] = 0
    holding = {
        "head": lambda: model.gates(heads=heads),
        "ffn": lambda: model.gates(ffns=torch.tensor([1.0, 0.5])),
        "edit": lambda: model.edit("z", lambda z: z * 0, layer=0),
    }[held]
    with torch.no_grad():
        plain = bridge(TOKENS)
        for use in (bridge, lambda tokens: bridge.run_with_cache(tokens), lambda tokens: model.bridge()):
            with holding(), pytest.raises(UsageError, match="do not reach: leave their context first"):
                use(TOKENS)
        assert torch.equal(bridge(TOKENS), plain)
        with model.gates(heads=torch.ones(2, 4)):  # nothing is removed
            assert torch.equal(bridge(TOKENS), plain)


def test_what_transformer_lens_cannot_boot_is_refused_with_its_reason() -> None:
    with pytest.raises(
        RefusedModelError, match="TransformerLens can't boot or run a bridge over this FalconForCausalLM"
    ):
        family_named("falcon_11b").model.bridge()


def test_the_models_attention_stays_its_own(llama: object) -> None:
    model = load("llama")
    model.bridge()
    assert model.hf.config._attn_implementation == "sdpa"
    heard: list[int] = []
    with model.watch_attention(lambda layer, rows: heard.append(layer)):
        model.run(TOKENS)
    assert heard == [0, 1]
