"""How far apart two ways may be: what a dtype rounds away is measured, and experts are held where they could flip."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import interp
from interp import HookedModel
from interp.checks import changing
from interp.checks.choices import has_experts, held, noted
from interp.checks.rest import PRECISE, at_rest
from interp.selfcheck import run_checks
from tests.interp.families import FAMILIES, ROUTED, VOCAB, load, random_tokens

HALF = (torch.bfloat16, torch.float16)


def failed(model: HookedModel) -> set[str]:
    return {check.name for check in run_checks(model, every_layer=True) if not check.passed}


def random_model(kind: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, **options: Any) -> HookedModel:
    small = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 16}
    ids = {"vocab_size": VOCAB, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(seed)
    config = getattr(transformers, kind)(**{**small, **ids, "pad_token_id": None, **options})
    return interp.load_model(transformers.AutoModelForCausalLM.from_config(config).to(dtype), check=False)


@cache
def experts(seed: int) -> HookedModel:
    """Eight layers of 64 experts: a small step of a gate is bound to flip some router's choice."""
    wide = {"num_experts": 64, "num_experts_per_tok": 8, "num_hidden_layers": 8, "initializer_range": 0.2}
    return random_model("OlmoeConfig", seed=seed, **wide)


# --- experts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [3, 4, 6])
def test_a_router_that_flips_refuses_no_sound_model(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held, the finite difference agrees to five digits; left alone, the check of one layer fails by chance."""
    rest = at_rest(experts(seed))
    check = changing.gradient_is_finite_difference(rest, (4,))
    assert check.passed and check.difference < 1e-4
    monkeypatch.setattr(changing, "held", lambda *given: nullcontext())
    assert not changing.gradient_is_finite_difference(rest, (4,)).passed


def test_one_layer_of_three_may_fail_where_routers_can_not_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = at_rest(experts(3))
    for wrong, expected in (({0}, True), ({0, 1}, False), ({0, 1, 2}, False)):
        with monkeypatch.context() as patch:
            break_layers(patch, wrong)
            assert changing.gradient_is_finite_difference(rest, (0, 1, 2)).passed == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_layer_of_three_may_not_fail_where_there_are_no_experts(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = at_rest(load("llama", dtype=dtype))
    assert changing.gradient_is_finite_difference(rest, (1, 0)).passed
    for wrong in range(2):
        with monkeypatch.context() as patch:
            break_layers(patch, {wrong})
            check = changing.gradient_is_finite_difference(rest, (1, 0, 1 - wrong))
        assert not check.passed and check.detail.startswith(f"layer {wrong}:")


def break_layers(monkeypatch: pytest.MonkeyPatch, layers: set[int]) -> None:
    """Their gates get twice the gradient that they have."""
    loss = changing.gated_loss

    def doubled(model: HookedModel, tokens: Tensor, heads: Tensor) -> Tensor:
        if heads.requires_grad:
            factor = torch.ones(len(heads), 1)
            factor[list(layers)] = 2
            heads = factor * heads - (factor - 1) * heads.detach()
        return loss(model, tokens, heads)

    monkeypatch.setattr(changing, "gated_loss", doubled)


def test_models_with_experts_are_told_from_dense_ones() -> None:
    for name in FAMILIES:
        assert has_experts(load(name)) == (name in ROUTED), name


@pytest.mark.parametrize("name", sorted(ROUTED))
def test_held_experts_are_the_noted_ones_with_the_weights_of_now(name: str) -> None:
    """Another input, the choices of the first: the places agree, the values are this input's."""
    model, tokens = load(name), random_tokens(batch=1, length=12)
    other = tokens.flip(1)
    with torch.no_grad():
        with noted(model) as first:
            plain = model(tokens)
        with noted(model) as own:
            free = model(other)
        with held(model, first):
            assert torch.equal(model(tokens), plain), "repeating its own choices changes nothing"
            forced = model(other)
        with noted(model) as again, held(model, first):
            model(other)
        with held(model, own, torch.arange(12)):
            assert torch.equal(model(other), free)
        with held(model, first, torch.full((12,), -1)):
            assert torch.equal(model(other), free), "nobody is told"
    assert first and float((forced - free).abs().max()) > 1e-3
    assert first.keys() == own.keys() == again.keys()


def test_choices_follow_their_tokens() -> None:
    """One token in front, and everybody one place later."""
    model, tokens = load("mixtral"), random_tokens(batch=1, length=8)
    with torch.no_grad(), noted(model) as first:
        model(tokens)
    kept: dict[Any, Tensor] = {}
    longer = torch.cat([tokens[:, :1], tokens], 1)
    module = model.layout.block(model.hf, 1).get_submodule(str(model.layout.ffn))

    def note(router: Any, args: Any, output: Any) -> None:
        kept["places"] = output[-1] if isinstance(output, tuple) else output

    handle = module.gate.register_forward_hook(note)  # type: ignore[union-attr]
    with torch.no_grad(), held(model, first, torch.tensor([-1, *range(8)])):
        model(longer)
    handle.remove()
    assert torch.equal(kept["places"][1:], first[1, 0, 0][:, 0])


# --- rounding ------------------------------------------------------------------------------------------------------


def test_limits_are_what_the_dtype_rounds_away() -> None:
    """Fixed in float32; in bfloat16 wider than in float16 by what it rounds more, and wider the deeper a model is."""
    limits = {dtype: at_rest(load("llama", dtype=dtype)).limit for dtype in (torch.float32, *HALF)}
    assert limits[torch.float32] == PRECISE
    assert 4 < limits[torch.bfloat16] / limits[torch.float16] < 16  # eight times, up to draws
    deep = {n: at_rest(random_model("LlamaConfig", num_hidden_layers=n, dtype=HALF[0])).limit for n in (2, 40)}
    assert deep[40] > 1.5 * deep[2]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["llama", "gemma3", "glm_moe_dsa", "opt-350m"])
def test_a_wrong_gradient_is_seen_in_half_precision(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = at_rest(load(name, dtype=dtype))
    assert changing.gradient_is_finite_difference(rest, (1, 0)).passed
    loss = changing.gated_loss

    def doubled(model: HookedModel, tokens: Tensor, heads: Tensor) -> Tensor:
        return loss(model, tokens, 2 * heads - heads.detach() if heads.requires_grad else heads)

    monkeypatch.setattr(changing, "gated_loss", doubled)
    assert not changing.gradient_is_finite_difference(rest, (1, 0)).passed


def test_eighty_layers_in_bfloat16_are_sound() -> None:
    model = random_model("LlamaConfig", num_hidden_layers=80, dtype=torch.bfloat16)
    assert [check.name for check in run_checks(model) if not check.passed] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 100])
def test_a_stream_that_drowns_its_ffns_is_sound_and_a_misplaced_gate_is_still_seen(
    dtype: torch.dtype, scale: int
) -> None:
    """Trained models have such streams: of what an FFN adds, bfloat16 rounds a third away, whatever the gate."""
    model = load("gemma2", dtype=dtype)
    model.hf.model.embed_tokens.weight.data *= scale
    assert failed(model) == set()
    moved = replace(model, layout=replace(model.layout, ffn_out="mlp.down_proj"))
    assert "an FFN's gate of .5 = half its contribution" in failed(moved)


def test_a_trained_toy_is_sound_in_both_dtypes() -> None:
    """Two layers that learn to repeat, a hundred steps: its streams are large, its gradients uneven."""
    config = transformers.OPTConfig(
        vocab_size=64,
        hidden_size=32,
        word_embed_proj_dim=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=64,
        max_position_embeddings=64,
        dropout=0.0,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    hf = transformers.OPTForCausalLM(config)
    optimizer = torch.optim.AdamW(hf.parameters(), lr=1e-2)
    for _ in range(100):
        half = torch.stack([torch.randperm(64)[:12] for _ in range(16)])
        tokens = torch.cat([half, half], 1)
        optimizer.zero_grad()
        hf(tokens, labels=tokens).loss.backward()
        optimizer.step()
    assert failed(interp.load_model(hf, check=False)) == set()
    assert failed(interp.load_model(hf.to(torch.bfloat16), check=False)) == set()
