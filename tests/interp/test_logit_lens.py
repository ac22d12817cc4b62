"""The logit lens beside a loop over the modules behind the blocks."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch

from interp import HookedModel
from interp.errors import RefusedModelError
from interp.logit_lens import logit_lens
from tests.interp import families

module = import_module("interp.logit_lens")


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_each_layer_is_read_by_the_models_own_end(family: str) -> None:
    """Each stream through norm and unembedding by hand; the last layer gives the model's own log-probabilities."""
    model = families.load(family)
    tokens = families.random_tokens(batch=1, length=9)
    norm, unembed = (model.hf.get_submodule(str(name)) for name in (model.layout.ln_final, model.layout.unembed))
    cap = getattr(model.config, "final_logit_softcapping", None)
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens, ["resid_post"])
    for position in (4, -1):
        found = logit_lens(model, tokens, position)
        torch.testing.assert_close(found[-1], logits[0, position].log_softmax(-1), atol=1e-5, rtol=1e-5)
        for layer in range(model.n_layers):
            with torch.no_grad():
                read = unembed(norm(cache["resid_post", layer][0, position]))
            read = read if cap is None else cap * torch.tanh(read / cap)
            torch.testing.assert_close(found[layer], read.log_softmax(-1), atol=1e-5, rtol=1e-5)


def test_gates_take_part_and_nothing_stays_on_the_model() -> None:
    model = families.load("llama")
    tokens = families.random_tokens(batch=1, length=9)
    with torch.no_grad():
        plain = model(tokens)
        with model.gates(ffns=[0]):
            gated = model(tokens)[0, -1].log_softmax(-1)
            found = logit_lens(model, tokens)
        torch.testing.assert_close(found[-1], gated, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(found[-1], logit_lens(model, tokens)[-1], atol=1e-4)
        torch.testing.assert_close(model(tokens), plain)


def test_no_layers_stream_is_kept_but_for_one_position(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = families.load("llama"), []

    def sized(given: HookedModel, streams: list[torch.Tensor]) -> torch.Tensor:
        sizes.extend(stream.untyped_storage().nbytes() // stream.element_size() for stream in streams)
        return read(given, streams)

    read = module._read
    monkeypatch.setattr(module, "_read", sized)
    logit_lens(model, families.random_tokens(batch=1, length=9))
    assert sizes == [model.d_model] * model.n_layers


def test_families_without_a_final_norm_are_refused() -> None:
    with pytest.raises(RefusedModelError, match="no logit lens"):
        logit_lens(families.load("opt-350m"), families.random_tokens(batch=1, length=5))
