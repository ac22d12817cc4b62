"""Reading activations: names, layers, shapes, and what is said when a name means nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import config
from torch import Tensor

from interp import HookedModel
from interp.errors import RefusedModelError, UsageError
from interp.hooks import NAMES, Point, points
from tests.interp.conftest import family_named
from tests.interp.families import random_tokens

TOKENS = random_tokens(batch=2, length=9)


def test_every_place_has_its_documented_shape(llama: HookedModel) -> None:
    logits, cache = llama.run_with_cache(TOKENS, NAMES)
    shapes = {name: tuple(cache[name, 1].shape) for name in NAMES}
    stream, head = (2, 9, 32), (2, 9, 4, 8)
    kv = (2, 9, 2, 8)
    assert logits.shape == (2, 9, 97)
    assert shapes == {
        "resid_pre": stream,
        "resid_mid": stream,
        "resid_post": stream,
        "mlp_out": stream,
        "z": head,
        "q": head,
        "rot_q": head,
        "k": kv,
        "v": kv,
        "rot_k": kv,
        "pattern": (2, 4, 9, 9),
    }
    assert len(cache) == len(NAMES) * 2 and Point("z", 1) in list(cache)


@pytest.mark.parametrize("place", ["z", "q", "k", "v", "pattern", "rot_q", "mlp_out", "resid_pre", "resid_post"])
def test_transformer_lens_spellings_mean_the_same(llama: HookedModel, place: str) -> None:
    inside = {"mlp_out": "", "resid_pre": "", "resid_post": ""}.get(place, "attn.")
    spelled = [f"blocks.1.{inside}hook_{place}", (f"hook_{place}", 1), (place, 1), (place, -1), f"blocks.1.{place}"]
    values = [llama.run_with_cache(TOKENS, [name])[1][name] for name in spelled]
    whole = llama.run_with_cache(TOKENS, [f"hook_{place}"])[1]
    assert all(torch.equal(value, values[0]) for value in values)
    assert torch.equal(whole[place][1], values[0]) and torch.equal(whole[f"hook_{place}"], whole[place])
    assert len(whole) == llama.n_layers


def test_rotated_keys_and_queries_make_the_pattern(llama: HookedModel) -> None:
    """rot_q and rot_k are what attention multiplies; q and k are before the rotary embedding."""
    cache = llama.run_with_cache(TOKENS, ["rot_q", "rot_k", "q", "k", "pattern"])[1]
    q, k = cache["rot_q", 0], cache["rot_k", 0].repeat_interleave(2, dim=2)
    logits = torch.einsum("bqhd,bkhd->bhqk", q, k) / 8**0.5
    pattern = logits.masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf).softmax(-1)
    torch.testing.assert_close(pattern, cache["pattern", 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(cache["q", 0][:, 0], cache["rot_q", 0][:, 0], atol=1e-6, rtol=0)  # angle 0
    torch.testing.assert_close(cache["q", 0].norm(dim=-1), cache["rot_q", 0].norm(dim=-1), atol=1e-5, rtol=0)
    assert float((cache["q", 0] - cache["rot_q", 0]).abs().max()) > 0.01


@pytest.mark.parametrize("name", ["mlp", "hook_mlp_pre", "blocks.0.attn.hook_result", "", "Z", "blocks.x.hook_z"])
def test_an_unknown_place_is_refused_with_the_known_ones(llama: HookedModel, name: str) -> None:
    with pytest.raises(UsageError, match=r"is not a place headscope reads; the places are resid_pre, .* mlp_out"):
        llama.run_with_cache(TOKENS, [name])


@pytest.mark.parametrize("name", [("z", 2), "blocks.7.attn.hook_z", ("z", -3)])
def test_a_layer_that_does_not_exist_is_refused(llama: HookedModel, name: object) -> None:
    with pytest.raises(UsageError, match="does not exist, the model has layers 0-1"):
        llama.run_with_cache(TOKENS, [name])  # type: ignore[list-item]


def test_two_layers_in_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="names two layers, 3 and 5"):
        points([("blocks.3.attn.hook_z", 5)], 8)
    assert points([("blocks.3.attn.hook_z", 3)], 8) == [Point("z", 3)]


def test_a_cache_says_what_it_holds(llama: HookedModel) -> None:
    cache = llama.run_with_cache(TOKENS, [("z", 1), "mlp_out"])[1]
    with pytest.raises(KeyError, match=r"'pattern' was not captured; captured: \['mlp_out', 'z'\]"):
        cache["pattern"]
    with pytest.raises(KeyError, match="layer 0 was not captured or has no such place"):
        cache["z"]  # stacked, layer 1 would have taken the place of layer 0
    with pytest.raises(UsageError, match="is not a place"):
        cache["nonsense"]
    assert ("z", 1) in cache and ("z", 0) not in cache and "mlp_out" in cache
    assert "z" not in cache and "nonsense" not in cache


def test_layers_without_heads_are_left_out_and_never_stacked() -> None:
    """LFM2: layer 0 is a convolution. Asked for by name it is refused; the residual stream is there for both."""
    model = family_named("lfm2").model
    cache = model.run_with_cache(TOKENS, ["z", "pattern", "mlp_out", "resid_pre"])[1]
    assert model.attention_layers == (1,) and ("z", 1) in cache and ("z", 0) not in cache
    assert cache["mlp_out"].shape[0] == cache["resid_pre"].shape[0] == 2
    with pytest.raises(KeyError, match=r"ask for one layer, as in cache\['z', 1\]"):
        cache["z"]
    with pytest.raises(RefusedModelError, match=r"layer 0 .* has no attention heads"):
        model.run_with_cache(TOKENS, [("z", 0)])
    with pytest.raises(RefusedModelError, match="layer 0 has no attention heads"):
        model.w_o(0)


@pytest.mark.parametrize(("family", "place"), [("bloom", "rot_q"), ("deepseek_v3", "q"), ("gptj", "resid_mid")])
def test_what_a_family_does_not_have_is_refused(family: str, place: str) -> None:
    with pytest.raises(RefusedModelError):
        family_named(family).model.run_with_cache(TOKENS, [place])


@pytest.mark.parametrize("family", ["falcon", "olmo_clipped"])
def test_later_changes_in_place_do_not_reach_what_was_captured(family: str) -> None:
    """Falcon adds the attention's output into the FFN's; OLMo clips q, k and v where they are."""
    model = family_named(family).model
    cache = model.run_with_cache(TOKENS, ["mlp_out", "q", "resid_pre", "resid_post"])[1]
    module = model.layout.inner(model.hf, 0, model.layout.ffn_out)
    assert module is not None
    seen: list[Tensor] = []
    handle = module.register_forward_hook(lambda module, args, out: seen.append(out.clone()))
    model(TOKENS)
    handle.remove()
    torch.testing.assert_close(cache["mlp_out", 0], seen[0])
    if family == "olmo_clipped":
        assert float(cache["q", 0].abs().max()) > 0.3


# --- editing -------------------------------------------------------------------------------------------------------


def test_an_edit_acts_inside_its_context_alone(llama: HookedModel) -> None:
    before = llama(TOKENS)
    with llama.edit(("z", 0), lambda z: z * 0):
        inside = llama(TOKENS)
    with llama.edit("blocks.0.attn.hook_z", lambda z: None):
        looked = llama(TOKENS)
    assert float((inside - before).abs().max()) > 1e-3
    assert torch.equal(llama(TOKENS), before) and torch.equal(looked, before)


@pytest.mark.parametrize("place", ["resid_pre", "resid_post", "q", "k", "v", "z", "mlp_out"])
@pytest.mark.parametrize("family", ["llama", "opt", "falcon_alibi", "bloom", "gpt_oss", "qwen3_next", "granite"])
def test_an_edit_gets_and_gives_the_documented_value(family: str, place: str) -> None:
    """Adding 1 to one entry shows as exactly that in a reader that stands behind the edit."""
    model = family_named(family).model
    if place in "qkv" and family in ("bloom", "falcon_alibi"):
        refused = pytest.raises(UsageError, match=f"{place} can be read, not changed")
        with refused, model.edit((place, 1), lambda value: value + 1):
            model(TOKENS)
        return

    def add(value: Tensor) -> Tensor:
        value = value.clone()
        value[1, 4] += 1
        return value

    plain = model.run_with_cache(TOKENS, [(place, 1)])[1][place, 1]
    with model.edit((place, 1), add):
        changed = model.run_with_cache(TOKENS, [(place, 1)])[1][place, 1]
    difference = (changed - plain)[1, 4]
    torch.testing.assert_close(difference, torch.ones_like(difference), atol=1e-5, rtol=0)
    rest = (changed - plain).clone()
    rest[1, 4] = 0
    assert float(rest.abs().max()) < 1e-5


def test_an_edit_of_every_layer_and_of_a_layer_by_keyword(llama: HookedModel) -> None:
    seen: list[int] = []
    with llama.edit("z", lambda z: seen.append(1)):
        llama(TOKENS)
    with llama.edit("z", lambda z: seen.append(2), layer=1):
        llama(TOKENS)
    assert seen == [1, 1, 2]


def test_what_cannot_be_changed_is_refused(llama: HookedModel) -> None:
    refused = pytest.raises(UsageError, match="pattern can be read but not changed; what can be changed: resid_pre")
    with refused, llama.edit(("pattern", 0), lambda pattern: pattern):
        pass


def test_hooks_are_gone_after_an_exception(llama: HookedModel) -> None:
    def fail(value: Tensor) -> Tensor:
        raise ZeroDivisionError

    def hooks() -> int:
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in llama.hf.modules())

    before = hooks()
    for place in ("z", "mlp_out", "resid_pre", "v"):
        with pytest.raises(ZeroDivisionError), llama.edit(place, fail):
            llama(TOKENS)
    with pytest.raises(UsageError):
        llama.run_with_cache(TOKENS, ["z", "nonsense"])
    assert hooks() == before


# --- what goes in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "mask", "sentence"),
    [
        (torch.zeros(1, 65, dtype=torch.long), None, "65 tokens are more than the model's context of 64"),
        (torch.full((1, 3), 97), None, "token ids must lie between 0 and 96, got 97 to 97"),
        (torch.full((1, 3), -1), None, "token ids must lie between 0 and 96, got -1 to -1"),
        (torch.zeros(1, 0, dtype=torch.long), None, "at least one of each"),
        (torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 4), r"must have the tokens' shape \(1, 3\), got \(1, 4\)"),
        (torch.zeros(1, 3, dtype=torch.long), torch.tensor([[0.0, 0.5, 1.0]]), "holds 1 for a real token and 0"),
    ],
)
def test_bad_input_is_refused(llama: HookedModel, tokens: Tensor, mask: Tensor | None, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        llama(tokens, mask)


def test_ids_come_as_tensors_arrays_or_lists(llama: HookedModel) -> None:
    wanted, mask = llama(TOKENS), torch.ones_like(TOKENS)
    mask[0, :2] = 0
    for given in (TOKENS.int(), TOKENS.numpy(), TOKENS.numpy().astype(np.int16), TOKENS.tolist()):
        assert torch.equal(llama(given), wanted)
        assert torch.equal(llama.run_with_cache(given, ["z"])[0], wanted)
    assert torch.equal(llama.generate(TOKENS[:1].tolist(), 2), llama.generate(TOKENS[:1], 2))
    assert llama.to_str_tokens(TOKENS[:1].numpy()) == llama.to_str_tokens(TOKENS[0])


def test_an_attention_mask_comes_as_lists_too(monkeypatch: pytest.MonkeyPatch, llama: HookedModel) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as a user has it: the tests' own check would come first
    mask = torch.ones_like(TOKENS)
    mask[0, :2] = 0
    assert torch.equal(llama(TOKENS, mask.tolist()), llama(TOKENS, mask))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the attention mask must be a tensor, or an array or lists of equal length"):
        llama(TOKENS, [[1], [1, 0]])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (torch.zeros(1, 3), r"token ids are whole numbers, got torch\.float32"),
        (torch.ones(1, 3, dtype=torch.bool), r"token ids are whole numbers, got torch\.bool"),
        (np.ones((1, 3)), "token ids are whole numbers, got float64 from a ndarray"),
        ([[1, 2.5]], "token ids are whole numbers, got float64 from a list"),
        ([[True, False]], "token ids are whole numbers, got bool from a list"),
        (["a text"], "token ids are whole numbers, got <U6 from a list"),
        (None, "token ids are whole numbers, got object from a NoneType"),
        ([[1, 2], [3]], "give rows of equal length"),
        ([1, 2], r"tokens must be \[batch query\] .* got shape \(2,\)"),
        ([[]], "at least one of each"),
    ],
)
def test_what_is_no_table_of_ids_is_refused(
    monkeypatch: pytest.MonkeyPatch, llama: HookedModel, given: Any, sentence: str
) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    with pytest.raises(UsageError, match=sentence):
        llama(given)


def test_ids_are_not_rounded_to_be_shown(monkeypatch: pytest.MonkeyPatch, llama: HookedModel) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    for given in ([3, 4.5], torch.tensor([3.0, 4.5])):
        with pytest.raises(UsageError, match="token ids are whole numbers"):
            llama.to_str_tokens(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_new_tokens": 2.5}, r"max_new_tokens is a whole number, got '2\.5'"),
        ({"max_new_tokens": True}, "max_new_tokens is a whole number, got 'True'"),
        ({"temperature": float("nan")}, "temperature 0 or more, got 20 and nan"),
        ({"temperature": float("inf")}, "temperature 0 or more, got 20 and inf"),
    ],
)
def test_writing_on_takes_numbers_that_mean_something(
    monkeypatch: pytest.MonkeyPatch, llama: HookedModel, options: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    with pytest.raises(UsageError, match=sentence):
        llama.generate(TOKENS[:1], **options)


def test_run_is_the_model_without_its_logits(llama: HookedModel) -> None:
    hidden = llama.run(TOKENS)
    torch.testing.assert_close(llama.hf.lm_head(hidden), llama(TOKENS))
