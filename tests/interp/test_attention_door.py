"""The door to attention: who listens and who leaves, what is refused, and runs where nobody listens."""

from __future__ import annotations

import pytest
import torch

from interp import HookedModel
from interp.attention import door, mask
from interp.attention.mask import additive, as_bool
from interp.attention.rows import AttentionRows
from interp.errors import HeadscopeError, RefusedModelError, UsageError
from tests.interp.conftest import family_named
from tests.interp.families import load, padded, random_tokens


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
    with pytest.raises(UsageError, match="outside Hugging Face's"), bloom.watch_attention(ignore, route="fused"):
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


def test_a_mask_with_a_bias_in_it_is_refused() -> None:
    allowed = torch.tensor([[True, False], [True, True]])[None, None]
    assert torch.equal(as_bool(additive(allowed, torch.float32)), allowed)
    assert torch.equal(as_bool(torch.where(allowed, 0.0, torch.finfo(torch.float32).min)), allowed)
    with pytest.raises(RefusedModelError, match="holds a bias"):
        as_bool(torch.where(allowed, -0.5, -torch.inf))


def test_a_mask_that_is_dropped_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the registered mask function is for: without it padding and windows are lost in silence."""
    model, (tokens, given) = load("mistral"), padded(random_tokens(), "left")
    with torch.no_grad():
        right = model(tokens, given)
        monkeypatch.setattr(mask, "boolean_mask", None)
        from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

        monkeypatch.setitem(ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, door.NAME, lambda *args, **kwargs: None)
        wrong = model(tokens, given)
    assert given is not None
    assert float((right - wrong)[given.bool()].abs().max()) > 1e-2
