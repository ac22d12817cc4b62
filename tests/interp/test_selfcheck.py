"""Each check passes on sound models and goes red when its subject is broken on purpose."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers.models.gemma2.modeling_gemma2 import Gemma2Attention

import interp
from interp import HookedModel, gating, hooks, patching
from interp.attention import chunked, fused, sdpa
from interp.attention.named import NAME
from interp.checks import changing, reading, thresholds
from interp.checks.rest import at_rest
from interp.checks.result import Check, relative
from interp.errors import HeadscopeError, RefusedModelError, SelfCheckError
from interp.selfcheck import number_of_checks, run_checks, verify
from tests.interp.families import FAMILIES, VOCAB, build, load

NAMES = [
    "logits are finite",
    "logits equal the untouched model's",
    "the model looks back only",
    "padding changes nothing",
    "attention rows sum to 1",
    "the same beyond every threshold",
    "heads and FFN add up to the residual stream",
    "projections are their weights",
    "a head's gate of 0 = its W_O rows zeroed",
    "an FFN's gate of 0 = its weights zeroed",
    "an FFN's gate of .5 = half its contribution",
    "noise in a head's z moves the logits",
    "a run resumed at a block = a whole run",
    "a gate's gradient = a finite difference",
]


def failed(model: HookedModel) -> set[str]:
    return {check.name for check in run_checks(model, every_layer=True) if not check.passed}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_check_of_every_layer_passes(name: str) -> None:
    model = load(name)
    checks = list(run_checks(model, every_layer=True))
    assert len(checks) == number_of_checks(model, every_layer=True)
    assert [check for check in checks if not check.passed] == []
    assert list(dict.fromkeys(check.name for check in checks)) == NAMES or name == "lfm2"
    precise = [check for check in checks if "gradient" not in check.name and check.name != "logits are finite"]
    assert max(check.difference for check in precise) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_pass(dtype: torch.dtype) -> None:
    for name in ("llama", "gpt2", "gemma2"):
        assert failed(load(name, dtype=dtype)) == set()


def test_a_defect_of_transformers_itself_is_found() -> None:
    """Bloom in float64: the mask's lowest number becomes minus infinity in its float32 softmax, padding becomes NaN."""
    assert failed(load("bloom")) == set()
    assert failed(load("bloom", dtype=torch.float64)) == {"padding changes nothing"}


def test_a_failure_names_the_model_the_check_and_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Check("attention rows sum to 1", False, 0.25, "worst in layer 1")
    monkeypatch.setattr(reading, "rows_sum_to_one", lambda rest: broken)
    sentence = r"LlamaForCausalLM: attention rows sum to 1 \(worst in layer 1; largest difference 0\.25\).*doctor"
    with pytest.raises(SelfCheckError, match=sentence):
        verify(load("llama"))
    with pytest.raises(SelfCheckError):
        interp.load_model(build("llama"))
    assert interp.load_model(build("llama"), check=False).n_layers == 2


def test_checks_leave_the_model_as_it_was() -> None:
    model = load("gpt2")
    kept = {name: value.clone() for name, value in model.hf.state_dict().items()}
    list(run_checks(model, every_layer=True))
    assert all(torch.equal(value, kept[name]) for name, value in model.hf.state_dict().items())
    assert model.hf.config._attn_implementation == "sdpa"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())
    assert not any(parameter.requires_grad for parameter in model.hf.parameters())


def test_a_context_too_short_to_check_is_said() -> None:
    hf = build("llama")
    hf.config.max_position_embeddings = 3
    model = interp.load_model(hf, check=False)
    with pytest.raises(HeadscopeError, match="a context of 3 tokens is too short to check anything"):
        list(run_checks(model))


def test_nan_is_never_a_small_difference() -> None:
    a, b = torch.tensor([1.0, torch.nan, 2.0]), torch.tensor([1.0, 2.0, 3.0])
    assert relative(a, b) == relative(b, a) == torch.inf


# --- broken on purpose ---------------------------------------------------------------------------------------------


def break_route(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let the fused route answer `change(output, log-sum-exp)`; it is used only where somebody listens."""
    attend = fused.attend
    monkeypatch.setattr(fused, "attend", lambda *args, **kwargs: change(*attend(*args, **kwargs)))


def test_red_when_weights_are_not_finite() -> None:
    hf = build("llama")
    model = interp.load_model(hf, check=False)
    hf.model.layers[1].mlp.up_proj.weight.data[0, 0] = torch.nan
    assert [check.name for check in run_checks(model)] == ["logits are finite"] and failed(model)


def test_red_when_the_watched_output_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    break_route(monkeypatch, lambda output, lse: (output * 1.01, lse))
    assert failed(load("llama")) == {"logits equal the untouched model's", "padding changes nothing"}


def test_red_when_the_log_sum_exp_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    break_route(monkeypatch, lambda output, lse: (output, lse + 0.01))
    assert failed(load("llama")) == {"attention rows sum to 1"}


@pytest.mark.parametrize("family", ["gemma2", "olmo2", "glm4"])
def test_red_when_a_norm_behind_the_heads_is_missed(family: str) -> None:
    model = load(family)
    model = replace(model, layout=replace(model.layout, ln1_post=None))
    assert "heads and FFN add up to the residual stream" in failed(model)


def test_red_when_a_factor_or_a_normalised_stream_is_missed() -> None:
    for family, wrong in (("granite", {"residual_scale": 1.0}), ("opt-350m", {"post_norm": False})):
        model = load(family)
        model = replace(model, layout=replace(model.layout, **wrong))
        assert "heads and FFN add up to the residual stream" in failed(model), family


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stream_with_huge_dimensions_still_adds_up(dtype: torch.dtype) -> None:
    """Trained models have some: what is added is rounded away there, and nothing is wrong with that."""
    model = load("llama", dtype=dtype)
    model.hf.model.embed_tokens.weight.data[:, 3] = 3000.0
    assert "heads and FFN add up to the residual stream" not in failed(model)


def test_a_family_whose_layers_have_their_norms_in_different_places_is_refused() -> None:
    """In OLMo Hybrid one name stands for a norm behind attention, or in front of the FFN, by layer."""
    config = transformers.OlmoHybridConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
    )
    torch.manual_seed(0)
    with pytest.raises(HeadscopeError, match="heads and FFN add up"):
        interp.load_model(transformers.OlmoHybridForCausalLM(config))


def test_red_when_rows_are_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    break_route(monkeypatch, lambda output, lse: (output, lse * torch.nan))
    assert failed(load("llama")) == {"attention rows sum to 1", "padding changes nothing"}


def test_red_when_the_mask_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Hugging Face's own code padding shows it; under our name, comparison with the model at rest, too."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    model, windowed = load("llama"), load("gpt_oss")
    monkeypatch.setitem(ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, "sdpa", lambda *args, **kwargs: None)
    assert failed(model) == {"padding changes nothing"}
    monkeypatch.setitem(ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, NAME, lambda *args, **kwargs: None)
    assert "logits equal the untouched model's" in failed(windowed)


def test_red_when_only_the_listening_route_drops_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    attend = fused.attend
    monkeypatch.setattr(fused, "attend", lambda q, k, v, mask, scale, **more: attend(q, k, v, None, scale, **more))
    expected = {"logits equal the untouched model's", "padding changes nothing", "attention rows sum to 1"}
    assert failed(load("mistral")) == expected


def test_red_when_positions_ignore_the_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    from interp import inputs

    arguments = inputs.arguments

    def without_positions(model: HookedModel, tokens: Tensor, mask: Tensor | None) -> dict[str, Any]:
        return {name: value for name, value in arguments(model, tokens, mask).items() if name != "position_ids"}

    monkeypatch.setattr(inputs, "arguments", without_positions)
    assert failed(load("gpt2")) == {"padding changes nothing"}


def test_red_when_the_model_looks_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """No mask at all in Hugging Face's own eager attention."""
    from transformers.models.llama import modeling_llama as module

    eager = module.eager_attention_forward

    def unmasked(attention: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, *args: Any, **kwargs: Any) -> Any:
        return eager(attention, q, k, v, None, *args, **kwargs)

    monkeypatch.setattr(module, "eager_attention_forward", unmasked)
    model = load("llama", implementation="eager")
    assert "the model looks back only" in failed(replace(model, caught="eager"))


def test_red_when_heads_see_everything() -> None:
    model = load("llama")
    for block in model.hf.model.layers:
        block.self_attn.is_causal = False
    with pytest.raises(RefusedModelError, match="layer 0 lets every position see all others: it looks ahead"):
        failed(model)


def test_red_when_layers_are_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should listening ever fail in silence."""
    model = load("llama")
    monkeypatch.setattr(sdpa, "listening", lambda hf, modules, listener, route: hooks.capture(model, [], print))
    check = reading.same_as_untouched(at_rest(model))
    assert not check.passed and "layers that were never heard: [0, 1]" in check.detail


# --- beyond a length that the configuration names --------------------------------------------------------------------


class ByName(Gemma2Attention):
    """As in GLM-5: a sparse mask under the names that its authors knew, and none under another."""

    def forward(self, hidden_states: Tensor, position_embeddings: Any, attention_mask: Any = None, **more: Any) -> Any:
        length, far = hidden_states.shape[1], getattr(self.config, "index_topk", None)
        if self.config._attn_implementation == "eager" and far is not None and length > far:
            places = torch.arange(length)
            low = torch.finfo(hidden_states.dtype).min
            attention_mask = attention_mask.masked_fill(places[:, None] - places >= far, low)
        return super().forward(hidden_states, position_embeddings, attention_mask, **more)


def by_name(**config: int) -> HookedModel:
    hf = build("gemma2", implementation=None)
    hf.config.max_position_embeddings = 8192
    for block in hf.model.layers:
        block.self_attn.__class__ = ByName
    for name, value in config.items():
        setattr(hf.config, name, value)
    return interp.load_model(hf, check=False)


def beyond(model: HookedModel) -> Check:
    return next(check for check in run_checks(model) if check.name == thresholds.NAME)


@pytest.mark.parametrize(("cheap", "how"), [(2e10, "on 2056 tokens"), (0, "with 4 in its place")])
def test_red_when_code_branches_on_the_name_beyond_a_threshold(
    monkeypatch: pytest.MonkeyPatch, cheap: float, how: str
) -> None:
    """Sixteen tokens see nothing of it; the pass beyond does, and the family is refused."""
    monkeypatch.setattr(thresholds, "CHEAP", cheap)
    assert failed(by_name()) == set()
    check = beyond(by_name(index_topk=2048))
    assert not check.passed and check.detail == f"index_topk 2048 ({how})"
    assert failed(by_name(index_topk=2048)) == {thresholds.NAME}
    with pytest.raises(SelfCheckError, match=r"the same beyond every threshold \(index_topk 2048"):
        verify(by_name(index_topk=2048))


def test_a_threshold_that_cannot_be_reached_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thresholds, "CHEAP", 0)
    assert beyond(by_name(keep_window=300)).detail == "keep_window 300 (on 308 tokens)", "nothing reads it"
    monkeypatch.setattr(thresholds, "PAYABLE", 0)
    check = beyond(by_name(keep_window=300))
    assert not check.passed and "not reached: lowering it changes nothing, and 308 tokens are too many" in check.detail


class ByPosition(Gemma2Attention):
    """Scores of late positions are scaled, as Llama 4 does, under one name only."""

    def forward(self, hidden_states: Tensor, position_embeddings: Any, attention_mask: Any = None, **more: Any) -> Any:
        late = self.config._attn_implementation == "eager" and bool((more["position_ids"] >= 4096).any())
        return super().forward(hidden_states * (1.5 if late else 1), position_embeddings, attention_mask, **more)


def test_red_when_code_branches_on_the_name_beyond_the_original_context() -> None:
    model = by_name(original_max_position_embeddings=4096)
    assert beyond(model).passed
    assert beyond(model).detail == "original_max_position_embeddings 4096 (positions 4088 to 4103)"
    for block in model.hf.model.layers:
        block.self_attn.__class__ = ByPosition
    assert failed(model) == {thresholds.NAME}


@pytest.mark.parametrize("name", ["glm_moe_dsa", "mistral", "gemma3"])
def test_lowering_reaches_the_code_of_families_and_is_taken_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse mask's k is copied into modules, a window stands in the configuration alone."""
    monkeypatch.setattr(thresholds, "CHEAP", 0)
    hf = build_with(name, **{"index_topk": 40} if name == "glm_moe_dsa" else {"sliding_window": 40})
    before = copy.deepcopy(hf.config.to_dict())
    model = interp.load_model(hf, check=False)
    check = beyond(model)
    assert check.passed and "40 (with 4 in its place)" in check.detail and check.difference < 1e-4
    assert hf.config.to_dict() == before
    for threshold in thresholds.thresholds(model):
        with thresholds.lowered(model, threshold):
            assert getattr(hf.config, threshold.name) == 4
    assert hf.config.to_dict() == before


def build_with(name: str, **options: Any) -> Any:
    kind, given = FAMILIES[name]
    config = getattr(transformers, kind)(**{**copy.deepcopy(given), **options})
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config)


def test_red_when_a_head_gate_stands_behind_the_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classic mistake: the attention module's output, cut into as many parts as there are heads."""
    attach = hooks._attach

    def behind(model: HookedModel, point: hooks.Point, change: Any) -> Any:
        if point.name != "z":
            return attach(model, point, change)
        in_heads = hooks.changes.in_heads(change, model.n_heads)
        return [model.o_module(point.layer).register_forward_hook(hooks.changes.at_output(in_heads))]

    monkeypatch.setattr(hooks, "_attach", behind)
    assert failed(load("llama")) == {
        "a head's gate of 0 = its W_O rows zeroed",
        "heads and FFN add up to the residual stream",
    }


def test_red_when_an_ffn_gate_stands_in_front_of_a_norm() -> None:
    """Gemma 2: in front of the post-FFN norm a gate of .5 all but vanishes."""
    model = load("gemma2")
    moved = replace(model, layout=replace(model.layout, ffn_out="mlp.down_proj"))
    assert failed(moved) == {
        "an FFN's gate of .5 = half its contribution",
        "heads and FFN add up to the residual stream",
    }


def test_red_when_an_ffn_gate_takes_the_residual_along() -> None:
    """Bloom's FFN module adds the residual stream itself."""
    model = load("bloom")
    moved = replace(model, layout=replace(model.layout, ffn_out="mlp"))
    assert "an FFN's gate of 0 = its weights zeroed" in failed(moved)


class Adapted(torch.nn.Linear):
    """As adapters do: something beside the weight that is read."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0.1 * x[..., :1]


@pytest.mark.parametrize("name", ["q_proj", "v_proj", "o_proj"])
def test_red_when_a_projection_is_more_than_its_weights(name: str) -> None:
    model = load("llama")
    model.hf.model.layers[1].self_attn.get_submodule(name).__class__ = Adapted
    assert "projections are their weights" in failed(model)


def test_red_when_a_gate_of_0_keeps_something(monkeypatch: pytest.MonkeyPatch) -> None:
    gated = gating._gated
    monkeypatch.setattr(gating, "_gated", lambda gate, *rest: gated(0.1 + 0.9 * gate, *rest))
    expected = {"a head's gate of 0 = its W_O rows zeroed", "an FFN's gate of 0 = its weights zeroed"}
    assert failed(load("llama")) == expected


def test_red_when_patching_a_head_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that stands where the model does not pass."""
    monkeypatch.setattr(patching, "_heads", lambda values, positions, z: None)
    assert failed(load("llama")) == {"noise in a head's z moves the logits"}


def test_red_when_the_gradient_is_not_the_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = changing.gated_loss

    def doubled(model: HookedModel, tokens: Tensor, heads: Tensor) -> Tensor:
        scaled = 2 * heads - heads.detach() if heads.requires_grad else heads
        return loss(model, tokens, scaled)

    monkeypatch.setattr(changing, "gated_loss", doubled)
    assert failed(load("llama")) == {"a gate's gradient = a finite difference"}


def test_red_when_resuming_starts_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = changing.stored_residuals
    monkeypatch.setattr(changing, "stored_residuals", lambda model, tokens: stored(model, tokens)[::-1])
    assert failed(load("llama")) == {"a run resumed at a block = a whole run"}


def test_red_when_the_chunked_route_forgets_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    attend = chunked.attend
    monkeypatch.setattr(chunked, "attend", lambda *args, softcap=None: attend(*args))
    assert "logits equal the untouched model's" in failed(load("gemma2"))
