"""Listening to attention: who comes and who leaves, what is given back, what is refused, runs where nobody listens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import interp
from interp import HookedModel
from interp.attention import chunked, fused
from interp.attention.mask import additive, as_bool, is_biased, simplest
from interp.attention.named import NAME
from interp.attention.rows import AttentionRows, FactoredRows
from interp.errors import HeadscopeError, RefusedModelError, UsageError
from tests.interp.conftest import family_named
from tests.interp.families import build, load, padded, random_tokens


def listeners(model: HookedModel) -> int:
    return sum(hasattr(module, "_headscope_listeners") for module in model.hf.modules())


def test_listeners_are_gone_after_an_exception(llama: HookedModel) -> None:
    def fail(layer: int, rows: AttentionRows) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), llama.watch_attention(fail):
        assert listeners(llama) == llama.n_layers
        llama.run(random_tokens())
    assert listeners(llama) == 0
    bloom = family_named("bloom").model
    with pytest.raises(ZeroDivisionError), bloom.watch_attention(fail):
        bloom.run(random_tokens())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in bloom.hf.modules())


def test_two_listeners_hear_and_leave_one_by_one(llama: HookedModel) -> None:
    """The same function may listen twice; leaving takes off one of the two."""
    heard: list[int] = []

    def note(layer: int, rows: AttentionRows) -> None:
        heard.append(layer)

    with llama.watch_attention(note):
        with llama.watch_attention(note, layers=[1]):
            llama.run(random_tokens())
            assert heard == [0, 1, 1]
        heard.clear()
        llama.run(random_tokens())
        assert heard == [0, 1]
    assert listeners(llama) == 0


def test_recomputation_is_not_heard_twice() -> None:
    from interp.recompute import recompute_blocks

    for name in ("llama", "bloom"):
        model, heard = load(name), []
        listening = model.watch_attention(lambda layer, rows, heard=heard: heard.append(layer))
        with listening, recompute_blocks(model), model.gradients() as found:
            model(random_tokens()).square().mean().backward()
        assert heard == [0, 1] and len(found.z_grad) == 2


def test_rows_carry_no_gradient(llama: HookedModel) -> None:
    def check(layer: int, rows: AttentionRows) -> None:
        assert not rows.block(0, 4).requires_grad

    with llama.gradients(), llama.watch_attention(check):
        llama(random_tokens()).mean().backward()


def test_bad_requests_are_refused(llama: HookedModel) -> None:
    def ignore(layer: int, rows: AttentionRows) -> None: ...

    bloom, gemma2, lfm2 = (family_named(name).model for name in ("bloom", "gemma2", "lfm2"))
    with pytest.raises(UsageError, match="eager attention alone"), bloom.watch_attention(ignore, route="fused"):
        pass
    refused = pytest.raises(HeadscopeError, match=r"'fused' does not serve this layer.*soft-cap 2\.0")
    with refused, gemma2.watch_attention(ignore, route="fused"):
        gemma2.run(random_tokens())
    with pytest.raises(UsageError, match="without a key-value cache"), torch.no_grad():
        past = llama.hf(random_tokens(), use_cache=True).past_key_values
        with llama.watch_attention(ignore):
            llama.hf(random_tokens(length=1), past_key_values=past)
    with pytest.raises(RefusedModelError, match="layer 0 has no attention"), lfm2.watch_attention(ignore, layers=[0]):
        pass


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt_oss", "bloom", "opt"])
def test_a_key_value_cache_gives_the_whole_runs_logits(name: str) -> None:
    """Nobody listens; one token at a time, and several at once."""
    model, tokens = family_named(name).model, random_tokens(length=14)
    with torch.no_grad():
        whole = model(tokens)
        past, parts = None, []
        for piece in tokens.split([5, 1, 1, 4, 3], dim=1):
            answer = model.hf(piece, past_key_values=past, use_cache=True)
            past = answer.past_key_values
            parts.append(answer.logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)


def test_a_mask_of_numbers_is_simplified_where_it_holds_no_bias() -> None:
    allowed = torch.tensor([[True, False], [True, True]])[None, None]
    for low in (-torch.inf, torch.finfo(torch.float32).min):
        mask = torch.where(allowed, 0.0, low)
        assert torch.equal(as_bool(mask), allowed) and torch.equal(simplest(mask), allowed)
    assert torch.equal(simplest(additive(allowed, torch.float32)), allowed)
    biased = torch.where(allowed, -0.5, -torch.inf)
    assert is_biased(simplest(biased)) and torch.equal(as_bool(biased), allowed)


@pytest.mark.parametrize("attend", [fused.attend, chunked.attend])
def test_a_bias_in_the_mask_is_part_of_the_scores(attend: Any) -> None:
    """softmax(q k / 2 + bias), by hand, with an own bias a head and a key that nobody may see."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 9, 4, generator=generator) for heads in (4, 2, 2))
    bias = torch.randn(2, 4, 9, 9, generator=generator)
    visible = torch.ones(9, 9).tril().bool()
    visible[1:, 2] = False
    mask = simplest(bias.masked_fill(~visible, torch.finfo(torch.float32).min))
    scores = q @ k.repeat_interleave(2, 1).mT / 2 + bias
    pattern = scores.masked_fill(~visible, -torch.inf).softmax(-1)
    output, lse = attend(q, k, v, mask, 0.5)
    torch.testing.assert_close(output, pattern @ v.repeat_interleave(2, 1), atol=1e-6, rtol=0)
    rows = FactoredRows(q, k, lse, 0.5, mask)
    torch.testing.assert_close(rows.block(0, 9), pattern, atol=1e-6, rtol=0)
    queries, keys = torch.tril_indices(9, 9)
    torch.testing.assert_close(rows.at(queries, keys), pattern[:, :, queries, keys], atol=1e-6, rtol=0)
    assert torch.equal(rows.reachable(queries, keys), visible[queries, keys])


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt_oss", "falcon", "bloom"])
def test_a_model_is_given_back_as_it_was(name: str) -> None:
    """While somebody listens it runs as headscope needs it; before, after and behind an error as its owner had it."""
    hf = build(name, implementation=None)
    own = hf.config._attn_implementation
    model = interp.load_model(hf)
    modules = [module for module in model.hf.modules() if hasattr(module, "config")]
    seen = []

    def fail(layer: int, rows: AttentionRows) -> None:
        seen.append({module.config._attn_implementation for module in modules})
        raise ZeroDivisionError

    assert {module.config._attn_implementation for module in modules} == {own}
    with pytest.raises(ZeroDivisionError), model.watch_attention(fail):
        model.run(random_tokens())
    assert {module.config._attn_implementation for module in modules} == {own}
    assert seen == [{{"gemma2": NAME, "gpt_oss": NAME, "bloom": "eager"}.get(name, "sdpa")}]


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3"])
@pytest.mark.parametrize("chosen", ["eager", "sdpa", "flex_attention"])
def test_an_implementation_chosen_later_changes_no_reading(name: str, chosen: str) -> None:
    """A user's `set_attn_implementation` took our attention away once, and every score ended in a KeyError."""
    model = load(name)
    expected = read_patterns(model)
    model.hf.set_attn_implementation(chosen)
    for layer, pattern in read_patterns(model).items():
        torch.testing.assert_close(pattern, expected[layer], atol=1e-6, rtol=0)
    assert model.hf.config._attn_implementation == chosen


def read_patterns(model: HookedModel) -> dict[int, torch.Tensor]:
    found: dict[int, torch.Tensor] = {}
    tokens = random_tokens()
    with torch.no_grad(), model.watch_attention(lambda layer, rows: found.update({layer: rows.block(0, 24)})):
        model.run(tokens)
    return found


def test_what_cannot_be_heard_says_so() -> None:
    """Another function in the place of attention's: an error at the layer, not an empty answer."""
    model = load("llama")
    attention = model.layout.block(model.hf, 1).get_submodule("self_attn")
    attention.forward = lambda hidden_states, **more: (hidden_states, None)  # type: ignore[method-assign]
    with pytest.raises(
        HeadscopeError, match="LlamaAttention of layer 1 ran without the call that headscope listens at"
    ):
        read_patterns(model)
    assert model(random_tokens()).isfinite().all(), "at rest nobody minds"
    assert listeners(model) == 0


def test_attention_that_is_computed_twice_in_a_layer_is_refused() -> None:
    model = load("llama")
    attention = model.layout.block(model.hf, 1).get_submodule("self_attn")
    once = attention.forward

    def twice(*args: Any, **kwargs: Any) -> Any:
        once(*args, **kwargs)
        return once(*args, **kwargs)

    attention.forward = twice  # type: ignore[method-assign]
    with pytest.raises(RefusedModelError, match="layer 1 computes attention more than once in a run"):
        read_patterns(model)


def test_a_mask_that_is_dropped_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the mask function is registered for beside ours: without it padding and windows are lost in silence."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    model, (tokens, given) = load("gpt_oss"), padded(random_tokens(), "left")
    heard: list[torch.Tensor] = []
    for dropped in (False, True):
        if dropped:
            monkeypatch.setitem(ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, NAME, lambda *args, **kwargs: None)
        with torch.no_grad(), model.watch_attention(lambda layer, rows: None):
            heard.append(model(tokens, given))
    assert given is not None
    assert float((heard[0] - heard[1])[given.bool()].abs().max()) > 1e-2
